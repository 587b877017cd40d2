"""What can't be written to a standard stream: lost messages change nothing, lost answers are status 3."""

import os
import pathlib
import subprocess
import tempfile
import unittest

from fixture_images import BIN, Image, run

# Name: what a shell does to the stream of that number.
LOSSES = {"closed": "{}>&-", "full": "{}>/dev/full", "read only": "{}</dev/null"}


class LostOutputTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.sound = Image("v2-writeback").write(self.folder, "sound.img")
        image = Image("v2-writeback")
        image.zero(image.array_blocks("dirty_root")[0])
        self.damaged = image.write(self.folder, "damaged.img")
        self.trace = self.folder / "trace.csv"
        self.trace.write_text("0,R,0,4096\n")
        self.document = self.folder / "document.xml"
        run("cache_dump", "-o", self.document, self.sound)
        self.pack = self.folder / "pack"
        run("cache_metadata_pack", "-i", self.sound, "-o", self.pack)

    def shell(self, redirection, command, *arguments):
        return subprocess.run(
            ["sh", "-c", f'"$0" "$@" {redirection}', BIN / command, *map(str, arguments)],
            capture_output=True, text=True, timeout=600)

    def working(self):
        """(command, its arguments, the file that it makes) of all that make something."""
        made = self.folder / "made"
        return [("cache_repair", ["-i", self.damaged, "-o", made], made),
                ("cache_restore", ["-i", self.document, "-o", made], made),
                ("cache_metadata_pack", ["-i", self.sound, "-o", made], made),
                ("cache_metadata_unpack", ["-i", self.pack, "-o", made], made),
                ("cache_dump", ["--repair", "-o", made, self.damaged], made)]

    def answering(self):
        return [("cache_check", [self.sound]), ("cache_check", [self.damaged]),
                ("cache_dump", [self.sound]),
                ("cache_dump", ["--help"]), ("dmcache", ["--version"]), ("dmcache", ["--help"]),
                ("cache_metadata_size", ["--nr-blocks", 1000]),
                ("cache_replay", [self.trace]), ("cache_replay", ["--json", self.trace]),
                ("cache_replay", ["--svg", "-", self.trace]),
                ("cache_repair", ["-i", self.sound, "--list-roots"]),
                ("cache_repair", ["-i", self.damaged, "-o", "-"]),
                ("cache_restore", ["-i", self.document, "-o", "-"]),
                ("cache_metadata_pack", ["-i", self.sound, "-o", "-"]),
                ("cache_metadata_unpack", ["-i", self.pack, "-o", "-"])]

    def test_what_is_made_does_not_depend_on_what_is_told(self):
        for command, arguments, made in self.working():
            as_usual = run(command, *arguments)
            expected = made.read_bytes()
            made.unlink()
            for name, redirection in LOSSES.items():
                for streams in ((1,), (2,), (1, 2)):
                    with self.subTest(command, loss=name, streams=streams):
                        done = self.shell(" ".join(redirection.format(each) for each in streams),
                                          command, *arguments)
                        self.assertEqual(done.returncode, as_usual.returncode, done.stderr)
                        self.assertEqual(made.read_bytes(), expected)
                        made.unlink()

    def test_a_failure_keeps_its_status_without_its_message(self):
        for command, arguments in (("cache_check", [self.folder / "none"]),
                                   ("cache_check", []), ("dmcache", ["frobnicate"]),
                                   ("dmcache", []), ("cache_check", ["--frobnicate"]),
                                   ("cache_check", [self.damaged])):
            as_usual = run(command, *arguments)
            for name, redirection in LOSSES.items():
                with self.subTest(command, arguments=arguments, loss=name):
                    done = self.shell(redirection.format(2), command, *arguments)
                    self.assertEqual(done.returncode, as_usual.returncode)
                    self.assertEqual(done.stdout, as_usual.stdout)

    def test_an_answer_that_does_not_arrive_is_an_error(self):
        for command, arguments in self.answering():
            for name, redirection in LOSSES.items():
                with self.subTest(command, arguments=arguments, loss=name):
                    done = self.shell(redirection.format(1), command, *arguments)
                    self.assertEqual(done.returncode, 3, done.stderr)
                    self.assertEqual(done.stderr.count("cannot write to standard output: "), 1,
                                     done.stderr)

    def test_a_reader_who_went_away_is_an_error_without_a_word(self):
        for command, arguments in self.answering():
            with self.subTest(command, arguments=arguments):
                expected = run(command, *arguments, errors="replace").stderr
                read_end, write_end = os.pipe()
                os.close(read_end)
                done = subprocess.run([BIN / command, *map(str, arguments)], stdout=write_end,
                                      stderr=subprocess.PIPE, text=True, timeout=600)
                os.close(write_end)
                self.assertEqual(done.returncode, 3)
                self.assertEqual(done.stderr, expected)

    def test_no_message_gets_into_a_file_that_is_opened_later(self):
        for command, arguments, made in self.working():
            with self.subTest(command):
                run(command, *arguments)
                expected = made.read_bytes()
                made.unlink()
                self.shell("0<&- 1>&- 2>&-", command, *arguments)
                self.assertEqual(made.read_bytes(), expected)
                made.unlink()

    def test_nothing_is_read_from_a_closed_standard_input(self):
        done = self.shell("0<&-", "cache_check", "-")
        self.assertEqual(done.returncode, 3)
        self.assertIn("cannot read standard input", done.stderr)


if __name__ == "__main__":
    unittest.main()
