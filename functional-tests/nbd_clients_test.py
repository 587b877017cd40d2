"""The nbdkit plugin served to real clients, and to one that does as it is told."""

import random
import threading
import time
import unittest

from cache_files import FAST_SIZE, ORIGIN_SIZE, PATIENCE
from nbd_client import FAST_ZERO, FUA, NO_HOLE, NbdError
from nbdkit_cache import BLOCK, MIB, NbdkitTest

MODES = ("writeback", "writethrough")
NOT_SUPPORTED = 95


class Tools(NbdkitTest):
    def test_an_image_copied_in_is_there_and_stays_there(self):
        for mode in MODES:
            with self.subTest(mode):
                self.metadata.write_bytes(bytes(4 * MIB))
                image = self.image(seed=mode)
                self.create(f"mode={mode}", "policy=smq")  # which caches what is written once
                self.client("nbdcopy", "--connections=4", image, self.uri)
                compare = ["qemu-img", "compare", "-f", "raw", "-F", "raw", image, self.uri]
                self.assertEqual(self.client(*compare), "Images are identical.\n")
                self.assertEqual(self.stop(), "")
                self.start(f"mode={mode}")
                self.assertEqual(self.client(*compare), "Images are identical.\n")
                self.client("nbdcopy", "--connections=4", self.uri, self.folder / "copy")
                if mode == "writeback":
                    self.stop_while_dirty(image)
                    self.write_back()
                else:
                    self.stop()
                self.client("cmp", image, self.folder / "copy")
                self.assertIn(" 0 dirty, cleanly shut down", self.check())
                self.client("cmp", image, self.origin)

    def stop_while_dirty(self, image):
        """On a busy machine the cache may be idle, and clean, before it is stopped; then a part of
        the image is written once more."""
        self.stop()
        deadline = time.monotonic() + PATIENCE
        while " 0 dirty" in self.check():
            self.assertLess(time.monotonic(), deadline)
            self.start("mode=writeback")
            self.connect().write(0, image.read_bytes()[:FAST_SIZE // 2])
            self.stop()

    def test_fio_verifies_what_it_wrote(self):
        """Two jobs, each with a connection and a part of its own, larger than the cache."""
        for mode in MODES:
            with self.subTest(mode):
                self.metadata.write_bytes(bytes(4 * MIB))
                self.create(f"mode={mode}", "migration-threshold=4M")
                self.client("fio", "--name=verified", "--ioengine=nbd", f"--uri={self.uri}",
                            "--rw=randrw", "--bsrange=512-128k", "--bs_unaligned=0",
                            "--iodepth=16", "--numjobs=2", "--size=16m", "--offset_increment=16m",
                            "--io_size=8m", "--verify=crc32c", "--verify_fatal=1",
                            "--verify_backlog=64", "--do_verify=1", "--verify_state_save=0")
                self.stop()
                self.check()

    def test_qemu_io_zeroes_discards_and_writes_anywhere(self):
        for mode in MODES:
            with self.subTest(mode):
                self.metadata.write_bytes(bytes(4 * MIB))
                self.create(f"mode={mode}")
                steps = ["write -P 1 0 2M", "write -z 128k 300k", "write -P 2 1000 5000",
                         "write -f -P 3 1M 64k", "discard 1536k 256k", "flush",
                         "read -P 1 0 1000", "read -P 2 1000 5000", "read -P 1 6000 125072",
                         "read -P 0 128k 300k", "read -P 1 428k 20k", "read -P 3 1M 64k",
                         "read 1536k 256k", "read -P 1 1792k 256k"]
                commands = [word for step in steps for word in ("-c", step)]
                said = self.client("qemu-io", "-f", "raw", *commands, self.uri)
                self.assertNotIn("failed", said)
                self.stop()
                self.check()


class Requests(NbdkitTest):
    def noise(self, size, seed=1):
        return random.Random(seed).randbytes(size)

    def test_any_range_reads_and_writes_like_memory(self):
        """Random bytes, zeroes and reads, aligned or not, of four clients, each with a part of its
        own that ends in the middle of a sector."""
        for mode in MODES:
            with self.subTest(mode):
                self.metadata.write_bytes(bytes(4 * MIB))
                self.origin.write_bytes(bytes(ORIGIN_SIZE))
                self.create(f"mode={mode}", "migration-threshold=4M")
                failures = []
                parts = [threading.Thread(target=self.imitate, args=(part, failures))
                         for part in range(4)]
                for each in parts:
                    each.start()
                for each in parts:
                    each.join()
                self.assertEqual(failures, [])
                self.stop()
                self.check()

    def imitate(self, part, failures):
        size = 300_007
        chance = random.Random(part)
        memory = bytearray(size)
        try:
            with self.connect() as client:
                for _ in range(300):
                    begin = chance.randrange(size)
                    length = min(chance.choice((1, 100, 512, 5000, 70_000)), size - begin)
                    flags = chance.choice((0, 0, 0, FUA)) if length < 600 else 0
                    end, at = begin + length, part * size + begin
                    what = chance.random()
                    if what < 0.4:
                        memory[begin:end] = chance.randbytes(length)
                        client.write(at, bytes(memory[begin:end]), flags)
                    elif what < 0.5:
                        memory[begin:end] = bytes(length)
                        client.zero(at, length, chance.choice((0, NO_HOLE)))
                    elif client.read(at, length) != memory[begin:end]:
                        raise AssertionError(f"part {part}: [{begin}, {end}) is wrong")
        except Exception as failure:  # pylint: disable=broad-except
            failures.append(failure)

    def test_neighbours_within_a_sector_do_not_lose_bytes(self):
        self.create()
        clients = [self.connect() for _ in range(4)]
        for round_ in range(100):
            for number, client in enumerate(clients):
                client.send(1, 100 * number, 100, data=bytes([round_ + number]) * 100)
            for client in clients:
                client.answer()
            found = clients[0].read(0, 400)
            self.assertEqual(found, b"".join(bytes([round_ + n]) * 100 for n in range(4)))

    def test_what_is_trimmed_is_old_or_zero(self):
        self.create()
        client = self.connect()
        data = self.noise(4 * MIB)
        client.write(0, data)
        client.trim(MIB + 100, MIB)
        client.flush()
        found = client.read(0, 4 * MIB)
        self.assertEqual((found[:MIB + 100], found[2 * MIB + 100:]),
                         (data[:MIB + 100], data[2 * MIB + 100:]))
        for at in range(MIB + 512, 2 * MIB, 512):
            self.assertIn(found[at:at + 512], (bytes(512), data[at:at + 512]))

    def test_discards_reach_the_origin(self):
        """Unless they are not to."""
        for passdown in (True, False):
            with self.subTest(passdown):
                self.metadata.write_bytes(bytes(4 * MIB))
                self.origin.write_bytes(self.noise(ORIGIN_SIZE))
                self.create(f"discard-passdown={passdown}")
                before = self.origin.stat().st_blocks
                self.connect().trim(16 * MIB, 8 * MIB)
                self.stop()
                freed = (before - self.origin.stat().st_blocks) * 512
                self.assertEqual(freed, 8 * MIB if passdown else 0)

    def test_a_zero_request_that_must_be_fast_is_refused(self):
        self.create()
        client = self.connect()
        with self.assertRaises(NbdError) as refused:
            client.zero(0, BLOCK, FAST_ZERO)
        self.assertEqual(refused.exception.number, NOT_SUPPORTED)
        client.zero(0, ORIGIN_SIZE)
        self.assertEqual(client.read(0, ORIGIN_SIZE), bytes(ORIGIN_SIZE))

    def test_zeroes_take_no_room_unless_they_have_to(self):
        self.origin.write_bytes(self.noise(ORIGIN_SIZE))
        self.create()
        client = self.connect()
        before = self.origin.stat().st_blocks
        client.zero(0, 4 * MIB, NO_HOLE)
        self.assertGreaterEqual(self.origin.stat().st_blocks, before)
        client.zero(4 * MIB, 8 * MIB)
        freed = (before - self.origin.stat().st_blocks) * 512
        self.assertGreater(freed, 8 * MIB - BLOCK)  # the file system needs a little to know of holes
        self.assertEqual(client.read(0, 12 * MIB), bytes(12 * MIB))
        self.stop()
        self.assertIn(" 0 dirty", self.check())

    def test_a_cache_request_is_a_hint_and_changes_nothing(self):
        data = self.noise(ORIGIN_SIZE)
        self.origin.write_bytes(data)
        self.create("migration-threshold=16M")
        client = self.connect()
        client.prefetch(0, 2 * MIB)
        client.prefetch(5, 1)
        client.prefetch(ORIGIN_SIZE - 1, 1)
        self.assertEqual(client.read(0, ORIGIN_SIZE), data)
        self.stop()
        self.check()

    def test_reads_and_writes_while_everything_migrates(self):
        """More than the fast device holds, again and again, with background copying."""
        self.create("migration-threshold=8M")
        client = self.connect()
        newest = {}
        chance = random.Random(7)
        for round_ in range(600):
            block = int(chance.paretovariate(0.6)) % (ORIGIN_SIZE // BLOCK)
            if block in newest and chance.random() < 0.6:
                self.assertEqual(client.read(block * BLOCK, 4096), newest[block])
            else:
                newest[block] = bytes([round_ % 251]) * 4096
                client.write(block * BLOCK, newest[block])
        self.stop()
        self.check()
        self.write_back()
        with open(self.origin, "rb") as origin:
            for block, data in newest.items():
                origin.seek(block * BLOCK)
                self.assertEqual(origin.read(4096), data)


if __name__ == "__main__":
    unittest.main()
