"""The engine on caches that a real kernel left: the data are the kernel's, and what the engine
leaves says the same as what the kernel left."""

import hashlib
import pathlib
import re
import struct
import tempfile
import unittest

from fixture_data import CRASHED, make_data, unpack_data
from fixture_images import NAMES, Image, run, truth_of

NEEDS_CHECK = ("v2-needs-check", "v2-shrink-refused")
SHUT_DOWN = [name for name in NAMES if name not in CRASHED + NEEDS_CHECK]


class EngineOnFixturesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.metadata, self.fast, self.origin = (
            self.folder / name for name in ("metadata", "fast", "origin"))

    def take(self, name):
        """The metadata, and devices that are empty."""
        self.image, self.truth = Image(name), truth_of(name)
        self.image.write(self.folder, "metadata")
        size = self.truth["block_size"] * 512
        origin_blocks = self.truth["discard_nr_blocks"] or 1024
        if self.truth["discard_block_size"]:
            origin_blocks *= self.truth["discard_block_size"] // self.truth["block_size"]
        for path, blocks in ((self.fast, self.truth["cache_blocks"]), (self.origin, origin_blocks)):
            with open(path, "wb") as image:
                image.truncate(blocks * size)

    def exercise(self, *words):
        return run("exerciser", f"metadata={self.metadata}", f"fast={self.fast}",
                   f"origin={self.origin}", *words)

    def succeed(self, *words):
        done = self.exercise(*words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def read(self):
        """What the engine reads of it all, as it is without changing anything."""
        copy = self.folder / "copy"
        self.succeed("read_only=1", f"copy={copy}")
        return hashlib.sha256(copy.read_bytes()).hexdigest()

    def dump(self):
        done = run("cache_dump", self.metadata)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def stored_flags(self):
        return struct.unpack_from("<I", self.metadata.read_bytes(), 4)[0]

    def expect_sound(self):
        checked = run("cache_check", self.metadata)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def expect_counts(self, status, dirty):
        words = status.split()
        self.assertEqual(words[7], f"{len(self.truth['mappings'])}/{self.truth['cache_blocks']}")
        self.assertEqual(int(words[14]), dirty)

    def test_what_was_shut_down_is_the_same_after_the_next_shutdown(self):
        for name in SHUT_DOWN:
            with self.subTest(name):
                self.take(name)
                before = self.dump()
                said = self.succeed(f"policy={self.truth['policy']}", "status", "close")
                self.expect_counts(said, sum(dirty for _, _, dirty in self.truth["mappings"]))
                self.expect_sound()
                self.assertEqual(self.dump(), before)
                self.assertEqual(self.stored_flags(), 1)

    def test_hints_of_another_policy_are_not_believed(self):
        self.take("v2-cleaned")
        before = self.dump()
        self.succeed("policy=smq", "close")
        after = self.dump()

        def without_hints(document):
            return re.sub(' policy="[a-z]*"| data="[^"]*"', "", document)
        self.assertEqual(without_hints(after), without_hints(before))
        self.assertNotEqual(after, before.replace('policy="cleaner"', 'policy="smq"'))

    def test_the_data_of_a_crashed_cache_are_the_kernel_s(self):
        for name in CRASHED:
            with self.subTest(name):
                self.take(name)
                logical = unpack_data(name, self.fast, self.origin)
                self.assertEqual(self.read(), logical)
                said = self.succeed("status", "close")
                self.expect_counts(said, len(self.truth["mappings"]))
                self.expect_sound()
                self.assertEqual(self.dump().count('dirty="true"'), len(self.truth["mappings"]))
                self.assertEqual(self.read(), logical)

    def test_a_crashed_cache_is_written_back_to_the_right_origin(self):
        for name in CRASHED:
            with self.subTest(name):
                self.take(name)
                logical = unpack_data(name, self.fast, self.origin)
                self.succeed("policy=cleaner", "clean", "close")
                self.expect_sound()
                self.assertNotIn('dirty="true"', self.dump())
                self.assertEqual(hashlib.sha256(self.origin.read_bytes()).hexdigest(), logical)

    def test_only_dirty_blocks_are_read_from_the_fast_device_alone(self):
        for name in ("v1-writeback", "v2-writeback"):
            with self.subTest(name):
                self.take(name)
                logical = make_data(self.truth, self.fast, self.origin)
                self.assertEqual(self.read(), logical)
                self.succeed("idle=3", "close")
                self.expect_sound()
                self.assertNotIn('dirty="true"', self.dump())
                self.assertEqual(hashlib.sha256(self.origin.read_bytes()).hexdigest(), logical)

    def test_what_needs_a_check_is_refused_and_left_alone(self):
        for name in NEEDS_CHECK:
            with self.subTest(name):
                self.take(name)
                done = self.exercise("status", "close")
                self.assertEqual(done.returncode, 1)
                self.assertIn("NEEDS_CHECK is set", done.stderr)
                said = self.succeed("read_only=1", "status")
                self.assertTrue(said.endswith(" ro needs_check\n"), said)
                self.assertEqual(self.metadata.read_bytes(), self.image.data)


if __name__ == "__main__":
    unittest.main()
