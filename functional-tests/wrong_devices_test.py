"""Devices that are not those of the cache, or hold something that somebody needs, are refused before
anything is written to them."""

import os
import shutil
import unittest

from cache_files import FAST_SIZE, ORIGIN_SIZE
from served_cache import ServedCacheTest, nbdcopy

BLOCK = 64 << 10


class WrongDevicesTest(ServedCacheTest):
    def refuses(self, told, *options, status=1):
        before = self.contents()
        done = self.serve(*options)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertIn(told, done.stderr)
        self.assertEqual(self.contents(), before)

    def serves(self, *options):
        self.must_serve(*options)
        self.must_ctl("stop")


class OfACache(WrongDevicesTest):
    """All of which is clean."""

    def setUp(self):
        super().setUp()
        self.must_serve("--create")
        nbdcopy("--flush", self.image(), self.uri)
        self.must_ctl("clean")
        self.must_ctl("stop")

    def test_the_right_ones_are_served(self):
        self.serves()

    def test_origin_written_to_without_the_cache(self):
        with open(self.origin, "r+b") as origin:
            for block in range(0, ORIGIN_SIZE // BLOCK, 2):
                origin.seek(block * BLOCK)
                origin.write(b"x" * BLOCK)
        self.refuses("blocks that are clean in the cache differ from the origin")
        self.serves("--force", "differing")

    def test_fast_device_of_another_cache(self):
        with open(self.fast, "r+b") as fast:
            fast.write(b"another" * (FAST_SIZE // 7))
        self.refuses("62 of 62 blocks that are clean in the cache differ")

    def test_swapped(self):
        self.fast, self.origin = self.origin, self.fast
        self.refuses("the fast device has")

    def serves_on_request(self, device, new_size, told):
        os.truncate(device, new_size)
        self.refuses(told)
        self.serves("--accept-resize")
        self.serves()

    def test_origin_made_smaller(self):
        self.serves_on_request(self.origin, ORIGIN_SIZE // 2, "--accept-resize")

    def test_origin_made_larger(self):
        self.serves_on_request(self.origin, ORIGIN_SIZE + 4 * BLOCK, "the origin has")

    def test_fast_device_made_larger(self):
        self.serves_on_request(self.fast, FAST_SIZE + 4 * BLOCK, "cache blocks, and had")

    def test_an_image_as_origin(self):
        with open(self.origin, "r+b") as origin:
            origin.write(b"QFI\xfb\0\0\0\3")
        self.refuses("the origin is a qcow2 image")

    def test_what_cannot_be_forced(self):
        self.refuses("differing, contents, large-fast and image can", "--force", "all", status=2)


class OfANewCache(WrongDevicesTest):
    def test_a_fast_device_with_a_file_system(self):
        with open(self.fast, "r+b") as fast:
            fast.write(b"-rom1fs-" + bytes.fromhex("00000400 a1271966"))  # its size, its sum
        self.refuses("the fast device holds a romfs file system", "--create")
        self.serves("--create", "--force", "contents")

    def test_a_fast_device_as_large_as_the_origin(self):
        shutil.copy(self.origin, self.fast)
        self.refuses("have they changed places?", "--create")
        self.serves("--create", "--force", "large-fast")

    def test_an_image_as_origin(self):
        with open(self.origin, "r+b") as origin:
            origin.write(b"vhdxfile")
        self.refuses("the origin is a vhdx image", "--create")
        self.serves("--create", "--force", "image")


if __name__ == "__main__":
    unittest.main()
