"""QEMU's programs and a cache's commands keep each other off the same files."""

import shutil
import subprocess
import unittest

from cache_files import PATIENCE, wait_until
from fixture_images import run
from served_cache import ServedCacheTest

REFUSED = r'Failed to get (shared )?"(write|resize|consistent read)" lock'


class QemuLocksTest(ServedCacheTest):
    def setUp(self):
        super().setUp()
        if not shutil.which("qemu-io"):
            self.skipTest("qemu-utils is needed")
        self.make_cache()

    def qemu(self, command, *arguments):
        return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True,
                              timeout=PATIENCE)

    def start(self, *command, **keywords):
        process = subprocess.Popen([str(each) for each in command], text=True, **keywords)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def expect_refusals(self, file, name, process):
        """Of all who would use the cache."""
        for done in (self.serve(), run("cache_writeback", *self.devices())):
            self.assertEqual(done.returncode, 3, done)
            self.assertIn(f"{file} is in use: by {name}, pid {process.pid}", done.stderr)

    def test_what_is_served_is_not_written_to_by_qemu(self):
        self.must_serve()
        for file in (self.metadata, self.fast, self.origin):
            before = file.read_bytes()
            for command in (("qemu-io", "-f", "raw", "-c", "write -P 1 0 4k", file),
                            ("qemu-img", "resize", "-f", "raw", file, "+1M")):
                with self.subTest(command=command):
                    done = self.qemu(*command)
                    self.assertNotEqual(done.returncode, 0)
                    self.assertRegex(done.stderr, REFUSED)
            done = self.qemu("qemu-img", "info", "--force-share", "-f", "raw", file)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(file.read_bytes(), before)
        self.must_ctl("stop")
        done = self.qemu("qemu-io", "-f", "raw", "-c", "write -P 0 0 512", self.fast)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_qemu_io_writes_to_is_not_used(self):
        for file in (self.metadata, self.fast, self.origin):
            process = self.start("qemu-io", "-f", "raw", file, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
            process.stdin.write("read 0 512\n")
            process.stdin.flush()
            self.assertIn("read 512/512 bytes", process.stdout.readline())  # it is open
            self.expect_refusals(file, "qemu-io", process)
            process.communicate("quit\n", timeout=PATIENCE)
        self.must_serve()

    def test_what_qemu_nbd_exports_is_not_used(self):
        socket = self.folder / "export"
        process = self.start("qemu-nbd", "-f", "raw", "-k", socket, "--persistent", self.origin)
        wait_until(socket.exists)
        self.expect_refusals(self.origin, "qemu-nbd", process)


if __name__ == "__main__":
    unittest.main()
