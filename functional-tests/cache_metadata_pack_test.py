"""cache_metadata_pack and cache_metadata_unpack: what is packed comes back, and nothing else is
believed."""

import os
import pathlib
import random
import subprocess
import tempfile
import unittest

from fixture_images import BIN, BLOCK, NAMES, Image, run


class PackTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.packed = self.folder / "cmeta.pack"
        self.output = self.folder / "output.img"

    def pack(self, image, *options):
        return run("cache_metadata_pack", "-i", image.write(self.folder), "-o", self.packed,
                   *options)

    def unpack(self, size):
        self.output.write_bytes(b"\xff" * size)
        return run("cache_metadata_unpack", "-i", self.packed, "-o", self.output, "--force")

    def block_of(self, data, block):
        return data[block * BLOCK:(block + 1) * BLOCK]

    def test_used_blocks_come_back(self):
        for name in NAMES:
            with self.subTest(name):
                image = Image(name)
                done = self.pack(image)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
                self.assertEqual(self.unpack(len(image.data)).returncode, 0)
                after = self.output.read_bytes()
                used = image.used_blocks()
                for block in range(len(image.data) // BLOCK):
                    expected = self.block_of(image.data, block) if block in used else b"\xff" * BLOCK
                    self.assertTrue(self.block_of(after, block) == expected, block)
                checked = run("cache_check", self.output)
                self.assertEqual(checked.returncode, 0, checked.stderr)

    def test_a_damaged_block_in_use_is_packed_as_it_is(self):
        image = Image("v2-writeback")
        root = image.field("mapping_root")
        image.flip(root, 100)
        self.assertEqual(self.pack(image).returncode, 0)
        self.unpack(len(image.data))
        self.assertEqual(self.block_of(self.output.read_bytes(), root),
                         self.block_of(image.data, root))

    def test_all_that_validates_is_packed_without_a_superblock(self):
        image = Image("v2-writeback")
        image.zero(0)
        done = self.pack(image)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--all-valid packs what there is", done.stderr)
        self.assertFalse(self.packed.exists())
        self.assertEqual(self.pack(image, "--all-valid").returncode, 0)
        self.unpack(len(image.data))
        after = self.output.read_bytes()
        for block in {0, *Image("v2-writeback").used_blocks()}:
            self.assertEqual(self.block_of(after, block), self.block_of(image.data, block), block)

    def test_a_pack_is_small(self):
        self.pack(Image("v2-large"))
        self.assertLess(self.packed.stat().st_size, len(Image("v2-large").data) // 4)

    def test_a_truncated_pack_is_refused_and_nothing_is_written(self):
        image = Image("v2-writeback")
        self.pack(image)
        whole = self.packed.read_bytes()
        for length in (0, 10, 32, 40, len(whole) // 2, len(whole) - 16, len(whole) - 1):
            self.packed.write_bytes(whole[:length])
            done = self.unpack(len(image.data))
            self.assertEqual(done.returncode, 1, length)
            self.assertIn("this is no whole pack of metadata: it ends too early", done.stderr)
            self.assertEqual(self.output.read_bytes(), b"\xff" * len(image.data))

    def test_an_altered_pack_is_refused_and_nothing_is_written(self):
        image = Image("v2-writeback")
        self.pack(image)
        whole = self.packed.read_bytes()
        places = [0, 16, 20, 24, 32, 36, 40, 44, 48, len(whole) - 16, len(whole) - 1]
        places += random.Random(1).sample(range(len(whole)), 50)
        for place in places:
            altered = bytearray(whole)
            altered[place] ^= 0x10
            self.packed.write_bytes(altered)
            done = self.unpack(len(image.data))
            self.assertEqual(done.returncode, 1, place)
            self.assertIn("this is no whole pack of metadata: ", done.stderr)
            self.assertEqual(self.output.read_bytes(), b"\xff" * len(image.data))
        self.packed.write_bytes(whole + b"x")
        self.assertIn("something follows its end", self.unpack(len(image.data)).stderr)

    def test_an_output_that_is_not_there_is_made(self):
        image = Image("v2-writeback")
        self.pack(image)
        made = self.folder / "made.img"
        done = run("cache_metadata_unpack", "-i", self.packed, "-o", made)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(made.stat().st_size, len(image.data))
        self.assertEqual(run("cache_check", made).returncode, 0)
        self.packed.write_bytes(self.packed.read_bytes()[:-1])
        other = self.folder / "other.img"
        self.assertEqual(run("cache_metadata_unpack", "-i", self.packed, "-o", other).returncode, 1)
        self.assertFalse(other.exists())

    def test_a_pipe_is_read_once_and_a_bad_one_costs_nothing(self):
        image = Image("v2-writeback")
        self.pack(image)
        whole = self.packed.read_bytes()
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        for name in ("-", "/dev/stdin", fifo):
            for data, status in ((whole[:-1], 1), (whole, 0)):
                with self.subTest(name, status=status):
                    self.output.write_bytes(image.data)
                    command = [BIN / "cache_metadata_unpack", "-i", name, "-o", self.output]
                    if name == fifo:
                        with subprocess.Popen(command, stderr=subprocess.PIPE) as unpacking:
                            fifo.write_bytes(data)
                            unpacking.communicate(timeout=60)
                        self.assertEqual(unpacking.returncode, status)
                    else:
                        done = subprocess.run(command, input=data, stderr=subprocess.PIPE,
                                              timeout=60)
                        self.assertEqual(done.returncode, status)
                    self.assertEqual(run("cache_check", self.output).returncode, 0)
                    if status != 0:
                        self.assertEqual(self.output.read_bytes(), image.data)

    def test_minus_is_standard_output_and_input(self):
        image = Image("v2-writeback")
        path = image.write(self.folder)
        with open(path) as stdin, open(self.packed, "wb") as stdout:
            subprocess.run([BIN / "cache_metadata_pack", "-i", "-", "-o", "-"], stdin=stdin,
                           stdout=stdout, check=True)
        with open(self.packed) as stdin, open(self.output, "wb") as stdout:
            subprocess.run([BIN / "cache_metadata_unpack", "-i", "-", "-o", "-"], stdin=stdin,
                           stdout=stdout, check=True)
        self.assertEqual(self.output.stat().st_size, len(image.data))
        self.assertEqual(run("cache_check", self.output).returncode, 0)

    def test_what_is_not_metadata_is_not_overwritten_unless_forced(self):
        image = Image("v2-writeback")
        self.pack(image)
        for other in (b"\xff" * len(image.data), b"<superblock>".ljust(len(image.data))):
            self.output.write_bytes(other)
            done = run("cache_metadata_unpack", "-i", self.packed, "-o", self.output)
            self.assertEqual(done.returncode, 1)
            self.assertIn("nothing was written; --force overwrites it", done.stderr)
            self.assertEqual(self.output.read_bytes(), other)

    def test_a_small_output_is_refused(self):
        self.pack(Image("v2-writeback"))
        done = self.unpack(8192)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Output file too small", done.stderr)

    def test_wrong_usage(self):
        for command in ("cache_metadata_pack", "cache_metadata_unpack"):
            path = Image("v2-writeback").write(self.folder)
            self.assertEqual(run(command, "-i", path, "-o", path).returncode, 2)
            self.assertEqual(run(command, "-i", path).returncode, 2)
            self.assertEqual(run(command, "-i", self.folder / "missing", "-o",
                                 self.output).returncode, 3)


if __name__ == "__main__":
    unittest.main()
