"""What stands on an output stays there, to the byte, until the command that overwrites it has read
and accepted all of its input; and whenever that command is killed, the output holds what it held, or
what it was to hold, or is seen to hold nothing."""

import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "hostile"))

from fixture_images import BIN, NAMES, Image, run
from hostile_documents import hostile_document, hostile_pack

SEED = int(os.environ.get("DMCACHE_SEED", 1))
TRIALS = int(os.environ.get("DMCACHE_TRIALS", 8))  # of each kind


def document_of(nr_blocks, first_origin):
    return "".join([
        f'<superblock uuid="" block_size="128" nr_cache_blocks="{nr_blocks}" policy="smq" '
        'hint_width="4">\n  <mappings>\n',
        *(f'    <mapping cache_block="{block}" origin_block="{first_origin + block}" '
          f'dirty="{"true" if block % 3 == 0 else "false"}"/>\n' for block in range(nr_blocks)),
        "  </mappings>\n  <hints>\n  </hints>\n</superblock>\n"])


class KeptOutput(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.output = self.folder / "output.img"
        self.rng = random.Random(f"kept output {SEED}")

    def restored(self, name, text, size):
        document, image = self.folder / f"{name}.xml", self.folder / f"{name}.img"
        document.write_text(text)
        image.write_bytes(bytes(size))
        self.assertEqual(run("cache_restore", "-i", document, "-o", image).returncode, 0)
        return document, image

    def packed(self, image):
        pack = self.folder / f"{image.stem}.pack"
        self.assertEqual(run("cache_metadata_pack", "-i", image, "-o", pack).returncode, 0)
        return pack

    def make_commands(self, size):
        """What an output of this size holds, and {command: options} that write something else."""
        _, old = self.restored("old", document_of(60000, 0), size)
        document, new = self.restored("new", document_of(60000, 7), size)
        return old.read_bytes(), {
            "cache_restore": ["-i", document], "cache_repair": ["-i", new],
            "cache_metadata_unpack": ["-i", self.packed(new)]}

    def found(self):
        return run("cache_dump", self.output).stdout

    def kill_at_all_times(self, size):
        """{command: what was found after it was killed}"""
        old, commands = self.make_commands(size)
        found = {command: set() for command in commands}
        for command, options in commands.items():
            command_line = [BIN / command, *options, "-o", self.output]
            self.output.write_bytes(old)
            begin = time.monotonic()
            subprocess.run(command_line, check=True, stdout=subprocess.DEVNULL)
            duration = time.monotonic() - begin
            for trial in range(8):
                self.output.write_bytes(old)
                process = subprocess.Popen(command_line, stdout=subprocess.DEVNULL)
                time.sleep(duration * trial / 7)
                process.kill()
                process.wait()
                subprocess.run(["flock", self.output, "true"], check=True)  # its I/O ends after it
                checked = run("cache_check", self.output)
                if checked.returncode != 0:
                    self.assertIn("failed or was interrupted: run it again", checked.stderr)
                found[command].add(self.found() if checked.returncode == 0 else None)
        return found

    def test_a_command_that_is_killed_leaves_the_old_or_the_new_where_both_have_room(self):
        found = self.kill_at_all_times(4 << 20)
        allowed = {document_of(60000, 0), document_of(60000, 7)}
        self.assertLessEqual(found["cache_restore"] | found["cache_repair"], allowed)
        self.assertLessEqual(found["cache_metadata_unpack"], allowed | {None})

    def test_a_command_that_is_killed_leaves_the_old_the_new_or_nothing_where_there_is_no_room(self):
        for command, found in self.kill_at_all_times(1 << 20).items():
            with self.subTest(command):
                self.assertLessEqual(found, {document_of(60000, 0), document_of(60000, 7), None})

    def expect_no_change(self, before, command, *options, **keywords):
        """Unless the command says that all is well. Did it refuse?"""
        self.output.write_bytes(before)
        done = subprocess.run([BIN / command, *options, "-o", self.output], stderr=subprocess.PIPE,
                              timeout=600, **keywords)
        if done.returncode == 0 and command == "cache_restore":
            self.assertEqual(run("cache_check", "-q", self.output).returncode, 0)
        if done.returncode != 0:
            self.assertIn(done.returncode, (1, 3), done.stderr)
            self.assertNotEqual(done.stderr, b"")
            self.assertEqual(self.output.read_bytes(), before)
        return done.returncode != 0

    def through_file_and_pipe(self, before, command, data):
        path = self.folder / "input"
        path.write_bytes(data)
        by_file = self.expect_no_change(before, command, "-i", path)
        return by_file and self.expect_no_change(before, command, "-i", "-", input=data)

    def test_truncated_and_mutated_input_costs_nothing(self):
        nr_refused = 0
        for trial in range(TRIALS):
            name = self.rng.choice([each for each in NAMES if each != "v2-large"])
            image = Image(name).write(self.folder)
            dump = run("cache_dump", image).stdout
            pack = self.packed(image).read_bytes()
            before = bytes(Image(self.rng.choice(("v2-writeback", "v1-crash"))).data)
            if trial % 5 == 0:  # without room for anything beside
                before = before[:40 * 4096]
            for command, data in (
                    ("cache_restore", hostile_document(self.rng, dump)),
                    ("cache_restore", dump.encode()[:self.rng.randrange(len(dump) - 2)]),
                    ("cache_metadata_unpack", hostile_pack(self.rng, pack)),
                    ("cache_metadata_unpack", pack[:self.rng.randrange(len(pack))])):
                with self.subTest(name, seed=SEED, trial=trial, command=command):
                    nr_refused += self.through_file_and_pipe(before, command, data)
        self.assertGreater(nr_refused, 2 * TRIALS)

    def test_a_writer_that_dies_at_the_other_end_of_a_pipe_costs_nothing(self):
        image = Image("v2-large").write(self.folder)
        before = bytes(Image("v2-writeback").data) + bytes(4 << 20)
        for command, data in (("cache_restore", run("cache_dump", image).stdout.encode()),
                              ("cache_metadata_unpack", self.packed(image).read_bytes())):
            self.output.write_bytes(before)
            reader = subprocess.Popen([BIN / command, "-i", "-", "-o", self.output],
                                      stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            reader.stdin.write(data[:len(data) // 2])
            _, told = reader.communicate()
            self.assertEqual(reader.returncode, 1, told)
            self.assertEqual(self.output.read_bytes(), before)

    def test_a_repair_that_finds_nothing_or_has_no_room_costs_nothing(self):
        before = bytes(Image("v2-writeback").data)
        image = Image("v2-large")
        refused = self.expect_no_change(before[:20 * 4096], "cache_repair", "-i",
                                        image.write(self.folder))
        self.assertTrue(refused)
        image.zero(0)
        self.assertTrue(self.expect_no_change(before, "cache_repair", "-i",
                                              image.write(self.folder)))


if __name__ == "__main__":
    print(f"seed {SEED}: DMCACHE_SEED={SEED} repeats this run")
    unittest.main()
