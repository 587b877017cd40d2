"""Caches on block devices: loop devices and partitions of them, for which it takes root."""

import os
import pathlib
import shutil
import struct
import subprocess
import unittest

from fixture_images import run
from served_cache import NEW_CACHE, ServedCacheTest, nbdcopy

MIB = 1 << 20


def made_loop_device(file, *options):
    made = subprocess.run(["losetup", "--find", "--show", *options, file], capture_output=True,
                          text=True)
    return made.stdout.strip() if made.returncode == 0 else None


class BlockDevicesTest(ServedCacheTest):
    def setUp(self):
        super().setUp()
        if not shutil.which("losetup"):
            self.skipTest("there is no losetup")

    def loop(self, file, *options):
        device = made_loop_device(file, *options)
        if device is None:
            self.skipTest("no loop device can be made here")
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True)
        return device

    def partitioned_origin(self):
        """A loop device of the origin, and two partitions of that."""
        with open(self.origin, "r+b") as image:  # a partition table as DOS has it
            image.seek(446)
            for start in (2048, 4096):  # sectors
                image.write(struct.pack("<4xB3xII", 0x83, start, 2048))
            image.seek(510)
            image.write(b"\x55\xaa")
        disk = self.loop(self.origin, "--partscan")
        subprocess.run(["partx", "--update", disk], check=True)  # not every kernel reads the table
        return disk, [self.node_of(disk, number) for number in (1, 2)]

    def outcomes(self):
        """Of the commands that use all three devices."""
        return run("cache_writeback", *self.devices()), self.serve()

    def expect_refusal(self, text):
        for done in self.outcomes():
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(text, done.stderr)
            self.assertIn("that have nothing in common", done.stderr)

    def expect_no_refusal(self):
        """They get as far as to the metadata, which are none."""
        for done in self.outcomes():
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertNotIn("share storage", done.stderr)

    def test_a_device_that_cannot_be_written_to_is_refused(self):
        self.make_cache()
        self.origin = self.loop(self.origin, "--read-only")
        done = self.serve()
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (3, "", f"cache_serve: the origin ({self.origin}) is read-only: make it "
                                 "writable, or serve the cache read-only\n"))
        self.must_serve("--read-only")
        self.must_ctl("stop")

    def test_a_loop_device_and_its_file_are_refused(self):
        file = self.fast
        self.fast = self.loop(file)
        self.expect_no_refusal()
        self.origin = file
        self.expect_refusal(f"the fast device and the origin share storage: {self.fast} lies on "
                            f"{file}")

    def test_the_input_is_not_overwritten_through_a_loop_device(self):
        self.make_cache()
        before = self.metadata.read_bytes()
        device = self.loop(self.metadata)
        document = self.folder / "document"
        self.assertEqual(run("cache_dump", "-o", document, self.metadata).returncode, 0)
        for command in (("cache_repair", "-i", self.metadata, "-o", device),
                        ("cache_dump", "-o", device, self.metadata),
                        ("cache_metadata_pack", "-i", self.metadata, "-o", device),
                        ("cache_metadata_unpack", "-i", self.metadata, "-o", device)):
            done = run(*command)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(f"input and output share storage: {device} lies on", done.stderr)
        self.assertEqual(self.metadata.read_bytes(), before)

    def test_a_file_that_is_in_use_cannot_be_used_through_a_loop_device(self):
        self.make_cache()
        device = self.loop(self.metadata)
        self.must_serve()
        done = run("cache_check", device)
        self.assertEqual(done.returncode, 3, done)
        self.assertIn(f"{device} is in use", done.stderr)
        self.must_ctl("stop")
        self.assertEqual(run("cache_check", device).returncode, 0)

    def test_a_loop_device_that_is_in_use_keeps_others_off_its_file(self):
        self.make_cache()
        device = self.loop(self.metadata)
        opened = os.open(device, os.O_RDONLY | os.O_EXCL)
        self.addCleanup(os.close, opened)
        done = run("cache_check", self.metadata)
        self.assertEqual(done.returncode, 3, done)
        self.assertIn(f"{self.metadata} is in use", done.stderr)

    def hold(self, device):
        opened = os.open(device, os.O_RDONLY | os.O_EXCL)
        self.addCleanup(os.close, opened)

    def test_what_another_loop_device_is_used_for_is_not_used_where_they_overlap(self):
        size = str(4 * MIB)
        self.hold(self.loop(self.fast, "--sizelimit", size))
        for offset, is_in_use in ((3 * MIB, True), (4 * MIB, False)):
            beside = self.loop(self.fast, "--offset", str(offset))
            for device in ((beside,), (self.fast, "--offset", f"{offset}b")):
                done = run("cache_check", *device)
                self.assertEqual(f"{device[0]} is in use" in done.stderr, is_in_use, done)
                self.assertEqual(done.returncode, 3 if is_in_use else 1)

    def test_a_partition_of_a_loop_device_is_in_use_with_its_file(self):
        self.make_cache()
        partition = self.partitioned_origin()[1][0]
        self.must_serve()
        done = run("cache_check", partition)
        self.assertEqual(done.returncode, 3, done)
        self.assertIn(f"{partition} is in use", done.stderr)

    def test_a_file_that_has_lost_its_name_is_still_the_loop_device_s(self):
        other = self.folder / "other"
        other.hardlink_to(self.fast)
        device = self.loop(self.fast)
        self.fast.unlink()
        self.fast, self.origin = device, other
        self.expect_refusal(f"{device} lies on {other}")

    def test_loop_devices_of_one_file_are_refused_if_they_overlap(self):
        file = self.fast
        size = str(4 * MIB)
        self.fast = self.loop(file, "--sizelimit", size)
        self.origin = self.loop(file, "--offset", size)
        self.expect_no_refusal()
        self.origin = self.loop(file, "--offset", str(3 * MIB))
        self.expect_refusal(f"{self.fast} and {self.origin} lie on the same part of {file}")

    def test_a_loop_device_of_a_loop_device_is_refused_with_either(self):
        file = self.fast
        lower = self.loop(file)
        self.fast = self.loop(lower)
        self.origin = lower
        self.expect_refusal(f"{self.fast} lies on {lower}")
        self.origin = file
        self.expect_refusal(f"{self.fast} lies on {file}")

    def test_a_partition_and_its_disk_are_refused_and_two_partitions_are_not(self):
        disk, partitions = self.partitioned_origin()
        self.fast, self.origin = partitions
        self.expect_no_refusal()
        self.origin = disk
        self.expect_refusal(f"{self.fast} lies on {disk}")

    def test_parts_of_one_device_are_used_side_by_side(self):
        """The kernel gives a device exclusively to one who opens it, and these are opened twice."""
        image = self.image()
        volume = self.loop(self.make("volume", 16 * MIB))
        devices = ["--metadata-device", volume, "--metadata-device-size", "4m", "--fast-device",
                   volume, "--fast-device-offset", "4m", "--origin-device", self.origin]
        done = run("cache_serve", *devices, *self.addresses(), "--create")
        self.assertEqual((done.returncode, NEW_CACHE.sub("", done.stderr)), (0, ""))
        self.assertIn("in use", run("cache_check", volume, "--size", "4m").stderr)
        nbdcopy("--flush", image, self.uri)
        self.must_ctl("stop")
        done = run("cache_writeback", *devices)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.origin.read_bytes(), image.read_bytes())

    def test_a_part_and_a_loop_device_of_it_are_refused(self):
        file = self.fast
        self.fast = self.loop(file, "--offset", str(4 * MIB))
        for size, status in (("4m", 1), ("8193s", 2)):  # the metadata are none
            done = run("cache_writeback", "--metadata-device", file, "--metadata-device-size", size,
                       "--fast-device", self.fast, "--origin-device", self.origin)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual(f"{self.fast} lies on {file}" in done.stderr, status == 2)

    def test_what_the_page_cache_read_before_others_wrote_is_not_served(self):
        file, image = self.origin, self.image()
        self.origin = self.loop(file)
        with open(self.origin, "rb", buffering=0) as device:  # pages stay as long as it is open
            self.assertEqual(device.read(4096), bytes(4096))
            with open(file, "r+b") as behind:
                behind.write(image.read_bytes())
                behind.flush()
                os.fsync(behind.fileno())
            device.seek(0)
            self.assertEqual(device.read(4096), bytes(4096))
            self.must_serve("--create")
            nbdcopy(self.uri, self.folder / "served")
            self.must_ctl("stop")
        self.assertEqual((self.folder / "served").read_bytes(), image.read_bytes())

    def node_of(self, disk, number):
        """A name of the partition, whether or not somebody makes one in /dev."""
        name = f"{pathlib.Path(disk).name}p{number}"
        device = pathlib.Path("/sys/class/block", name, "dev").read_text().strip()
        node = self.folder / name
        subprocess.run(["mknod", node, "b", *device.split(":")], check=True)
        return node


if __name__ == "__main__":
    unittest.main()
