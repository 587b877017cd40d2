"""The nbdkit plugin when something goes wrong: it is killed, a device is full, a client is gone."""

import random
import resource
import signal
import struct
import subprocess
import threading
import time
import unittest

from cache_files import FAST_SIZE, ORIGIN_SIZE, PATIENCE, wait_until
from fixture_images import BIN, run
from nbd_client import FUA, WRITE, NbdError
from nbdkit_cache import BLOCK, MIB, NbdkitTest

NO_SPACE = 28
PAGE = 4096


class Killed(NbdkitTest):
    def restart(self, *parameters):
        self.kill()
        self.start(*parameters)
        return self.connect()

    def test_a_flush_covers_all_connections(self):
        for mode in ("writeback", "writethrough"):
            with self.subTest(mode):
                self.metadata.write_bytes(bytes(4 * MIB))
                self.create(f"mode={mode}")
                data = random.Random(mode).randbytes(FAST_SIZE)
                self.connect().write(MIB, data)
                self.connect().flush()
                client = self.restart(f"mode={mode}")
                self.assertEqual(client.read(MIB, len(data)), data)
                self.stop()
                self.assertIn("cleanly shut down", self.check())

    def test_what_was_written_through_needs_no_flush(self):
        self.create()
        client = self.connect()
        for block in range(16):
            client.write(block * BLOCK, bytes([block]) * BLOCK, FUA)
            client.write(block * BLOCK + 100, b"odd", FUA)
        client = self.restart()
        for block in range(16):
            self.assertEqual(client.read(block * BLOCK + 99, 5),
                             bytes([block]) + b"odd" + bytes([block]))

    def test_killed_while_writing_nothing_older_than_the_last_flush_returns(self):
        """Writers count up in each page of their own, one more flushes; then the server is killed.
        A page holds what it held at the last flush, or something newer that was sent since."""
        self.create("migration-threshold=4M")
        for round_ in range(4):
            sent = [{} for _ in range(3)]
            flushed = [{} for _ in range(3)]
            threads = [threading.Thread(target=self.count_up, args=(sent, number, round_))
                       for number in range(3)]
            threads.append(threading.Thread(target=self.flush_often, args=(sent, flushed)))
            for each in threads:
                each.start()
            wait_until(lambda: all(flushed))
            time.sleep(0.5)
            self.server.kill()
            for each in threads:
                each.join()
            self.server.wait()
            self.server.stderr.close()
            self.start("migration-threshold=4M")
            client = self.connect()
            for number in range(3):
                for page, count in flushed[number].items():
                    found = client.read(page * PAGE, PAGE)
                    value = struct.unpack_from("<Q", found)[0]
                    self.assertEqual(found, struct.pack("<Q", value) * (PAGE // 8))
                    self.assertLessEqual(count, value, f"page {page}")
                    self.assertLessEqual(value, sent[number][page][0], f"page {page}")

    def fio(self, name, *options):
        return ["fio", f"--name={name}", "--ioengine=nbd", f"--uri={self.uri}", "--rw=randwrite",
                "--bs=4k", "--iodepth=16", "--size=12m", "--verify=crc32c",
                "--verify_state_save=0", *options]

    def space_taken(self):
        return self.fast.stat().st_blocks + self.origin.stat().st_blocks

    def test_killed_while_writing_fio_finds_what_it_had_flushed(self):
        """One fio writes and flushes, and another one is writing when the server is killed."""
        self.create("migration-threshold=4M")
        self.client(*self.fio("flushed", "--do_verify=0", "--end_fsync=1"))
        before = self.space_taken()
        other = subprocess.Popen(self.fio("cut", "--do_verify=0", "--offset=16m", "--time_based",
                                          "--runtime=600"), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        wait_until(lambda: other.poll() is not None or self.space_taken() > before)
        self.assertIsNone(other.poll(), "it is writing")
        self.server.kill()
        self.assertNotEqual(other.wait(PATIENCE), 0)
        self.restart("migration-threshold=4M")
        self.client(*self.fio("flushed", "--verify_only"))
        self.stop()
        self.assertIn(": sound", self.check())

    def count_up(self, sent, number, round_):
        """sent: by page, what was sent last, and what was acknowledged."""
        chance = random.Random(number + 10 * round_)
        count = round_ << 32
        try:
            with self.connect() as client:
                while True:
                    count += 1
                    page = int(chance.paretovariate(0.5)) % 1024 * 3 + number
                    acknowledged = sent[number].get(page, (0, 0))[1]
                    sent[number][page] = (count, acknowledged)
                    client.write(page * PAGE, struct.pack("<Q", count) * (PAGE // 8))
                    sent[number][page] = (count, count)
        except (OSError, EOFError):
            pass

    def flush_often(self, sent, flushed):
        try:
            with self.connect() as client:
                while True:
                    before = [{page: done for page, (_, done) in list(each.items()) if done}
                              for each in sent]
                    client.flush()
                    for into, each in zip(flushed, before):
                        into.update(each)
        except (OSError, EOFError):
            pass


class Full(NbdkitTest):
    """What is past the limit of a file's size can't be written."""

    def restore(self, origin_size):
        """The upper half of the cache blocks holds the first blocks of the origin."""
        first = FAST_SIZE // BLOCK // 2
        mappings = "".join(f'<mapping cache_block="{first + i}" origin_block="{i}" dirty="false"/>'
                           for i in range(origin_size // BLOCK))
        document = self.folder / "document.xml"
        document.write_text(f'<superblock uuid="" block_size="{BLOCK // 512}" nr_cache_blocks='
                            f'"{2 * first}" policy="smq" hint_width="4"><mappings>{mappings}'
                            "</mappings><hints></hints></superblock>")
        self.client(BIN / "cache_restore", "-q", "-i", document, "-o", self.metadata)

    def start_limited(self, limit, *parameters):
        def limit_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        # The signal that comes with it is ignored, as Python does.
        self.start(*parameters, preexec_fn=limit_files, restore_signals=False)
        return self.connect()

    def expect_no_space(self, client, offset):
        with self.assertRaises(NbdError) as refused:
            client.write(offset, b"n" * PAGE)
        self.assertEqual(refused.exception.number, NO_SPACE)

    def test_a_full_fast_device_fails_the_writes_that_need_it(self):
        self.make("origin", FAST_SIZE // 2)
        self.restore(FAST_SIZE // 2)
        client = self.start_limited(FAST_SIZE // 2)
        for page in range(10):
            self.expect_no_space(client, page * PAGE)
            self.assertEqual(client.read(page * PAGE, PAGE), bytes(PAGE))
        said = self.stop()
        self.assertIn(f"error: write of {PAGE} bytes at {FAST_SIZE // 2} of the fast device: File too "
                      "large\n", said)
        self.assertIn(f"bytes at {FAST_SIZE // 2 + 9 * PAGE} of the fast device: File too large (the "
                      "last of ", said)
        self.assertLess(said.count("\n"), 10)
        self.assertIn("cleanly shut down", self.check())

    def test_writing_through_goes_on_without_a_full_fast_device(self):
        self.make("origin", FAST_SIZE // 2)
        self.restore(FAST_SIZE // 2)
        client = self.start_limited(FAST_SIZE // 2, "mode=writethrough")
        for page in range(10):
            client.write(page * PAGE, bytes([page]) * PAGE)
        client.flush()
        for page in range(10):
            self.assertEqual(client.read(page * PAGE, PAGE), bytes([page]) * PAGE)
        self.stop()
        self.check()
        self.assertEqual(self.origin.read_bytes()[:PAGE * 2], bytes(PAGE) + b"\1" * PAGE)

    def test_a_full_origin_fails_what_misses(self):
        self.create()
        self.stop()
        client = self.start_limited(ORIGIN_SIZE // 2)
        client.write(0, b"o" * PAGE)
        self.expect_no_space(client, ORIGIN_SIZE // 2 + PAGE)
        self.assertEqual(client.read(ORIGIN_SIZE // 2 + PAGE, PAGE), bytes(PAGE))
        client.flush()
        self.stop()
        self.check()


    def test_what_cannot_be_written_back_is_logged(self):
        self.create()
        self.stop()
        control = self.folder / "control"
        client = self.start_limited(ORIGIN_SIZE // 2, f"control={control}")
        client.write(ORIGIN_SIZE - BLOCK, b"d" * BLOCK)
        cleaned = run("cache_ctl", "--control", control, "clean")
        line = (f"write of {BLOCK} bytes at {ORIGIN_SIZE - BLOCK} of the origin: "
                "File too large\n")
        self.assertEqual((cleaned.returncode, cleaned.stderr),
                         (1, f"cache_ctl: 1 blocks are dirty still: {line}"))
        self.assertIn(f"error: {line}", self.stop())
        self.assertIn("1 dirty, cleanly shut down", self.check())


class Gone(NbdkitTest):
    def test_a_client_that_vanishes_within_a_request_harms_nobody(self):
        self.create()
        steady = self.connect()
        steady.write(0, b"s" * MIB)
        for number in range(20):
            client = self.connect()
            client.write(MIB, b"v" * BLOCK)
            client.send(WRITE, 2 * MIB, BLOCK, data=b"h" * (number * 1000))  # and no more of it
            client.vanish()
            self.assertEqual(steady.read(0, MIB), b"s" * MIB)
        self.assertEqual(steady.read(2 * MIB, BLOCK), bytes(BLOCK))
        self.stop()
        self.assertIn("cleanly shut down", self.check())

    def test_a_client_that_vanishes_with_many_requests_under_way_costs_no_data(self):
        """nbdkit 1.32 may abort then, whatever it serves."""
        self.create()
        steady = self.connect()
        steady.write(0, b"s" * MIB)
        steady.flush()
        for _ in range(5):
            try:
                client = self.connect()
                for i in range(32):
                    client.send(WRITE, MIB + i * BLOCK, BLOCK, data=b"v" * BLOCK)
                client.vanish()
                found = steady.read(0, 3 * MIB)
            except (OSError, EOFError):
                self.assertIn("raw_send_socket: Assertion", self.server.stderr.read())
                self.kill()
                self.start()
                steady = self.connect()
                found = steady.read(0, 3 * MIB)
            self.assertEqual(found[:MIB], b"s" * MIB)
            self.assertLessEqual(set(found[MIB:]), set(b"v\0"))
        self.dismiss_clients()
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(PATIENCE)
        self.kill()
        self.check()

    def test_the_server_ends_while_clients_write(self):
        self.create("migration-threshold=4M")
        begun, stopped = [], []

        def write():
            try:
                with self.connect() as client:
                    begun.append(client)
                    for i in range(1 << 20):
                        client.write(i % 400 * BLOCK, b"w" * BLOCK)
            except (OSError, EOFError, NbdError) as ended:
                stopped.append(ended)

        writers = [threading.Thread(target=write) for _ in range(4)]
        for each in writers:
            each.start()
        wait_until(lambda: len(begun) == len(writers))
        time.sleep(0.3)
        self.stop()
        for each in writers:
            each.join()
        self.assertEqual(len(stopped), 4)
        self.assertIn("cleanly shut down", self.check())


if __name__ == "__main__":
    unittest.main()
