"""cache_check: what it says of sound metadata, of each kind of damage, and of what is no metadata."""

import fcntl
import hashlib
import os
import pathlib
import struct
import tempfile
import unittest

from fixture_images import (ARRAY, BITMAP, BLOCK, INDEX, NAMES, NODE, SUPERBLOCK, Image, run,
                            truth_of)


class CheckTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def check(self, image, *options):
        path = image.write(self.folder)
        before = hashlib.sha256(path.read_bytes()).digest()
        done = run("cache_check", *options, path)
        self.assertEqual(hashlib.sha256(path.read_bytes()).digest(), before)
        return done

    def expect_damage(self, image, block, text, fatal=True):
        done = self.check(image)
        lines = [line for line in done.stderr.splitlines() if f" block {block}: " in line]
        self.assertTrue(any(text in line for line in lines), done.stderr)
        self.assertEqual(done.returncode, 1)
        ignoring = self.check(image, "--ignore-non-fatal-errors")
        self.assertEqual(ignoring.returncode, 1 if fatal else 0, ignoring.stdout)
        return done


class SoundMetadata(CheckTest):
    def test_fixtures_are_sound_and_summed_up(self):
        for name in NAMES:
            truth = truth_of(name)
            mapped = len(truth["mappings"])
            clean = truth["clean_shutdown"]
            dirty = sum(d for _, _, d in truth["mappings"]) if clean else mapped
            state = ("" if clean else "not ") + "cleanly shut down"
            state += ", needs_check" if truth["needs_check"] else ""
            with self.subTest(name):
                done = self.check(Image(name))
                self.assertEqual(done.returncode, 0)
                self.assertEqual(done.stderr, "")
                self.assertEqual(
                    done.stdout.splitlines()[-1],
                    f"format {truth['version']}, block size {truth['block_size']} sectors, "
                    f"{truth['cache_blocks']} cache blocks, {mapped} mapped, {dirty} dirty, "
                    f"{state}: sound")

    def test_says_that_all_is_dirty_after_a_crash(self):
        done = self.check(Image("v1-crash-again"))
        self.assertIn("not cleanly shut down: all 256 mapped blocks count as dirty", done.stdout)

    def test_reports_needs_check(self):
        self.assertIn("NEEDS_CHECK is set", self.check(Image("v2-needs-check")).stdout)

    def test_quiet_prints_nothing(self):
        for image in (Image("v2-needs-check"), Image("v1-fresh")):
            done = self.check(image, "-q")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_super_block_only_reads_nothing_else(self):
        image = Image("v2-writeback")
        image.zero(image.field("mapping_root"))
        done = self.check(image, "--super-block-only")
        self.assertEqual(done.returncode, 0)
        self.assertNotIn("mapped,", done.stdout)

    def test_skipped_parts_are_not_looked_at(self):
        for option, root in (("--skip-mappings", "mapping_root"), ("--skip-hints", "hint_root"),
                             ("--skip-discards", "discard_root")):
            image = Image("v2-writeback")
            image.zero(image.field(root))
            with self.subTest(option):
                self.assertEqual(self.check(image, option).returncode, 0)
                self.assertEqual(self.check(image).returncode, 1)

    def test_a_device_that_is_nearly_full_is_noted(self):
        document, small = self.folder / "document.xml", self.folder / "small"
        run("cache_dump", "-o", document, Image("v2-writeback").write(self.folder))
        restored = None
        for blocks in range(8, 64):
            small.write_bytes(bytes(blocks * BLOCK))
            restored = run("cache_restore", "-q", "-i", document, "-o", small)
            if restored.returncode == 0:
                break
        self.assertEqual(restored.returncode, 0)
        checked = run("cache_check", small)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        self.assertRegex(checked.stdout, rf"^note: \d+ of {blocks} metadata blocks are in use: when none "
                                         r"is left, nothing new is cached: restore a dump to a larger "
                                         r"device \(see cache_metadata_size\)\n")
        self.assertEqual(run("cache_check", "-q", small).stdout, "")

    def test_a_checksum_that_looks_like_xml_is_a_checksum(self):
        image = Image("v2-writeback")
        for hits in range(100000):
            image.set_field("read_hits", hits)
            if image.data[0] == ord("<") and chr(image.data[1]).isascii() and (
                    chr(image.data[1]).isalpha()):
                break
        self.assertEqual(image.data[0:1], b"<")
        checked = run("cache_check", image.write(self.folder))
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))


class DamagedMappings(CheckTest):
    def setUp(self):
        super().setUp()
        self.image = Image("v2-writeback")
        self.array, = self.image.array_blocks("mapping_root")

    def set_mapping(self, cache_block, value):
        self.image.set(self.array, 24 + 8 * cache_block, "Q", value, ARRAY)

    def test_two_cache_blocks_of_one_origin_block(self):
        self.set_mapping(7, self.image.get(self.array, 24, "Q"))
        self.expect_damage(self.image, self.array, "cache block 7: origin block 100 is mapped by")

    def test_dirty_flag_in_version_2(self):
        self.set_mapping(7, self.image.get(self.array, 24 + 56, "Q") | 2)
        self.expect_damage(self.image, self.array, "cache block 7: mapping with a dirty flag")

    def test_unknown_mapping_flags(self):
        self.set_mapping(7, self.image.get(self.array, 24 + 56, "Q") | 64)
        self.expect_damage(self.image, self.array, "cache block 7: mapping with unknown flags")

    def test_unmapped_entry_that_is_not_zero(self):
        self.set_mapping(7, 5 << 16)
        self.expect_damage(self.image, self.array, "cache block 7: unmapped entry that isn't zero")

    def test_origin_block_beyond_the_origin(self):
        self.set_mapping(7, 1024 << 16 | 1)
        self.expect_damage(self.image, self.array, "cache block 7: mapping to beyond the end")

    def test_dirty_bit_on_an_unmapped_block(self):
        self.set_mapping(0, 0)
        bits, = self.image.array_blocks("dirty_root")
        self.expect_damage(self.image, bits, "cache block 0: dirty bit on an unmapped")

    def test_stale_dirty_bit_after_a_crash_is_no_damage(self):
        self.set_mapping(0, 0)
        self.image.set_field("flags", 0)
        self.assertEqual(self.check(self.image).returncode, 0)

    def test_damage_is_told_by_ranges(self):
        for cache_block in range(10, 20):
            self.set_mapping(cache_block, 4 << 16)
        self.expect_damage(self.image, self.array, "cache blocks 10-19: unmapped entry")

    def test_all_damage_is_told(self):
        self.set_mapping(7, 5 << 16)
        hints, = self.image.array_blocks("hint_root")
        self.image.flip(hints, 100)
        done = self.expect_damage(self.image, self.array, "unmapped entry")
        self.assertIn(f"block {hints}: bad checksum", done.stderr)
        self.assertIn("2 damaged (1 fatal)", done.stdout)

    def test_quiet_prints_nothing(self):
        self.set_mapping(7, 5 << 16)
        done = self.check(self.image, "--quiet")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", ""))


class DamagedStructures(CheckTest):
    def setUp(self):
        super().setUp()
        self.image = Image("v2-large")
        self.root = self.image.field("mapping_root")

    def test_keys_out_of_order(self):
        self.image.set(self.root, 32 + 8 * 5, "Q", 3, NODE)
        self.expect_damage(self.image, self.root, "keys out of order")

    def test_missing_key(self):
        self.image.set(self.root, 32 + 8 * 128, "Q", 130, NODE)
        self.expect_damage(self.image, self.root, "entries from 130 on")
        done = self.check(self.image)
        self.assertIn("the tree has no entry for array blocks 128-128", done.stderr)
        self.assertIn("the mapping of cache blocks 65152-65535 is lost", done.stderr)

    def test_cycle(self):
        self.image.set(self.root, 4, "I", 1, NODE)
        self.image.set(self.root, 32 + 8 * 252, "Q", self.root, NODE)
        self.expect_damage(self.image, self.root, f"points to block {self.root}, which is in use")

    def test_shared_block(self):
        first = self.image.get(self.root, 32 + 8 * 252, "Q")
        self.image.set(self.root, 32 + 8 * 253, "Q", first, NODE)
        self.expect_damage(self.image, self.root, f"points to block {first}, which is in use")

    def test_child_beyond_the_device(self):
        self.image.set(self.root, 32 + 8 * 253, "Q", 1 << 40, NODE)
        self.expect_damage(self.image, self.root, "beyond the device's 4096 blocks")

    def test_absurd_header_fields(self):
        for offset, value, text in ((16, 0xFFFFFFFF, "4294967295 entries"),
                                    (20, 0xFFFFFF, "room for 16777215"),
                                    (24, 0x80000000, "value size 2147483648"),
                                    (4, 3, "neither internal nor leaf")):
            image = Image("v2-large")
            image.set(self.root, offset, "I", value, NODE)
            with self.subTest(text):
                self.expect_damage(image, self.root, text)

    def test_array_block_of_wrong_shape(self):
        block = self.image.array_blocks("mapping_root")[3]
        self.image.set(block, 8, "I", 400, ARRAY)
        done = self.expect_damage(self.image, block, "400 entries where 509 are expected")
        self.assertIn("cache blocks 1927-2035 is lost", done.stderr)
        self.image.set(block, 8, "I", 0x7FFFFFFF, ARRAY)
        self.expect_damage(self.image, block, "where an array block has up to 509")

    def test_more_cache_blocks_than_mappings(self):
        self.image.set_field("cache_blocks", 100000)
        self.expect_damage(self.image, self.root, "no entry for array blocks 129-196")

    def test_lost_hints_are_not_fatal(self):
        root = self.image.field("hint_root")
        self.image.zero(root)
        done = self.expect_damage(self.image, root, "all zeroes", fatal=False)
        self.assertIn("no data is at stake", done.stderr)

    def test_fewer_hints_than_cache_blocks_are_no_damage_after_a_crash(self):
        image = Image("v1-crash-again")
        hints, = image.array_blocks("hint_root")
        image.set(hints, 8, "I", 200, ARRAY)
        self.assertEqual(self.check(image).returncode, 0)
        image.set_field("flags", 1)
        self.expect_damage(image, hints, "200 entries where 256", fatal=False)


class DamagedSpaceMap(CheckTest):
    def setUp(self):
        super().setUp()
        self.image = Image("v2-writeback")
        self.index = self.image.field("bitmap_root")
        self.bitmap = self.image.get(self.index, 16, "Q")

    def set_count(self, block, count):
        at = 16 + block // 4
        shift = block % 4 * 2
        bits = (count >> 1) | (count & 1) << 1
        byte = self.image.get(self.bitmap, at, "B") & ~(3 << shift) | bits << shift
        self.image.set(self.bitmap, at, "B", byte, BITMAP)

    def test_leak_is_not_fatal(self):
        self.set_count(900, 1)
        self.set_count(901, 1)
        self.expect_damage(self.image, self.bitmap, "1 uses of blocks 900-901, but there are none",
                           fatal=False)

    def test_count_too_high_is_not_fatal(self):
        self.set_count(self.index, 2)
        self.expect_damage(self.image, self.bitmap, f"2 uses of block {self.index}", fatal=False)

    def test_count_too_low_is_fatal(self):
        self.set_count(self.image.field("mapping_root"), 0)
        self.expect_damage(self.image, self.bitmap, "as free, but it is in use")

    def test_number_of_allocated_blocks(self):
        self.image.set_field("nr_allocated", 77)
        self.expect_damage(self.image, 0, "77 blocks are allocated, but 12 are", fatal=False)

    def test_derived_fields_of_the_index(self):
        self.image.set(self.index, 24, "I", 99, INDEX)
        self.image.set(self.index, 28, "I", 1000, INDEX)
        self.expect_damage(self.image, self.index, "99 blocks of bitmap", fatal=False)
        self.expect_damage(self.image, self.index, "none is free before entry 1000", fatal=False)

    def test_free_blocks_beyond_the_device_may_count_or_not(self):
        beyond = 16320 - 1024
        nr_free = self.image.get(self.index, 24, "I")
        self.image.set(self.index, 24, "I", nr_free - beyond, INDEX)
        self.assertEqual(self.check(self.image).returncode, 0)

    def test_truncated_device(self):
        del self.image.data[1023 * BLOCK:]
        self.expect_damage(self.image, 0, "covers 1024 blocks, but the device has 1023")

    def test_leaks_are_not_told_where_they_cannot_be_known(self):
        self.image.zero(self.image.field("mapping_root"))
        self.assertNotIn("leaked", self.check(self.image).stderr)


class DamagedSuperblock(CheckTest):
    def test_fields(self):
        for field, value, text in (
                ("flags", 9, "unknown flags 0x8"), ("metadata_block_size", 16, "metadata block"),
                ("data_block_size", 65, "block size 65 sectors"),
                ("data_block_size", 0, "block size 0 sectors"),
                ("policy_hint_size", 8, "hint size 8"), ("policy_name", b"s<q", "policy name"),
                ("discard_nr_blocks", 0, "0 discard blocks of 128")):
            image = Image("v2-writeback")
            image.set_field(field, value)
            with self.subTest(field):
                self.expect_damage(image, 0, text)

    def test_what_makes_it_no_superblock(self):
        for field, value, text in (("version", 3, "version 3"), ("magic", 1, "magic number 0x1"),
                                   ("incompat_flags", 4, "incompatible features 0x4")):
            image = Image("v2-writeback")
            image.set_field(field, value)
            with self.subTest(field):
                self.expect_damage(image, 0, text)

    def test_bad_checksum(self):
        image = Image("v2-writeback")
        image.flip(0, 3000)
        self.expect_damage(image, 0, "bad checksum in superblock")

    def test_unknown_read_only_features_are_a_note(self):
        image = Image("v2-writeback")
        image.set_field("compat_ro_flags", 1)
        done = self.check(image)
        self.assertEqual(done.returncode, 0)
        self.assertIn("can be used read-only", done.stdout)

    def test_number_of_another_block(self):
        image = Image("v2-writeback")
        image.copy_block(0, 0, (SUPERBLOCK[0], 4000))
        image.set(0, 8, "Q", 0, SUPERBLOCK)
        image.data[8] = 1
        self.expect_damage(image, 0, "bad checksum")


class NoMetadata(CheckTest):
    def expect(self, code, text, path, *options):
        done = run("cache_check", *options, path)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertTrue(done.stderr.startswith("cache_check: "), done.stderr)
        self.assertIn(text, done.stderr)
        self.assertEqual(done.stdout, "")

    def write(self, data):
        path = self.folder / "file"
        path.write_bytes(data)
        return path

    def test_missing_file(self):
        self.expect(3, "Couldn't find input file", self.folder / "missing")

    def test_directory(self):
        self.expect(3, "Not a block device or regular file", self.folder)

    def test_tiny_file(self):
        self.expect(1, "Metadata device/file too small.  Is this binary metadata?",
                    self.write(b"tiny"))

    def test_xml(self):
        text = "This looks like XML.  This tool only supports the binary metadata format."
        for size in (0, 5000):
            self.expect(1, text, self.write(b'<superblock uuid="">' + b" " * size))

    def test_zeroed_device(self):
        self.expect(1, "block 0: superblock is all zeroes: this device holds no cache metadata yet",
                    self.write(bytes(1 << 20)))

    def test_zeroed_superblock_of_a_cache(self):
        image = Image("v2-writeback")
        image.zero(0)
        self.expect(1, "holds metadata: don't activate the cache, the kernel would make it a new "
                       "one; cache_repair", image.write(self.folder))

    def test_what_else_may_stand_there(self):
        pack = self.folder / "pack"
        run("cache_metadata_pack", "-i", Image("v2-writeback").write(self.folder), "-o", pack)
        with open(pack, "r+b") as short:
            short.truncate(8192)
        self.expect(1, "holds a pack of metadata: cache_metadata_unpack makes it", pack)
        swap = bytearray(1 << 20)
        swap[4086:4096] = b"SWAPSPACE2"
        swap[1024:1032] = struct.pack("<II", 1, 255)
        self.expect(1, "holds a swap signature", self.write(swap))
        thin = Image("v2-writeback")
        thin.set_field("magic", 27022010)
        thin.data[0] ^= 1  # what is folded into the checksum of another target differs
        self.expect(1, "this is the metadata of a thin pool, not of a cache: see thin_check",
                    thin.write(self.folder))

    def test_file_in_use(self):
        path = Image("v1-fresh").write(self.folder)
        with open(path, "r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.expect(3, "is in use", path)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_no_permission(self):
        path = self.write(bytes(8192))
        path.chmod(0)
        self.expect(3, "Permission denied", path)


class CommandLine(unittest.TestCase):
    def test_wrong_usage(self):
        for arguments in ((), ("--nonsense", "x"), ("a", "b"), ("--skip",)):
            done = run("cache_check", *arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn("Try 'cache_check --help'.", done.stderr)

    def test_version_is_a_bare_number(self):
        for option in ("-V", "--version"):
            self.assertRegex(run("cache_check", option).stdout, r"^\d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()
