"""The nbdkit plugin: its parameters, what it tells clients, and how it starts and ends."""

import json
import os
import signal
import socket
import subprocess
import unittest

from cache_files import FAST_SIZE, ORIGIN_SIZE, PATIENCE
from nbd_client import NbdError
from nbdkit_cache import BLOCK, MIB, PLUGIN, NbdkitTest, counts_dirty_blocks

SHUTTING_DOWN = 108
INCOMPLETE_BY_ONE = ("nbdkit: error: 1 dirty block, 64 KiB, is on the fast device alone: the origin is "
                     "not complete without it\n")


class Parameters(NbdkitTest):
    def test_what_is_wrong_is_told(self):
        for parameters, text in (
                (["mode=fast"],
                 "mode must be writeback, writethrough or passthrough, not 'fast'"),
                (["block-size=100b"],
                 "block-size: '100b' is no whole number of sectors of 512 bytes"),
                (["block-size=65536"], "block-size: '65536' has no unit: write 65536s for "
                 "sectors of 512 bytes, 65536b for bytes, or one of k, m, g, as in 64k"),
                (["block-size=lots"], "block-size: 'lots' is no size"),
                (["metadata-version=3"], "metadata-version must be 1 or 2, not 3"),
                (["cleaning=never"], "cleaning is background or on-request, not 'never'"),
                (["max-dirty=101%"], "max-dirty: '101%' is no share of the cache: 0% to 100% are"),
                (["max-dirty=100"], "max-dirty: '100' has no unit"),
                (["create=perhaps"], "could not decipher boolean (perhaps)"),
                (["speed=high"], "unknown parameter 'speed'"),
                (["speed"], "expecting key=value on the command line but got: speed"),
                (["create=true", f"block-size={BLOCK}b", "policy=lru"], "lru"),
                (["create=true", f"block-size={BLOCK}b", "policy-speed=1"], "speed")):
            with self.subTest(parameters):
                said = self.fails(*parameters)
                self.assertIn(text, said)
                self.assertTrue(said.startswith("nbdkit: "), said)

    def test_all_three_devices_are_needed(self):
        for missing in ("metadata", "fast", "origin"):
            with self.subTest(missing):
                command = [each for each in self.nbdkit("-f", "-U", "-")
                           if not each.startswith(missing + "=")]
                done = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"you must supply the {missing}=DEVICE parameter", done.stderr)

    def test_the_devices_are_different_ones_and_used_once(self):
        self.create()
        self.assertIn(f"{self.metadata} is in use", self.fails())
        self.stop()
        self.origin = self.fast
        self.assertIn(f"the fast device and the origin are the same device: {self.fast}",
                      self.fails())

    def test_a_part_of_a_device_is_told_as_a_size(self):
        self.assertIn("fast-size: 'all' is no size", self.fails("fast-size=all"))
        self.assertIn("origin-offset: '100b' is no whole number of sectors",
                      self.fails("origin-offset=100b"))
        self.assertIn(f"{self.metadata} has 8192 sectors, and nothing of it is left from sector "
                      "8192 on", self.fails("metadata-offset=8192"))
        self.assertIn("unknown parameter 'fast-begin'", self.fails("fast-begin=1m"))

    def test_nothing_is_made_unless_asked_for(self):
        self.assertIn("this device holds no cache metadata yet", self.fails())
        self.assertEqual(self.metadata.read_bytes(), bytes(4 * MIB))

    def test_a_cache_that_has_lost_its_superblock_is_not_formatted(self):
        self.create()
        self.connect().write(0, b"y" * BLOCK)
        self.stop()
        image = self.metadata.read_bytes()
        self.metadata.write_bytes(bytes(4096) + image[4096:])
        self.assertIn("has no superblock, but block 1 holds something", self.fails("create=true"))
        self.assertEqual(self.metadata.read_bytes(), bytes(4096) + image[4096:])

    def test_the_parameters_take_effect(self):
        self.start("create=1", "block-size=32k", "metadata-version=1", "mode=passthrough",
                   "policy=cleaner", "migration-threshold=4M", "discard-passdown=off")
        self.assertEqual(self.stop(), "")
        self.assertEqual(self.check(), "format 1, block size 64 sectors, 256 cache blocks, 0 mapped, "
                                       "0 dirty, cleanly shut down: sound\n")

    def test_help_and_dump_name_what_there_is(self):
        text = self.client("nbdkit", PLUGIN, "--help")
        for parameter in ("metadata", "fast", "origin", "create", "block-size", "mode", "policy",
                          "policy-KEY", "metadata-version", "migration-threshold",
                          "discard-passdown", "cleaning", "max-dirty", "readonly", "control",
                          "NAME-offset"):
            self.assertIn(f"\n{parameter}=", text)
        done = subprocess.run(["nbdkit", PLUGIN, "--dump-plugin"], capture_output=True, text=True,
                              check=True)
        dumped = dict(line.split("=", 1) for line in done.stdout.splitlines())
        self.assertEqual(dumped["thread_model"], "parallel")
        self.assertEqual(dumped["dmcache_policies"], "sift smq cleaner")


class Export(NbdkitTest):
    def info(self):
        return json.loads(self.client("nbdinfo", "--no-content", "--json", self.uri))["exports"][0]

    def test_what_clients_are_told(self):
        self.create()
        told = self.info()
        expected = {"export-size": ORIGIN_SIZE, "is_read_only": False, "is_rotational": False,
                    "can_multi_conn": True, "can_flush": True, "can_fua": True, "can_trim": True,
                    "can_zero": True, "can_fast_zero": True, "can_cache": True,
                    "block_size_minimum": 1, "block_size_preferred": BLOCK,
                    "block_size_maximum": 64 * MIB}
        self.assertEqual({key: told[key] for key in expected}, expected)

    def test_an_odd_end_of_the_origin_is_out_of_reach(self):
        os.truncate(self.origin, ORIGIN_SIZE - 100)
        self.create()
        self.assertEqual(self.info()["export-size"], ORIGIN_SIZE - 512)

    def test_the_preferred_size_is_a_power_of_two(self):
        self.start("create=true", "block-size=96k")
        self.assertEqual(self.info()["block_size_preferred"], 32 << 10)

    def test_holes_are_those_of_the_origin_that_nothing_is_cached_for(self):
        with open(self.origin, "r+b") as origin:
            origin.seek(MIB)
            origin.write(b"o" * BLOCK)
        self.create()
        self.connect().write(2 * MIB, b"c" * BLOCK)
        found = json.loads(self.client("nbdinfo", "--map", "--json", self.uri))
        data = [(each["offset"], each["length"]) for each in found if each["type"] == 0]
        self.assertEqual(data, [(MIB, BLOCK), (2 * MIB, BLOCK)])
        self.assertEqual({each["type"] for each in found}, {0, 3})
        self.assertEqual(sum(each["length"] for each in found), ORIGIN_SIZE)
        copy = self.folder / "copy"
        self.client("nbdcopy", self.uri, copy)
        contents = copy.read_bytes()
        self.assertEqual(contents[MIB:MIB + BLOCK], b"o" * BLOCK)
        self.assertEqual(contents[2 * MIB:2 * MIB + BLOCK], b"c" * BLOCK)
        self.assertEqual(contents.count(0), ORIGIN_SIZE - 2 * BLOCK)

    def test_read_only_writes_nothing(self):
        self.create()
        self.connect().write(0, b"x" * BLOCK)
        self.stop()
        before = [each.read_bytes() for each in (self.metadata, self.fast, self.origin)]
        self.start("readonly=true")
        told = self.info()
        self.assertEqual([told[key] for key in ("is_read_only", "can_trim", "can_zero")],
                         [True, False, False])
        client = self.connect()
        self.assertEqual(client.read(0, BLOCK), b"x" * BLOCK)
        client.flush()
        self.stop()
        self.assertEqual([each.read_bytes() for each in (self.metadata, self.fast, self.origin)],
                         before)


class Life(NbdkitTest):
    def background(self, pid_file, **keywords):
        return subprocess.run(self.nbdkit("-P", pid_file, "-U", self.socket),
                              capture_output=True, text=True, timeout=PATIENCE, **keywords)

    def make_cache(self):
        """With some dirty blocks."""
        self.create()
        self.connect().write(0, b"y" * 8 * BLOCK)
        self.stop()
        self.assertIn("8 dirty, cleanly shut down", self.check())
        self.socket.unlink()

    @counts_dirty_blocks
    def test_a_signal_is_a_clean_shutdown(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.metadata.write_bytes(bytes(4 * MIB))
            self.create()
            self.connect().write(0, b"y" * BLOCK)
            self.assertEqual(self.stop(number), "", number)
            self.assertEqual(self.incomplete, [INCOMPLETE_BY_ONE], number)
            self.assertIn("1 dirty, cleanly shut down: sound", self.check(), number)

    @counts_dirty_blocks
    def test_an_idle_client_does_not_hold_up_the_shutdown_of_the_cache(self):
        """Though nbdkit may wait for it: until it asks for something."""
        self.create()
        client = self.connect()
        client.write(0, b"y" * BLOCK)
        self.server.send_signal(signal.SIGTERM)
        self.wait_for_devices()
        self.assertIn("1 dirty, cleanly shut down: sound", self.check())
        with self.assertRaises((NbdError, OSError, EOFError)) as refused:
            client.read(0, 512)
        if isinstance(refused.exception, NbdError):
            self.assertEqual(refused.exception.number, SHUTTING_DOWN)
        self.assertEqual(self.stop(), "")

    @counts_dirty_blocks
    def test_it_serves_from_the_background_with_relative_paths(self):
        self.make_cache()
        here = self.folder
        self.metadata, self.fast, self.origin = (
            each.relative_to(here) for each in (self.metadata, self.fast, self.origin))
        pid_file = here / "pid"
        done = self.background(pid_file, cwd=here)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        client = self.connect()
        self.assertEqual(client.read(0, 8 * BLOCK), b"y" * 8 * BLOCK)
        client.write(8 * BLOCK, b"z" * BLOCK)
        self.dismiss_clients()
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        self.metadata, self.fast, self.origin = (
            here / each for each in (self.metadata, self.fast, self.origin))
        self.wait_for_devices()
        self.assertIn("9 dirty, cleanly shut down", self.check())

    @counts_dirty_blocks
    def test_a_cache_that_is_activated_and_then_not_served_is_left_clean(self):
        self.make_cache()
        nowhere = self.folder / "none" / "pid"
        for options in (["-f"], []):
            done = subprocess.run(
                self.nbdkit(*options, "-P", nowhere, "-U", self.socket), timeout=PATIENCE,
                stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            self.socket.unlink()
            if options:
                self.assertIn("pid: No such file or directory", done.stderr)
            self.wait_for_devices()  # in the background nbdkit's end isn't waited for
            self.assertIn("8 dirty, cleanly shut down", self.check(), options)

    @counts_dirty_blocks
    def test_a_socket_that_cannot_be_made_leaves_the_cache_clean(self):
        self.make_cache()
        said = self.fails(options=["-U", self.folder / "none" / "socket"])
        self.assertIn("No such file or directory", said)
        self.assertIn("8 dirty, cleanly shut down", self.check())

    @counts_dirty_blocks
    def test_the_end_of_a_command_is_a_clean_shutdown(self):
        self.make_cache()
        command = "unset LD_PRELOAD; qemu-io -f raw -c 'write -P 1 1M 64k' \"$uri\""
        done = subprocess.run(self.nbdkit("-U", "-", "--run", command),
                              capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("wrote 65536/65536 bytes", done.stdout)
        self.wait_for_devices()
        self.assertIn("9 dirty, cleanly shut down", self.check())

    @counts_dirty_blocks
    def test_the_control_socket_tells_the_status_and_ends_the_cache(self):
        """And nbdkit, once its clients have gone."""
        control_path = self.folder / "control"
        self.create(f"control={control_path}")
        client = self.connect()
        client.write(0, b"y" * BLOCK)
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(control_path))
            answers = control.makefile()
            control.sendall(b"status\n")
            self.assertTrue(answers.readline().startswith("ok {"))
            control.sendall(b"stop\n")
            answer = "progress"
            while answer.startswith("progress"):
                answer = answers.readline()
            self.assertEqual(f"nbdkit: error: {answer[3:]}", INCOMPLETE_BY_ONE)
        self.wait_for_devices()
        self.assertIn("1 dirty, cleanly shut down: sound", self.check())
        self.dismiss_clients()
        self.assertEqual(self.server.communicate(timeout=PATIENCE)[1], INCOMPLETE_BY_ONE)
        self.assertEqual(self.server.returncode, 0)
        self.assertFalse(control_path.exists())

    @counts_dirty_blocks
    def test_a_control_socket_that_cannot_be_made_is_told(self):
        self.make_cache()
        said = self.fails(f"control={self.folder}/none/control",
                          options=["-U", self.folder / "socket"])
        self.assertIn("none/control", said)
        self.assertIn("8 dirty, cleanly shut down", self.check())

    def test_a_cache_grows_with_its_fast_device(self):
        self.make_cache()
        os.truncate(self.fast, 2 * FAST_SIZE)
        self.assertIn("accept-resize", self.fails())
        self.start("accept-resize=true")
        self.assertEqual(self.connect().read(0, 8 * BLOCK), b"y" * 8 * BLOCK)
        self.stop()
        self.assertIn(f"{2 * FAST_SIZE // BLOCK} cache blocks, 8 mapped", self.check())

    @counts_dirty_blocks
    def test_a_kernel_s_cache_of_another_block_size_is_refused(self):
        self.make_cache()
        said = self.fails("block-size=32k")
        self.assertIn("128", said)
        self.assertIn("64", said)
        self.assertIn("8 dirty, cleanly shut down", self.check())


if __name__ == "__main__":
    unittest.main()
