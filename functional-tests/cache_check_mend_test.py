"""cache_check --clear-needs-check-flag and --auto-repair: what they mend, and what they leave."""

import ctypes
import os
import pathlib
import tempfile
import unittest

from fixture_images import BITMAP, BLOCK, INDEX, NAMES, Image, run

OPTIONS = ("--clear-needs-check-flag", "--auto-repair")
NEEDS_CHECK = 2
IN_CLOSE_WRITE = 8


class WritersWatch:
    """Notices that somebody who had a file open for writing closes it."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if libc.inotify_add_watch(self.events, os.fsencode(path), IN_CLOSE_WRITE) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def has_seen_one(self):
        try:
            return os.read(self.events, 4096) != b""
        except BlockingIOError:
            return False

    def close(self):
        os.close(self.events)


class MendTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def mend(self, image, option="--auto-repair"):
        """(the run, the metadata after it)"""
        path = image.write(self.folder)
        done = run("cache_check", option, path)
        after = Image.__new__(Image)
        after.data = bytearray(path.read_bytes())
        return done, after

    def leaky(self, name="v2-writeback"):
        """An image in which blocks 900 to 903 are leaked."""
        image = Image(name)
        bitmap = image.get(image.field("bitmap_root"), 16, "Q")
        image.set(bitmap, 16 + 900 // 4, "B", 0b10101010, BITMAP)
        return image

    def test_sound_metadata_stay_as_they_are(self):
        for name in NAMES:
            image = Image(name)
            if image.field("flags") & NEEDS_CHECK:
                continue
            for option in OPTIONS:
                with self.subTest(name, option=option):
                    done, after = self.mend(image, option)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(after.data, image.data)

    def test_needs_check_is_cleared_and_nothing_else_changes(self):
        for name in ("v2-needs-check", "v2-shrink-refused"):
            for option in OPTIONS:
                with self.subTest(name, option=option):
                    image = Image(name)
                    done, after = self.mend(image, option)
                    self.assertEqual(done.returncode, 0)
                    self.assertIn("mended: NEEDS_CHECK is cleared", done.stdout)
                    image.set_field("flags", image.field("flags") & ~NEEDS_CHECK)
                    self.assertEqual(after.data, image.data)

    def test_leaks_are_mended(self):
        for option in OPTIONS:
            image = self.leaky()
            done, after = self.mend(image, option)
            self.assertEqual(done.returncode, 0)
            self.assertIn("mended: the space map is rebuilt", done.stdout)
            checked = run("cache_check", after.write(self.folder))
            self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_derived_fields_are_mended(self):
        image = Image("v2-writeback")
        image.set(image.field("bitmap_root"), 24, "I", 99, INDEX)
        image.set_field("nr_allocated", 77)
        _, after = self.mend(image)
        self.assertEqual(run("cache_check", after.write(self.folder)).returncode, 0)

    def test_mending_overwrites_nothing_that_was_in_use(self):
        image = self.leaky("v2-large")
        _, after = self.mend(image)
        for block in image.used_blocks():
            if block != 0:
                begin, end = block * BLOCK, (block + 1) * BLOCK
                self.assertEqual(after.data[begin:end], image.data[begin:end])

    def test_counts_that_are_too_low_are_left_alone(self):
        image = Image("v2-needs-check")
        bitmap = image.get(image.field("bitmap_root"), 16, "Q")
        image.set(bitmap, 16, "B", 0, BITMAP)
        done, after = self.mend(image)
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing was mended: there is more wrong than leaks", done.stderr)
        self.assertEqual(after.data, image.data)

    def test_nothing_is_mended_beside_other_damage(self):
        for field in ("mapping_root", "hint_root"):
            image = self.leaky()
            image.zero(image.field(field))
            done, after = self.mend(image)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(after.data, image.data)

    def test_only_what_is_mended_is_opened_for_writing(self):
        beyond_mending = self.leaky()
        beyond_mending.zero(beyond_mending.field("mapping_root"))
        for image, status, is_opened in ((Image("v2-writeback"), 0, False),
                                         (beyond_mending, 1, False), (self.leaky(), 0, True)):
            path = image.write(self.folder)
            watch = WritersWatch(path)
            self.addCleanup(watch.close)
            self.assertEqual(run("cache_check", "--auto-repair", path).returncode, status)
            self.assertEqual(watch.has_seen_one(), is_opened)

    def test_unknown_features_forbid_to_write(self):
        image = self.leaky()
        image.set_field("compat_ro_flags", 1)
        done, after = self.mend(image)
        self.assertEqual(done.returncode, 1)
        self.assertIn("unknown features forbid to write", done.stderr)
        self.assertEqual(after.data, image.data)

    def test_quiet_says_nothing(self):
        path = self.leaky().write(self.folder)
        done = run("cache_check", "-q", "--clear-needs-check-flag", path)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_everything_must_be_checked_before(self):
        for option in ("--super-block-only", "--skip-mappings", "--skip-hints", "--skip-discards"):
            done = run("cache_check", "--auto-repair", option, "x")
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"{option} leaves unchecked", done.stderr)


if __name__ == "__main__":
    unittest.main()
