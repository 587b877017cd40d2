"""cache_restore: what it writes says what the document said, and wrong documents are refused."""

import os
import pathlib
import subprocess
import tempfile
import unittest

from fixture_images import BIN, NAMES, Image, run


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

    def test_a_wrong_document_is_told_by_line_and_leaves_no_metadata(self):
        document = self.dump_of("v2-writeback")
        output = self.output()
        self.assertEqual(run("cache_restore", "-i", document, "-o", output).returncode, 0)
        text = document.read_text().replace('cache_block="3"', 'cache_block="2"', 1)
        document.write_text(text)
        restored = run("cache_restore", "-i", document, "-o", output)
        self.assertEqual(restored.returncode, 1)
        self.assertIn("line 6, column 5: cache block 2 is mapped already", restored.stderr)
        self.assertEqual(run("cache_check", "-q", output).returncode, 1)

    def test_a_small_output_is_refused_and_left_alone(self):
        output = self.folder / "small.img"
        before = os.urandom(8192)
        output.write_bytes(before)
        restored = run("cache_restore", "-i", self.dump_of("v2-writeback"), "-o", output)
        self.assertEqual(restored.returncode, 1)
        self.assertIn("Output file too small: ", restored.stderr)
        self.assertEqual(output.read_bytes(), before)

    def test_an_output_that_is_not_there_is_not_made(self):
        missing = self.folder / "missing.img"
        restored = run("cache_restore", "-i", self.dump_of("v2-writeback"), "-o", missing)
        self.assertEqual(restored.returncode, 3)
        self.assertIn(f"Couldn't find {missing}", restored.stderr)
        self.assertFalse(missing.exists())

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
