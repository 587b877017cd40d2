"""cache_dump: the document, its meaning after a crash, and what damage does to it."""

import base64
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

from fixture_images import ARRAY, BIN, NAMES, SOURCE, Image, run, truth_of


def runs(numbers):
    """[begin, end) of the numbers that follow one another."""
    found = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    return found


def document(truth, as_stored):
    """What a dump of metadata with this content says."""
    trusted = truth["clean_shutdown"] or as_stored
    own = [2, 0, 0] if truth["policy"] else [0, 0, 0]
    extra = "" if truth["hint_width"] else ' hint_width="0"'
    if truth["policy_version"] != own:
        extra += ' policy_version="{}.{}.{}"'.format(*truth["policy_version"])
    if any(truth["stats"]):
        extra += ' read_hits="{}" read_misses="{}" write_hits="{}" write_misses="{}"'.format(
            *truth["stats"])
    lines = [f'<superblock uuid="" block_size="{truth["block_size"]}" '
             f'nr_cache_blocks="{truth["cache_blocks"]}" policy="{truth["policy"]}" '
             f'hint_width="{truth["hint_width"] or 4}">']
    lines += [f"  <!-- dmcache: <superblock{extra}/> -->"] if extra else []
    lines.append("  <mappings>")
    for cache_block, origin, dirty in truth["mappings"]:
        shown = "true" if dirty or not trusted else "false"
        lines.append(f'    <mapping cache_block="{cache_block}" origin_block="{origin}" '
                     f'dirty="{shown}"/>')
    lines += ["  </mappings>", "  <hints>"]
    if trusted and truth["hint_width"]:
        for cache_block, _, _ in truth["mappings"]:
            hint = truth["hints"].get(str(cache_block), 0)
            data = base64.b64encode(struct.pack("<I", hint)).decode()
            lines.append(f'    <hint cache_block="{cache_block}" data="{data}"/>')
    lines.append("  </hints>")
    if trusted and truth["discards"]:
        lines.append("  <!-- dmcache:")
        lines.append(f'  <discards block_size="{truth["discard_block_size"]}" '
                     f'nr_blocks="{truth["discard_nr_blocks"]}">')
        lines += [f'    <discard dbegin="{b}" dend="{e}"/>' for b, e in runs(truth["discards"])]
        lines += ["  </discards>", "  -->"]
    return "\n".join(lines + ["</superblock>", ""])


class DumpTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def dump(self, image, *options):
        return run("cache_dump", *options, image.write(self.folder))


class Document(DumpTest):
    def test_says_what_is_true(self):
        for name in NAMES:
            with self.subTest(name):
                done = self.dump(Image(name))
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(done.stdout, document(truth_of(name), as_stored=False))

    def test_as_stored_says_what_is_on_disk(self):
        for name in NAMES:
            with self.subTest(name):
                done = self.dump(Image(name), "--as-stored")
                self.assertEqual(done.stdout, document(truth_of(name), as_stored=True))

    def test_repair_changes_nothing_of_sound_metadata(self):
        for name in NAMES:
            with self.subTest(name):
                self.assertEqual(self.dump(Image(name), "-r").stdout, self.dump(Image(name)).stdout)

    def test_fits_its_schema(self):
        self.assertTrue(shutil.which("xmllint"), "xmllint (libxml2-utils) is needed")
        for name in NAMES:
            for options in ((), ("--as-stored",)):
                path = self.folder / "dump.xml"
                path.write_text(self.dump(Image(name), *options).stdout)
                with self.subTest(name, options=options):
                    done = subprocess.run(
                        ["xmllint", "--noout", "--relaxng", SOURCE / "xml-schema/cache.rng", path],
                        capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_keeps_another_version_of_the_policy(self):
        image = Image("v1-fresh")
        image.set_field("policy_version_major", 1)
        self.assertIn('hint_width="4">\n  <!-- dmcache: <superblock policy_version="1.0.0"/> -->\n',
                      self.dump(image).stdout)

    def test_keeps_the_uuid(self):
        image = Image("v1-fresh")
        image.set(0, 16, "16s", bytes(range(16)), (9031977, 8))
        self.assertIn('uuid="AAECAwQFBgcICQoLDA0ODw=="', self.dump(image).stdout)

    def test_hints_without_a_width_are_left_out(self):
        image = Image("v2-writeback")
        image.set_field("policy_hint_size", 0)
        done = self.dump(image)
        self.assertIn('hint_width="4">\n  <!-- dmcache: <superblock hint_width="0" ', done.stdout)
        self.assertNotIn("<hint ", done.stdout)


class Damaged(DumpTest):
    def setUp(self):
        super().setUp()
        self.image = Image("v2-large")
        self.truth = truth_of("v2-large")

    def mappings(self, text):
        found = re.findall(r'cache_block="(\d+)" origin_block="(\d+)" dirty="(\w+)"', text)
        return [[int(c), int(o), d == "true"] for c, o, d in found]

    def test_nothing_is_dumped_without_repair(self):
        self.image.flip(self.image.array_blocks("hint_root")[-1], 50)
        done = self.dump(self.image)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("nothing was dumped; --repair dumps what can be read", done.stderr)

    def test_repair_loses_just_the_mappings_of_the_block(self):
        block = self.image.array_blocks("mapping_root")[2]
        self.image.zero(block)
        done = self.dump(self.image, "--repair")
        self.assertEqual(done.returncode, 0)
        self.assertIn("the mapping of cache blocks 1018-1526 is lost", done.stderr)
        self.assertEqual(self.mappings(done.stdout),
                         [m for m in self.truth["mappings"] if not 1018 <= m[0] < 1527])

    def test_repair_searches_as_cache_repair_does(self):
        image = Image("v2-writeback")
        image.zero(image.field("mapping_root"))
        done = self.dump(image, "--repair")
        self.assertEqual(done.returncode, 0)
        self.assertIn("1 of its 1 array blocks were found by what else is on the device",
                      done.stderr)
        self.assertEqual(self.mappings(done.stdout), truth_of("v2-writeback")["mappings"])

    def test_repair_leaves_out_discards_that_contradict_the_mappings(self):
        for field, value in (("discard_block_size", 1), ("discard_block_size", 0)):
            with self.subTest(field, value=value):
                image = Image("v2-discards")
                image.set_field(field, value)
                done = self.dump(image, "--repair")
                self.assertEqual(done.returncode, 0)
                self.assertIn("discards are left out", done.stderr)
                self.assertNotIn("<discard", done.stdout)
                self.assertEqual(self.mappings(done.stdout), truth_of("v2-discards")["mappings"])

    def test_repair_takes_what_lost_its_dirty_bit_for_dirty(self):
        self.image.zero(self.image.array_blocks("dirty_root")[1])
        done = self.dump(self.image, "--repair")
        self.assertIn("whether cache blocks 32576-65151 is dirty is lost", done.stderr)
        self.assertEqual(self.mappings(done.stdout),
                         [[c, o, d or 32576 <= c < 65152] for c, o, d in self.truth["mappings"]])

    def test_repair_with_the_hints_gone_keeps_every_mapping(self):
        self.image.zero(self.image.field("hint_root"))
        done = self.dump(self.image, "--repair")
        self.assertEqual(self.mappings(done.stdout), self.truth["mappings"])
        self.assertNotIn("<hint ", done.stdout)

    def test_repair_leaves_out_what_two_cache_blocks_claim(self):
        image = Image("v2-writeback")
        array, = image.array_blocks("mapping_root")
        image.set(array, 24 + 56, "Q", image.get(array, 24, "Q"), ARRAY)
        done = self.dump(image, "--repair")
        self.assertIn("origin block 100 is mapped by", done.stderr)
        self.assertEqual(self.mappings(done.stdout),
                         [m for m in truth_of("v2-writeback")["mappings"] if m[0] not in (0, 7)])

    def test_without_a_superblock_nothing_can_be_dumped(self):
        self.image.flip(0, 200)
        done = self.dump(self.image, "--repair")
        self.assertEqual((done.returncode, done.stdout), (1, ""))

    def test_a_name_that_is_no_policy_is_not_dumped(self):
        self.image.set_field("policy_name", b'a"><b')
        done = self.dump(self.image, "--repair")
        self.assertIn('policy="" hint_width="4">\n  <!-- dmcache: <superblock hint_width="0" ',
                      done.stdout)
        self.assertEqual(self.mappings(done.stdout), self.truth["mappings"])


class Output(DumpTest):
    def setUp(self):
        super().setUp()
        self.source = Image("v2-writeback").write(self.folder)
        self.target = self.folder / "dump.xml"

    def test_is_written_to_the_file(self):
        done = run("cache_dump", "-o", self.target, self.source)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(self.target.read_text(), run("cache_dump", self.source).stdout)

    def test_minus_is_standard_output_and_input(self):
        self.assertEqual(run("cache_dump", "-o", "-", self.source).stdout,
                         run("cache_dump", self.source).stdout)
        with open(self.source) as stdin:
            self.assertEqual(run("cache_dump", "-", stdin=stdin).stdout,
                             run("cache_dump", self.source).stdout)

    def test_a_failure_leaves_no_file_and_keeps_an_old_one(self):
        image = Image("v2-writeback")
        image.zero(image.field("mapping_root"))
        damaged = image.write(self.folder, "damaged.img")
        self.assertEqual(run("cache_dump", "-o", self.target, damaged).returncode, 1)
        self.assertFalse(self.target.exists())
        self.target.write_text("old")
        self.assertEqual(run("cache_dump", "-o", self.target, damaged).returncode, 1)
        self.assertEqual(self.target.read_text(), "old")
        self.assertEqual(len(list(self.folder.iterdir())), 3)

    def test_onto_the_input_is_refused(self):
        before = self.source.read_bytes()
        link = self.folder / "link"
        link.symlink_to(self.source)
        for output in (self.source, link):
            done = run("cache_dump", "-o", output, self.source)
            self.assertEqual(done.returncode, 2)
            self.assertIn("input and output are the same", done.stderr)
        self.assertEqual(self.source.read_bytes(), before)

    def test_into_a_missing_folder_fails(self):
        done = run("cache_dump", "-o", self.folder / "missing" / "x", self.source)
        self.assertEqual(done.returncode, 3)
        self.assertIn("cannot create", done.stderr)

    def test_a_reader_that_goes_away_ends_it_quietly(self):
        source = Image("v2-large").write(self.folder, "large.img")
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([BIN / "cache_dump", source], stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stderr, b"")

    def test_a_full_disk_is_an_error(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([BIN / "cache_dump", self.source], stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("No space left", done.stderr)


if __name__ == "__main__":
    unittest.main()
