"""cache_restore: what it writes says what the document said, and wrong documents are refused.

DMCACHE_TRIALS=N makes no more than N of each kind that is made up."""

import os
import pathlib
import random
import re
import struct
import subprocess
import tempfile
import time
import unittest

from fixture_images import ARRAY, BIN, FIELDS, NAMES, Image, run

MOST_TRIALS = int(os.environ.get("DMCACHE_TRIALS", 1000))


def trials(wanted):
    return range(min(wanted, MOST_TRIALS))


class RestoreTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def output(self, size=1 << 23):
        path = self.folder / "output.img"
        path.write_bytes(bytes(size))
        return path

    def dump_of(self, name):
        path = self.folder / f"{name}.xml"
        self.assertEqual(run("cache_dump", "-o", path, Image(name).write(self.folder)).returncode,
                         0)
        return path

    def test_a_dump_of_what_was_restored_is_the_same_document(self):
        for name in NAMES:
            document = self.dump_of(name)
            for version in ("1", "2"):
                with self.subTest(name, version=version):
                    output = self.output()
                    restored = run("cache_restore", "-i", document, "-o", output,
                                   "--metadata-version", version)
                    self.assertEqual((restored.returncode, restored.stdout, restored.stderr),
                                     (0, "", ""))
                    checked = run("cache_check", output)
                    self.assertEqual(checked.returncode, 0, checked.stderr)
                    self.assertTrue(checked.stdout.startswith(f"format {version}, "))
                    self.assertEqual(run("cache_dump", output).stdout, document.read_text())

    def test_standard_input_is_read(self):
        document = self.dump_of("v2-writeback")
        output = self.output()
        with document.open() as stdin:
            done = subprocess.run([BIN / "cache_restore", "-i", "-", "-o", output], stdin=stdin,
                                  check=False)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(run("cache_dump", output).stdout, document.read_text())

    def test_the_flag_of_a_clean_shutdown_can_be_left_out(self):
        output = self.output()
        run("cache_restore", "-i", self.dump_of("v2-writeback"), "-o", output,
            "--omit-clean-shutdown")
        self.assertIn("not cleanly shut down", run("cache_check", output).stdout)

    def test_another_version_can_be_claimed(self):
        output = self.output()
        run("cache_restore", "-i", self.dump_of("v2-writeback"), "-o", output,
            "--debug-override-metadata-version", "7")
        self.assertIn("superblock has version 7", run("cache_check", output).stderr)

    def test_a_wrong_document_is_told_by_line_and_costs_nothing(self):
        document = self.dump_of("v2-writeback")
        output = self.output()
        self.assertEqual(run("cache_restore", "-i", document, "-o", output).returncode, 0)
        before = output.read_bytes()
        text = document.read_text().replace('cache_block="3"', 'cache_block="2"', 1)
        document.write_text(text)
        restored = run("cache_restore", "-i", document, "-o", output)
        self.assertEqual(restored.returncode, 1)
        self.assertIn("line 7, column 5: cache block 2 is mapped already", restored.stderr)
        self.assertEqual(output.read_bytes(), before)

    def test_truncated_and_mutated_documents_cost_nothing(self):
        chance = random.Random(1)
        documents = [b""]
        for name in ("v2-writeback", "v2-discards", "v1-writeback"):
            whole = self.dump_of(name).read_bytes()
            documents += [whole[:chance.randrange(len(whole) - 2)] for _ in trials(60)]
            for _ in trials(80):
                changed = bytearray(whole)
                changed[chance.randrange(len(whole))] = chance.choice(b"<>\"/= 019-x")
                documents.append(bytes(changed))
        nr_refused = 0
        output = Image("v2-writeback").write(self.folder)
        before = output.read_bytes()
        document = self.folder / "document.xml"
        for number, data in enumerate(documents):
            document.write_bytes(data)
            restored = run("cache_restore", "-i", document, "-o", output)
            if restored.returncode == 0:
                checked = run("cache_check", output)
                self.assertEqual(checked.returncode, 0, (number, checked.stderr))
                output.write_bytes(before)
            else:
                self.assertEqual(restored.returncode, 1, (number, restored.stderr))
                self.assertEqual(output.read_bytes(), before, number)
                nr_refused += 1
        self.assertGreater(nr_refused, len(documents) / 2)

    def test_killed_while_it_writes_it_leaves_the_old_metadata_or_the_new_ones(self):
        output = self.output(1 << 25)
        document = self.folder / "large.xml"
        for number in range(2):
            blocks = 200000
            document.write_text("".join([
                f'<superblock uuid="" block_size="128" nr_cache_blocks="{blocks}" policy="smq" '
                'hint_width="4">\n  <mappings>\n',
                *(f'    <mapping cache_block="{block}" origin_block="{block + number}" '
                  'dirty="false"/>\n' for block in range(blocks)),
                "  </mappings>\n  <hints>\n  </hints>\n</superblock>\n"]))
            if number == 0:
                self.assertEqual(run("cache_restore", "-i", document, "-o", output).returncode, 0)
        before = output.read_bytes()
        for trial in trials(20):
            restoring = subprocess.Popen([BIN / "cache_restore", "-i", document, "-o", output])
            time.sleep(trial * 0.005)
            restoring.kill()
            restoring.wait()
            subprocess.run(["flock", output, "true"], check=True)  # its I/O ends after it
            checked = run("cache_check", output)
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertIn("200000 mapped", checked.stdout)
            output.write_bytes(before)

    def test_a_dump_of_the_output_itself_can_be_restored(self):
        output = Image("v2-large").write(self.folder)
        before = run("cache_dump", output).stdout
        for _ in range(10):
            done = subprocess.run(f"{BIN}/cache_dump {output} | {BIN}/cache_restore -i - -o {output}",
                                  shell=True, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(run("cache_check", output).returncode, 0)
        self.assertEqual(run("cache_dump", output).stdout, before)

    def test_a_dump_that_fails_at_the_other_end_of_a_pipe_costs_nothing(self):
        image = Image("v2-writeback")
        image.zero(image.field("mapping_root"))
        damaged = image.write(self.folder, "damaged.img")
        output = Image("v1-writeback").write(self.folder)
        before = output.read_bytes()
        done = subprocess.run(f"{BIN}/cache_dump {damaged} | {BIN}/cache_restore -i - -o {output}",
                              shell=True, capture_output=True)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(output.read_bytes(), before)

    def test_what_a_dump_makes_of_hostile_metadata_is_restored_as_sound_or_refused(self):
        chance = random.Random(2)
        fields = [name for name in FIELDS if not name.endswith("_root")]
        source, output = self.folder / "hostile.img", self.output(1 << 22)
        document = self.folder / "hostile.xml"
        nr_restored = 0
        for _ in trials(150):
            image = Image(chance.choice(("v2-writeback", "v2-discards", "v1-writeback", "v2-grown")))
            name = chance.choice(fields)
            bits = 8 * struct.calcsize("<" + FIELDS[name][1])
            if name == "policy_name":
                image.set_field(name, chance.randbytes(16))
            else:
                image.set_field(name, chance.choice((0, 1, chance.getrandbits(8),
                                                     chance.getrandbits(bits))))
            array = chance.choice(image.array_blocks("mapping_root"))
            if chance.random() < 0.5:
                image.set(array, 24 + 8 * chance.randrange(100), "Q",
                          chance.getrandbits(chance.choice((20, 64))), ARRAY)
            source.write_bytes(image.data)
            if run("cache_dump", "-r", "-o", document, source).returncode != 0:
                continue
            restored = run("cache_restore", "-i", document, "-o", output)
            if restored.returncode == 0:
                nr_restored += 1
                checked = run("cache_check", output)
                self.assertEqual(checked.returncode, 0, checked.stderr)
            else:
                self.assertEqual(restored.returncode, 1, restored.stderr)
                self.assertIn("Output file too small", restored.stderr)
        self.assertGreater(nr_restored, len(trials(150)) / 4)

    def test_mappings_beyond_the_origin_are_refused(self):
        document = self.dump_of("v2-discards")
        text = re.sub(r'(origin_block=)"\d+"', r'\1"999999999"', document.read_text(), count=1)
        document.write_text(text)
        restored = run("cache_restore", "-i", document, "-o", self.output())
        self.assertEqual(restored.returncode, 1)
        self.assertRegex(restored.stderr, r"line \d+, column 3: origin block 999999999 is mapped, "
                         r"and by these discard blocks the origin has just \d+ blocks")

    def test_what_is_not_metadata_is_not_overwritten_unless_forced(self):
        document = self.dump_of("v2-writeback")
        output = self.folder / "other.img"
        pack = self.folder / "pack"
        run("cache_metadata_pack", "-i", Image("v2-writeback").write(self.folder), "-o", pack)
        size = 1 << 20
        for holds, data in (("XML", document.read_bytes().ljust(size)),
                            ("a pack of metadata", pack.read_bytes().ljust(size)),
                            ("something else", os.urandom(size)),
                            ("something else", bytes(32768) + b"\x01CD001".ljust(size))):
            with self.subTest(holds):
                output.write_bytes(data)
                restored = run("cache_restore", "-i", document, "-o", output)
                self.assertEqual(restored.returncode, 1)
                self.assertIn(f"{output} holds {holds}", restored.stderr)
                self.assertEqual(output.read_bytes(), data)
                forced = run("cache_restore", "-i", document, "-o", output, "--force")
                self.assertEqual((forced.returncode, forced.stderr), (0, ""))
                self.assertEqual(run("cache_check", output).returncode, 0)

    def test_damaged_or_incomplete_metadata_are_overwritten(self):
        document = self.dump_of("v2-writeback")
        image = Image("v2-writeback")
        image.flip(0, 300)
        output = image.write(self.folder)
        self.assertEqual(run("cache_restore", "-i", document, "-o", output).returncode, 0)
        self.assertEqual(run("cache_check", output).returncode, 0)

    def test_a_small_output_is_refused_and_left_alone(self):
        output = self.output(8192)
        restored = run("cache_restore", "-i", self.dump_of("v2-writeback"), "-o", output)
        self.assertEqual(restored.returncode, 1)
        self.assertIn("Output file too small: ", restored.stderr)
        self.assertEqual(output.read_bytes(), bytes(8192))

    def test_an_output_that_is_not_there_is_made_once_it_is_complete(self):
        document = self.dump_of("v2-writeback")
        missing = self.folder / "missing.img"
        wrong = self.folder / "wrong.xml"
        wrong.write_text(document.read_text()[:-20])
        before = sorted(self.folder.iterdir())
        self.assertEqual(run("cache_restore", "-i", wrong, "-o", missing).returncode, 1)
        self.assertEqual(sorted(self.folder.iterdir()), before)
        restored = run("cache_restore", "-i", document, "-o", missing)
        self.assertEqual((restored.returncode, restored.stderr), (0, ""))
        self.assertEqual(run("cache_check", missing).returncode, 0)
        self.assertGreaterEqual(missing.stat().st_size, 1 << 22)  # with room for changes

    def test_no_file_is_made_in_place_of_a_device(self):
        for name in ("/dev/no-such-device", "/dev/mapper/no-such-device"):
            restored = run("cache_restore", "-i", self.dump_of("v2-writeback"), "-o", name)
            self.assertEqual(restored.returncode, 3)
            self.assertIn(f"Couldn't find {name}: there is no device of this name",
                          restored.stderr)
            self.assertFalse(os.path.exists(name))

    def test_minus_is_standard_output(self):
        output = self.folder / "stdout.img"
        with open(output, "wb") as stdout:
            done = subprocess.run([BIN / "cache_restore", "-i", self.dump_of("v2-writeback"),
                                   "-o", "-"], stdout=stdout, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(run("cache_check", output).returncode, 0)

    def test_input_and_output_must_differ(self):
        document = self.dump_of("v2-writeback")
        restored = run("cache_restore", "-i", document, "-o", document)
        self.assertEqual(restored.returncode, 2)

    def test_quiet_says_nothing(self):
        restored = run("cache_restore", "-q", "-i", "/dev/null", "-o", self.output())
        self.assertEqual((restored.returncode, restored.stdout, restored.stderr), (1, "", ""))

    def test_wrong_usage_is_told(self):
        for arguments, told in ((["-i", "x"], "No --output given."), (["-o", "x"], "No --input given."),
                                (["-i", "x", "-o", "y", "--metadata-version", "3"],
                                 "the metadata version is 1 or 2")):
            restored = run("cache_restore", *arguments)
            self.assertEqual(restored.returncode, 2)
            self.assertIn(told, restored.stderr)


if __name__ == "__main__":
    unittest.main()
