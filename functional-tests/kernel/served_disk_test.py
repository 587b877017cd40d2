"""A guest whose disk is a cache that is served. While it writes, the server is killed and the
guest's power cut. Afterwards the file system on the disk is consistent, and all files that were
durable hold what they held: in the cache and, once that is written back, on the origin."""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cache_files import PATIENCE
from fixture_images import run
from guest import HERE, Guest, answer, cut_power
from served_cache import ServedCacheTest

DURABLE = re.compile(r"durable (\w+)/(\d+) ([0-9a-f]{64})\n")
LEAVING = re.compile(r"leaving (\w+)/(\d+)\n")
FILLED_WITH = 30  # files of 400 KiB: more than the fast device holds
CUT_AFTER = 28  # files that were made durable one by one


def sums(said):
    """{(folder, file): checksum} of what say_files said."""
    return {tuple(name.split("/")): values[0] for name, values in said.items() if "/" in name}


class ServedDiskTest(ServedCacheTest):
    def setUp(self):
        super().setUp()
        self.durable = {}  # as sums() returns it
        self.count = 0  # of files made durable one by one
        self.at_the_cut = None  # the status

    def guest(self):
        """With the functions of use_disk.sh, and the disk."""
        machine = Guest("mkfs.ext4", "e2fsck", modules=("crc32c_generic", "ext4"))
        self.disk = machine.disk(self.uri)
        machine.add((HERE / "use_disk.sh").read_text())
        return machine

    def expect_success(self, said, *labels):
        for label in labels:
            self.assertEqual(said[label]["exit"], ["0"], (label, said[label]))

    def use_until_the_cut(self):
        machine = self.guest()
        machine.add("run made mkfs.ext4 -q", "/dev/" + self.disk)
        machine.add("run mounted mount_disk", self.disk)
        machine.add("run filled write_files first", FILLED_WITH, 400)
        machine.add("run written say_files first")
        machine.add("drop_caches")
        machine.add("run durable say_files first")
        machine.add("wait_for_answer filled")
        machine.add("remove_most first")
        machine.add("run trimmed fstrim /disk")
        machine.add("dmesg -n 1")  # nothing is to come between the words of the writers
        machine.add("mkdir /disk/second /disk/third")
        machine.add("write_durably second & write_durably third & wait")
        machine.add("echo the writers have ended")
        said = machine.boot(end="durable third", listen=self.listen)
        self.assertIsNotNone(self.at_the_cut, said)
        self.expect_success(said, "made", "mounted", "filled", "written", "durable", "trimmed")
        written = sums(said["written"])
        self.assertEqual(len(written), FILLED_WITH)
        self.assertLess(written.items(), sums(said["durable"]).items(), "verified")

    def listen(self, line, machine):
        if line == "filled\n":
            # What is clean leaves the cache when it is discarded; then there is room for more.
            self.must_ctl("clean")
            answer(machine)
        elif found := LEAVING.fullmatch(line):
            self.durable.pop(found.groups(), None)
        elif found := DURABLE.fullmatch(line):
            self.durable[found.group(1, 2)] = found[3]
            self.count += found[1] != "first"
            if self.count >= CUT_AFTER and self.at_the_cut is None:
                self.at_the_cut = self.status()
                self.kill_all_servers()  # then the writers fail
        elif line == "the writers have ended\n":
            cut_power(machine)

    def status(self):
        return json.loads(self.must_ctl("status", "--json"))

    def expect_all_there(self):
        """All files: those that were durable, what else there is, and new ones."""
        machine = self.guest()
        machine.add("run mounted mount_disk", self.disk)
        machine.add("run unmounted umount /disk")
        machine.add("run checked e2fsck -fn", "/dev/" + self.disk)
        machine.add("run mounted_again mount_disk", self.disk)
        machine.add("run found say_files first second third")
        machine.add("run filled write_files fourth 5 400")
        machine.add("run written say_files fourth")
        machine.add("run unmounted_again umount /disk")
        machine.add("run kernel say_events")
        said = machine.boot()
        self.expect_success(said, "mounted", "unmounted", "checked", "mounted_again", "found",
                            "filled", "written", "unmounted_again")
        self.assertEqual(said["kernel"]["said"][0].split(": ")[-1], "recovery complete")
        self.assertNotIn("error", "".join(said["kernel"]["said"]))
        found = sums(said["found"])
        self.assertGreater(len(self.durable), CUT_AFTER // 2)
        self.assertEqual([name for name in self.durable if found.get(name) != self.durable[name]],
                         [], "lost")
        return found | sums(said["written"])

    def expect_all_on_origin(self, files):
        self.must_run("e2fsck", "-fn", self.origin)
        copy = self.folder / "copy"
        copy.mkdir()
        self.must_run("debugfs", "-R", f"rdump first second third fourth {copy}", self.origin)
        self.assertEqual({each.relative_to(copy).parts:
                          hashlib.sha256(each.read_bytes()).hexdigest()
                          for each in copy.glob("*/*")}, files)

    def must_run(self, *command):
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE,
                              env=os.environ | {"PATH": path})
        self.assertEqual(done.returncode, 0, done)

    def expect_survival(self, mode):
        options = ["--mode", mode, "--migration-threshold", "4m"]
        self.must_serve("--create", "--block-size", "32k", *options)
        self.use_until_the_cut()
        checked = run("cache_check", self.metadata)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        # What was written shortly before the cut counts as dirty; all else is known to be clean.
        self.assertRegex(checked.stdout, r", [1-9]\d* dirty, cleanly shut down: sound")
        self.must_serve(*options)
        files = self.expect_all_there()
        self.must_ctl("stop")
        self.assertIn(", cleanly shut down: sound", self.check())
        written_back = run("cache_writeback", *self.devices())
        self.assertEqual((written_back.returncode, written_back.stderr), (0, ""))
        self.expect_all_on_origin(files)

    def test_a_file_system_survives_in_writeback(self):
        self.expect_survival("writeback")
        status = self.at_the_cut
        self.assertGreater(status["promotions"], status["cache_blocks_total"])
        for what in ("demotions", "writebacks", "cache_blocks_dirty"):
            self.assertGreater(status[what], 0, what)

    def test_a_file_system_survives_in_writethrough(self):
        self.expect_survival("writethrough")
        self.assertGreater(self.at_the_cut["promotions"], 0)


if __name__ == "__main__":
    unittest.main()
