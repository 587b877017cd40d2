"""cache_repair: what is unknown becomes dirty, and neither input nor output are put at risk."""

import hashlib
import pathlib
import re
import tempfile
import unittest

from fixture_images import NAMES, Image, run, truth_of

MAPPING = re.compile(r'<mapping cache_block="(\d+)" origin_block="(\d+)" dirty="(true|false)"/>')


class RepairTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def repair(self, image):
        """(the run, the output's path)"""
        self.input = image.write(self.folder)
        output = self.folder / "output.img"
        output.write_bytes(bytes(len(image.data)))
        # As LVM calls it: with an empty operand first.
        return run("cache_repair", "", "-i", self.input, "-o", output), output

    def test_sound_metadata_come_out_as_they_were(self):
        for name in NAMES:
            with self.subTest(name):
                repaired, output = self.repair(Image(name))
                self.assertEqual(repaired.returncode, 0, repaired.stderr)
                self.assertEqual(run("cache_check", "-q", output).returncode, 0)
                self.assertEqual(run("cache_dump", output).stdout,
                                 run("cache_dump", self.input).stdout)

    def test_everything_is_dirty_after_a_crash(self):
        for name in ("v1-crash", "v1-crash-again", "v2-crash"):
            with self.subTest(name):
                repaired, output = self.repair(Image(name))
                self.assertIn("not cleanly shut down: all ", repaired.stderr)
                found = MAPPING.findall(run("cache_dump", output).stdout)
                self.assertEqual([(int(c), int(o)) for c, o, _ in found],
                                 [(c, o) for c, o, _ in truth_of(name)["mappings"]])
                self.assertEqual({dirty for _, _, dirty in found}, {"true"})

    def test_lost_dirty_bits_are_dirty(self):
        image = Image("v2-writeback")
        image.zero(image.array_blocks("dirty_root")[0])
        repaired, output = self.repair(image)
        self.assertEqual(repaired.returncode, 0)
        self.assertIn("bad checksum", repaired.stderr)
        self.assertNotIn('dirty="false"', run("cache_dump", output).stdout)

    def test_broken_hints_cost_no_mapping(self):
        image = Image("v2-writeback")
        before = MAPPING.findall(run("cache_dump", image.write(self.folder)).stdout)
        image.zero(image.field("hint_root"))
        repaired, output = self.repair(image)
        self.assertEqual(repaired.returncode, 0)
        self.assertEqual(MAPPING.findall(run("cache_dump", output).stdout), before)

    def test_an_origin_block_claimed_twice_is_mapped_by_neither(self):
        image = Image("v1-writeback")
        leaf = image.array_blocks("mapping_root")[0]
        image.set(leaf, 24 + 8, "Q", image.get(leaf, 24, "Q"), (595846735, 16))
        repaired, output = self.repair(image)
        self.assertIn("2 mappings to origin blocks that more than one cache block claims",
                      repaired.stderr)
        self.assertEqual(run("cache_check", "-q", output).returncode, 0)
        blocks = {int(c) for c, _, _ in MAPPING.findall(run("cache_dump", output).stdout)}
        self.assertFalse(blocks & {0, 1})

    def test_the_input_is_not_written_to(self):
        image = Image("v2-crash")
        self.repair(image)
        self.assertEqual(hashlib.sha256(self.input.read_bytes()).digest(),
                         hashlib.sha256(image.data).digest())

    def test_without_a_superblock_the_output_is_left_alone(self):
        image = Image("v2-writeback")
        image.zero(0)
        repaired, output = self.repair(image)
        self.assertEqual(repaired.returncode, 1)
        self.assertEqual(output.read_bytes(), bytes(len(image.data)))

    def test_input_and_output_must_differ(self):
        path = Image("v2-writeback").write(self.folder)
        self.assertEqual(run("cache_repair", "-i", path, "-o", path).returncode, 2)

    def test_a_small_output_is_refused(self):
        path = Image("v2-writeback").write(self.folder)
        output = self.folder / "small.img"
        output.write_bytes(bytes(8192))
        repaired = run("cache_repair", "-i", path, "-o", output)
        self.assertEqual(repaired.returncode, 1)
        self.assertIn("Output file too small", repaired.stderr)

    def test_quiet_says_nothing(self):
        path = Image("v2-crash").write(self.folder)
        output = self.folder / "output.img"
        output.write_bytes(bytes(1 << 23))
        repaired = run("cache_repair", "-q", "-i", path, "-o", output)
        self.assertEqual((repaired.returncode, repaired.stdout, repaired.stderr), (0, "", ""))


if __name__ == "__main__":
    unittest.main()
