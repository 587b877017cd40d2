"""cache_repair: what is unknown becomes dirty, and neither input nor output are put at risk."""

import hashlib
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from fixture_images import BIN, NAMES, Image, run, truth_of

MAPPING = re.compile(r'<mapping cache_block="(\d+)" origin_block="(\d+)" dirty="(true|false)"/>')


class RepairTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def repair(self, image, *options):
        """(the run, the output's path)"""
        self.input = image.write(self.folder)
        output = self.folder / "output.img"
        output.write_bytes(bytes(len(image.data)))
        # As LVM calls it: with an empty operand first.
        return run("cache_repair", "", "-i", self.input, "-o", output, *options), output

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
        self.assertIn("--nr-cache-blocks", repaired.stderr)
        self.assertEqual(output.read_bytes(), bytes(len(image.data)))

    def test_a_lost_superblock_is_made_up_for_by_a_search(self):
        image = Image("v2-large")
        image.zero(0)
        repaired, output = self.repair(image, "--block-size", "32k", "--nr-cache-blocks", "65536",
                                       "--policy", "smq")
        self.assertEqual(repaired.returncode, 0, repaired.stderr)
        self.assertIn("took the mapping tree at block 220, which maps 35521 of 65536 cache blocks",
                      repaired.stderr)
        self.assertEqual(run("cache_check", "-q", output).returncode, 0)
        dump = run("cache_dump", output).stdout
        self.assertIn('block_size="64" nr_cache_blocks="65536" policy="smq"', dump)
        self.assertEqual({(int(c), int(o), dirty) for c, o, dirty in MAPPING.findall(dump)},
                         {(c, o, "true") for c, o, _ in truth_of("v2-large")["mappings"]})

    def device(self, name, size):
        path = self.folder / name
        path.touch()
        os.truncate(path, size)
        return path

    def test_the_fast_device_tells_a_wrong_block_size(self):
        for name in NAMES:
            image = Image(name)
            size, count = image.field("data_block_size"), image.field("cache_blocks")
            fast = self.device("fast", size * 512 * count + 4096)
            image.zero(0)
            for given, status in ((size, 0), (2 * size, 1), (size + 64, 1)):
                with self.subTest(name, given=given):
                    repaired, output = self.repair(image, "--nr-cache-blocks", count,
                                                   "--block-size", given, "--fast-device", fast)
                    self.assertEqual(repaired.returncode, status, repaired.stderr)
                    if status == 0:
                        self.assertIn(f"confirms blocks of {size // 2} KiB", repaired.stderr)
                    else:
                        self.assertIn("the fast device has room for ", repaired.stderr)
                        self.assertEqual(output.read_bytes(), bytes(len(image.data)))
        repaired, _ = self.repair(Image("v2-writeback"), "--fast-device", self.device("other", 4 << 20))
        self.assertEqual(repaired.returncode, 1)
        repaired, _ = self.repair(image, "--fast-device", self.folder / "missing")
        self.assertEqual(repaired.returncode, 3)
        repaired, _ = self.repair(image, "--fast-device-offset", 4096)
        self.assertEqual(repaired.returncode, 2)
        self.assertIn("--fast-device-offset goes with --fast-device", repaired.stderr)

    def test_a_size_that_nothing_confirms_is_said_to_be_so(self):
        image = Image("v2-writeback")
        image.zero(0)
        facts = ("--block-size", "256", "--nr-cache-blocks", "256")
        repaired, _ = self.repair(image, *facts)
        self.assertEqual(repaired.returncode, 0)
        self.assertIn("nothing confirms blocks of 128 KiB, and if they are of another size, every "
                      "mapping is wrong: --fast-device", repaired.stderr)

    def test_the_origin_tells_a_wrong_block_size_by_mappings_and_discards(self):
        for name, told in (("v2-crash", "and the origin has just "), ("v2-discards", "discard blocks")):
            image = Image(name)
            size, count = image.field("data_block_size"), image.field("cache_blocks")
            last = max(origin for _, origin, _ in truth_of(name)["mappings"])
            blocks = image.field("discard_nr_blocks") or last + 1
            origin = self.device("origin", blocks * size * 512)
            image.zero(0)
            for given, status in ((size, 0), (2 * size, 1)):
                with self.subTest(name, given=given):
                    repaired, output = self.repair(image, "--nr-cache-blocks", count,
                                                   "--block-size", given, "--origin-device", origin)
                    self.assertEqual(repaired.returncode, status, repaired.stderr)
                    if status == 1:
                        self.assertIn(told, repaired.stderr)
                        self.assertEqual(output.read_bytes(), bytes(len(image.data)))

    def test_a_superblock_with_one_wrong_byte_needs_no_numbers(self):
        for offset in (5, 44, 193, 233, 241, 4000):
            image = Image("v2-writeback")
            image.flip(0, offset)
            repaired, output = self.repair(image)
            self.assertEqual(repaired.returncode, 0, repaired.stderr)
            self.assertIn("one byte of the superblock is wrong", repaired.stderr)
            dump = run("cache_dump", output).stdout
            self.assertIn('block_size="128" nr_cache_blocks="256" policy="smq"', dump)
            self.assertEqual(len(MAPPING.findall(dump)), 256)
            self.assertNotIn('dirty="false"', dump)  # whether it was clean can't be believed

    def test_what_is_left_of_a_superblock_tells_the_tree(self):
        image = Image("v2-crash")  # no discards confirm the block size
        image.flip(0, 4000)
        image.flip(0, 3000)
        facts = ("--block-size", "128")
        repaired, output = self.repair(image, *facts)
        self.assertEqual(repaired.returncode, 0, repaired.stderr)
        self.assertIn("what is left of the superblock names it", repaired.stderr)
        self.assertEqual(len(MAPPING.findall(run("cache_dump", output).stdout)), 256)
        for facts, why in (((), "give --block-size"),
                           (("--block-size", "64"), "which contradicts --block-size"),
                           (("--block-size", "128", "--nr-cache-blocks", "255"),
                            "--nr-cache-blocks contradicts")):
            repaired, output = self.repair(image, *facts)
            self.assertEqual(repaired.returncode, 1)
            self.assertIn(why, repaired.stderr)
            self.assertEqual(output.read_bytes(), bytes(len(image.data)))

    def test_the_number_of_cache_blocks_must_be_that_of_the_mappings(self):
        image = Image("v2-grown")
        image.zero(0)
        for count in (None, 383, 385, 192, 368, 16):
            facts = ("--nr-cache-blocks", count) if count else ()
            repaired, output = self.repair(image, "--block-size", "128", *facts)
            self.assertEqual(repaired.returncode, 1)
            self.assertIn("there are mappings of 384, 256 cache blocks on the device",
                          repaired.stderr)
            self.assertEqual(output.read_bytes(), bytes(len(image.data)))
        repaired, output = self.repair(image, "--block-size", "128", "--nr-cache-blocks", "256")
        self.assertEqual(repaired.returncode, 1)
        self.assertIn("the tree at block 45, of 384 cache blocks", repaired.stderr)

    def test_a_wrong_magic_number_or_version_is_mended(self):
        for name, field, value in (("v2-writeback", "magic", 1), ("v2-writeback", "version", 3),
                                   ("v1-writeback", "version", 0), ("v2-crash", "version", 9)):
            image = Image(name)
            right = run("cache_dump", image.write(self.folder)).stdout
            image.set_field(field, value)
            repaired, output = self.repair(image)
            self.assertEqual(repaired.returncode, 0, repaired.stderr)
            self.assertIn(f"superblock has {field}", repaired.stderr)
            self.assertEqual(run("cache_check", "-q", output).returncode, 0)
            self.assertEqual(run("cache_dump", output).stdout, right)

    def test_a_block_size_of_zero_is_mended(self):
        image = Image("v2-writeback")
        image.set_field("data_block_size", 0)
        repaired, output = self.repair(image)
        self.assertEqual(repaired.returncode, 0, repaired.stderr)
        self.assertIn("took a block size of 128 sectors, as the discards have it", repaired.stderr)
        image = Image("v2-crash")
        image.set_field("data_block_size", 0)
        self.assertEqual(self.repair(image)[0].returncode, 1)
        repaired, output = self.repair(image, "--block-size", "64k")
        self.assertEqual(repaired.returncode, 0, repaired.stderr)
        self.assertIn('block_size="128"', run("cache_dump", output).stdout)

    def test_discards_that_cannot_be_are_left_out(self):
        for field, value in (("discard_nr_blocks", 1 << 40), ("discard_nr_blocks", 16386),
                             ("discard_block_size", 0)):
            image = Image("v2-discards")
            before = MAPPING.findall(run("cache_dump", image.write(self.folder)).stdout)
            image.set_field(field, value)
            repaired, output = self.repair(image)
            self.assertEqual(repaired.returncode, 0, repaired.stderr)
            self.assertIn("the discards are left out, which cost no data", repaired.stderr)
            self.assertEqual(run("cache_check", "-q", output).returncode, 0)
            dump = run("cache_dump", output).stdout
            self.assertEqual(MAPPING.findall(dump), before)
            self.assertNotIn("<discard ", dump)

    def test_the_exit_status_tells_whether_dirty_blocks_are_lost(self):
        dirty = [(c, d) for c, _, d in truth_of("v2-large")["mappings"]]
        parts = {part: sum(d for c, d in dirty if c // 509 == part) for part in range(129)}
        clean = next(part for part in parts if parts[part] == 0)
        some = next(part for part in parts if parts[part] != 0)
        for part in (clean, some):
            image = Image("v2-large")
            image.zero(image.array_blocks("mapping_root")[part])
            repaired, output = self.repair(image)
            self.assertEqual(repaired.returncode, 1 if parts[part] else 0, repaired.stderr)
            self.assertIn(f" {parts[part]} lost\n", repaired.stdout)
            self.assertEqual("still on the fast device" in repaired.stderr, parts[part] != 0)
            self.assertEqual(run("cache_check", "-q", output).returncode, 0)
            self.assertEqual(self.repair(image, "--accept-loss")[0].returncode, 0)
        first = next(c for c, d in dirty if d and c // 509 == some)
        self.assertIn(f"dirty: {first}", self.repair(image)[0].stderr)

    def test_all_mappings_lost_are_no_success(self):
        image = Image("v2-large")
        for block in image.array_blocks("mapping_root"):
            image.zero(block)
        repaired, output = self.repair(image)
        self.assertEqual(repaired.returncode, 1)
        dirty = sum(d for _, _, d in truth_of("v2-large")["mappings"])
        self.assertIn(f" 0 mapped, 0 dirty, {dirty} lost\n", repaired.stdout)
        image = Image("v2-large")
        output = self.folder / "whole.img"
        output.write_bytes(bytes(len(image.data)))
        del image.data[4096:]
        repaired = run("cache_repair", "-i", image.write(self.folder), "-o", output)
        self.assertEqual(repaired.returncode, 1)
        self.assertIn(" 65536 lost\n", repaired.stdout)

    def test_mappings_beyond_what_the_superblock_says_are_no_small_thing(self):
        image = Image("v2-writeback")
        image.set_field("cache_blocks", 250)
        repaired, _ = self.repair(image)
        self.assertEqual(repaired.returncode, 1)
        self.assertIn("6 cache blocks that are lost were or may have been dirty: 250-255",
                      repaired.stderr)

    def test_mappings_lost_after_a_crash_may_have_been_dirty(self):
        image = Image("v2-crash")
        image.zero(image.array_blocks("mapping_root")[0])
        repaired, _ = self.repair(image)
        self.assertEqual(repaired.returncode, 1)
        self.assertIn("256 cache blocks that are lost were or may have been dirty: 0-255", repaired.stderr)

    def test_version_1_is_told_by_its_dirty_flags(self):
        image = Image("v1-writeback")
        image.flip(0, 4000)
        facts = ("--block-size", "128", "--nr-cache-blocks", "256")
        repaired, output = self.repair(image, *facts)
        self.assertEqual(repaired.returncode, 0, repaired.stderr)
        self.assertEqual(output.read_bytes()[40], 1)
        self.assertEqual(self.repair(image, *facts, "--metadata-version", "2")[0].returncode, 1)

    def test_a_tree_in_doubt_is_taken_on_request_only(self):
        image = Image("v2-writeback")
        image.zero(0)
        image.zero(28)  # the index of the space map that was in force
        image.zero(20)
        facts = ("--block-size", "128", "--nr-cache-blocks", "256")
        repaired, output = self.repair(image, *facts)
        self.assertEqual(repaired.returncode, 1)
        self.assertIn("the tree at block 19 says something else", repaired.stderr)
        self.assertIn("which mapping tree was in force is in doubt", repaired.stderr)
        self.assertEqual(output.read_bytes(), bytes(len(image.data)))
        repaired, output = self.repair(image, *facts, "--use-stale")
        self.assertEqual(repaired.returncode, 0)
        self.assertEqual(len(MAPPING.findall(run("cache_dump", output).stdout)), 256)

    def test_the_order_of_transactions_tells_the_tree(self):
        for name in NAMES:
            image = Image(name)
            facts = ("--block-size", image.field("data_block_size"),
                     "--nr-cache-blocks", image.field("cache_blocks"))
            image.zero(0)
            repaired, output = self.repair(image, *facts)
            self.assertEqual(repaired.returncode, 0, repaired.stderr)
            self.assertEqual(len(MAPPING.findall(run("cache_dump", output).stdout)),
                             len(truth_of(name)["mappings"]))

    def test_facts_must_agree_with_a_sound_superblock(self):
        image = Image("v2-writeback")
        for facts, code in ((("--block-size", "128"), 0), (("--block-size", "64"), 1),
                            (("--nr-cache-blocks", "255"), 1), (("--metadata-version", "1"), 1),
                            (("--policy", "cleaner"), 1), (("--block-size", "100"), 2),
                            (("--nr-cache-blocks", "many"), 2), (("--metadata-version", "3"), 2),
                            (("--policy", "a b"), 2)):
            with self.subTest(facts):
                self.assertEqual(self.repair(image, *facts)[0].returncode, code)

    def test_a_lost_root_costs_what_was_written_since_the_earlier_one(self):
        image = Image("v2-large")
        image.zero(image.field("mapping_root"))
        repaired, output = self.repair(image)
        lost = sum(d for c, _, d in truth_of("v2-large")["mappings"] if 32576 <= c < 35630)
        self.assertEqual(repaired.returncode, 1 if lost else 0)
        self.assertIn("123 of its 129 array blocks were found", repaired.stderr)
        self.assertIn("lost: the mappings of cache blocks 32576-35629", repaired.stderr)
        self.assertTrue(repaired.stdout.endswith(f" {lost} lost\n"), repaired.stdout)
        found = {(int(c), int(o), d == "true")
                 for c, o, d in MAPPING.findall(run("cache_dump", output).stdout)}
        self.assertEqual(found, {(c, o, bool(d)) for c, o, d in truth_of("v2-large")["mappings"]
                                 if not 32576 <= c < 35630})

    def test_earlier_mappings_are_taken_on_request_only_and_dirty(self):
        image = Image("v2-large")
        part = 63  # of which root 216 has another version
        image.zero(image.array_blocks("mapping_root")[part])
        first, end = part * 509, part * 509 + 509
        repaired, output = self.repair(image)
        self.assertIn(f"cache blocks {first}-{end - 1}: an earlier version of the mappings",
                      repaired.stderr)
        found = [int(c) for c, _, _ in MAPPING.findall(run("cache_dump", output).stdout)]
        self.assertFalse([c for c in found if first <= c < end])
        repaired, output = self.repair(image, "--use-stale")
        self.assertIn("they are dirty, and may be wrong", repaired.stderr)
        taken = [(int(c), d) for c, _, d in MAPPING.findall(run("cache_dump", output).stdout)
                 if first <= int(c) < end]
        self.assertTrue(taken)
        self.assertEqual({dirty for _, dirty in taken}, {"true"})
        self.assertEqual(run("cache_check", "-q", output).returncode, 0)

    def test_list_roots_shows_the_trees(self):
        listed = run("cache_repair", "--list-roots", "-i", Image("v2-writeback").write(self.folder))
        self.assertEqual(listed.returncode, 0)
        self.assertIn("block 15: maps 192 of 256 cache blocks, space map at block 16\n",
                      listed.stdout)
        self.assertIn("block 19: maps 256 of 256 cache blocks, space map at block 28, in force\n",
                      listed.stdout)

    def test_list_roots_takes_no_output(self):
        path = Image("v2-writeback").write(self.folder)
        self.assertEqual(run("cache_repair", "--list-roots", "-i", path, "-o", "x").returncode, 2)
        self.assertEqual(run("cache_repair", "-i", path).returncode, 2)

    def test_an_output_that_is_not_there_is_made_and_minus_is_standard_output_and_input(self):
        image = Image("v2-writeback")
        path = image.write(self.folder)
        made, piped = (self.folder / name for name in ("made.img", "piped.img"))
        self.assertEqual(run("cache_repair", "-i", path, "-o", made).returncode, 0)
        with open(path) as stdin, open(piped, "wb") as stdout:
            done = subprocess.run([BIN / "cache_repair", "-i", "-", "-o", "-"], stdin=stdin,
                                  stdout=stdout)
        self.assertEqual(done.returncode, 0)
        for output in (made, piped):
            self.assertEqual(output.stat().st_size, len(image.data))
            self.assertIn("256 mapped", run("cache_check", output).stdout)

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
