"""cache_writeback: what reaches the origin, and when dirty flags are cleared."""

import gzip
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

from fixture_images import BIN, BITMAP, FIXTURES, Image, run, truth_of

SECTORS = 64  # of 512 bytes a cache block here, so that the devices stay small
BYTES = SECTORS * 512
ORIGIN_BLOCKS = 1100
DIRTY = re.compile(r'<mapping cache_block="(\d+)" origin_block="\d+" dirty="true"/>')


class WritebackTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.origin_size = ORIGIN_BLOCKS * BYTES

    def lay_out(self, name):
        """The fixture's metadata, as that of a cache of small blocks whose data are made here."""
        self.image = Image(name)
        self.truth = truth_of(name)
        self.image.set_field("data_block_size", SECTORS)
        self.metadata = self.image.write(self.folder)
        self.fast = self.folder / "fast.img"
        with open(self.fast, "wb") as fast:
            for block in range(self.truth["cache_blocks"]):
                fast.write(self.content(block))
        self.origin = self.folder / "origin.img"
        self.origin.write_bytes(b"o" * self.origin_size)

    def content(self, cache_block):
        return (b"%8d" % cache_block) * (BYTES // 8)

    def devices(self):
        return ("--metadata-device", self.metadata, "--origin-device", self.origin,
                "--fast-device", self.fast)

    def write_back(self, *options):
        """The devices are made up, and clean blocks differ from the origin."""
        return run("cache_writeback", *self.devices(), "--force", "differing", *options)

    def begin(self):
        """A run that clears dirty flags as often as it can."""
        return subprocess.Popen([BIN / "cache_writeback", *self.devices(), "--force", "differing", "--update-interval", "0",
                                 "--buffer-size-meg", "1"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def await_cleared_flags(self, running):
        while running.poll() is None:
            with open(self.metadata, "rb") as metadata:
                if metadata.read(4096) != self.image.data[:4096]:
                    return

    def kill(self, running):
        running.kill()
        running.communicate()
        # What the kernel has under way for the dead holds the devices until it has ended.
        for each in (self.metadata, self.fast, self.origin):
            subprocess.run(["flock", "--timeout", "300", each, "true"], check=True)

    def dirty(self):
        dumped = run("cache_dump", self.metadata)
        self.assertEqual(dumped.returncode, 0, dumped.stderr)
        return {int(c) for c in DIRTY.findall(dumped.stdout)}

    def expect_origin(self, copied):
        cached = {origin: cache_block for cache_block, origin, _ in self.truth["mappings"]
                  if cache_block in copied}
        wrong = []
        with open(self.origin, "rb") as origin:
            for block in range(-(-self.origin_size // BYTES)):
                expected = self.content(cached[block]) if block in cached else b"o" * BYTES
                if origin.read(BYTES) != expected[:self.origin_size - block * BYTES]:
                    wrong.append(block)
            self.assertEqual(origin.read(), b"")
        self.assertEqual(wrong, [], "origin blocks that are not as they should be")

    def stored_dirty(self):
        return {c for c, _, dirty in self.truth["mappings"] if dirty}

    def test_dirty_blocks_reach_the_origin_and_become_clean(self):
        for name in ("v1-writeback", "v2-writeback"):
            with self.subTest(name):
                self.origin_size = ORIGIN_BLOCKS * BYTES
                self.lay_out(name)
                highest = max(origin for _, origin, _ in self.truth["mappings"])
                self.origin_size = (highest + 1) * BYTES
                self.origin.write_bytes(b"o" * self.origin_size)
                done = self.write_back()
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.expect_origin(self.stored_dirty())
                self.assertEqual(self.dirty(), set())
                self.assertEqual(run("cache_check", "-q", self.metadata).returncode, 0)

    def test_everything_is_copied_after_a_crash(self):
        for name in ("v1-crash", "v1-crash-again", "v2-crash"):
            with self.subTest(name):
                self.lay_out(name)
                done = self.write_back()
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("all mapped blocks count as dirty", done.stdout)
                self.expect_origin({c for c, _, _ in self.truth["mappings"]})
                self.assertEqual(self.dirty(), set())
                document = run("cache_dump", self.metadata).stdout
                self.assertNotIn("<hint ", document)
                self.assertNotIn("<discards", document)

    def test_what_is_clean_afterwards_is_all_that_changes(self):
        self.lay_out("v2-writeback")
        before = run("cache_dump", self.metadata).stdout
        self.write_back()
        self.assertEqual(run("cache_dump", self.metadata).stdout,
                         before.replace('dirty="true"', 'dirty="false"'))

    def test_a_partial_last_block_is_copied_up_to_the_end(self):
        self.lay_out("v1-crash")
        highest = max(origin for _, origin, _ in self.truth["mappings"])
        self.origin_size = highest * BYTES + 4096
        self.origin.write_bytes(b"o" * self.origin_size)
        self.assertEqual(self.write_back().returncode, 0)
        self.expect_origin({c for c, _, _ in self.truth["mappings"]})
        self.assertEqual(self.origin.stat().st_size, self.origin_size)

    def test_a_block_that_cannot_be_copied_stays_dirty_and_costs_no_other(self):
        self.lay_out("v2-writeback")
        lost = max(self.stored_dirty())
        with open(self.fast, "r+b") as fast:
            fast.truncate(lost * BYTES + 4096)
        unreadable = {c for c in self.stored_dirty() if c >= lost}
        done = self.write_back("--list-failed-blocks", "--retry-count", "2")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{len(unreadable)} blocks could not be copied: the fast device "
                      f"({self.fast}) ends before them (the first is at byte {lost * BYTES})",
                      done.stderr)
        self.assertEqual(done.stdout.splitlines()[1:], [str(c) for c in sorted(unreadable)])
        self.expect_origin(self.stored_dirty() - unreadable)
        self.assertEqual(self.dirty(), unreadable)

    def test_a_dry_run_writes_nothing(self):
        self.lay_out("v2-writeback")
        before = self.metadata.read_bytes(), self.origin.read_bytes()
        done = self.write_back("--dry-run")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        nr = len(self.stored_dirty())
        self.assertIn(f"{nr} of {nr} dirty blocks would be copied, {nr * BYTES} bytes", done.stdout)
        self.assertEqual((self.metadata.read_bytes(), self.origin.read_bytes()), before)

    def test_what_is_excluded_stays_dirty(self):
        self.lay_out("v2-writeback")
        excluded = self.stored_dirty() & {3, *range(7, 120)}
        done = self.write_back("--exclude", "3,7-19", "--exclude", "20-119")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{len(excluded)} dirty blocks are excluded, and stay dirty", done.stderr)
        self.expect_origin(self.stored_dirty() - excluded)
        self.assertEqual(self.dirty(), excluded)
        for wrong in ("", "x", "7-3", "1,,2", "-5", "1-2-3"):
            self.assertEqual(self.write_back("--exclude", wrong).returncode, 2, wrong)

    def test_what_was_not_rescued_does_not_go_over_what_the_origin_has(self):
        self.lay_out("v2-writeback")
        first, last = (f(self.stored_dirty()) for f in (min, max))
        rescued = self.folder / "fast.map"
        rescued.write_text(f"# made by hand\n0x0 + 1\n0x0 {first * BYTES + 512:#x} +\n"
                           f"{first * BYTES + 512:#x} 0x200 -\n"
                           f"{first * BYTES + 1024} {(last - first) * BYTES - 1024} +\n")
        done = self.write_back("--fast-device-map", rescued, "--list-failed-blocks")
        self.assertEqual((done.returncode, done.stdout), (1, f"62 of 64 dirty blocks copied\n{first}\n{last}\n"))
        self.assertIn("2 dirty blocks were not wholly read from the fast device", done.stderr)
        self.expect_origin(self.stored_dirty() - {first, last})
        self.assertEqual(self.dirty(), {first, last})
        self.assertEqual(self.write_back("--fast-device-map", self.fast).returncode, 2)
        self.assertEqual(self.write_back("--fast-device-map", "/nonexistent").returncode, 3)

    def test_a_summary_as_json(self):
        self.lay_out("v2-writeback")
        first, last = (f(self.stored_dirty()) for f in (min, max))
        os.truncate(self.fast, last * BYTES)
        done = self.write_back("--json", "--exclude", first)
        self.assertEqual(done.returncode, 1)
        told = json.loads(done.stdout)
        nr = len(self.stored_dirty())
        self.assertEqual({key: told[key] for key in ("dry_run", "dirty", "copied", "left", "excluded",
                                                     "discarded", "unreadable", "block_size")},
                         {"dry_run": False, "dirty": nr, "copied": nr - 2, "left": 0,
                          "excluded": [first], "discarded": [], "unreadable": [],
                          "block_size": BYTES})
        self.assertEqual([each["cache_blocks"] for each in told["failed"]], [[last]])
        self.assertIn("ends before them", told["failed"][0]["reason"])

    def test_metadata_are_left_alone_on_request(self):
        self.lay_out("v2-writeback")
        before = self.metadata.read_bytes()
        self.assertEqual(self.write_back("--no-metadata-update").returncode, 0)
        self.expect_origin(self.stored_dirty())
        self.assertEqual(self.metadata.read_bytes(), before)

    def test_offsets_are_in_sectors(self):
        self.lay_out("v2-writeback")
        self.origin.write_bytes(b"x" * 8192 + self.origin.read_bytes())
        self.fast.write_bytes(b"x" * 4096 + self.fast.read_bytes())
        done = self.write_back("--origin-device-offset", "16", "--fast-device-offset", "8")
        self.assertEqual(done.returncode, 0)
        data = self.origin.read_bytes()
        self.assertEqual(data[:8192], b"x" * 8192)
        self.origin.write_bytes(data[8192:])
        self.expect_origin(self.stored_dirty())

    def test_nothing_is_copied_of_damaged_metadata(self):
        for root in ("mapping_root", "dirty_root"):
            with self.subTest(root):
                self.lay_out("v2-writeback")
                self.image.zero(self.image.field(root))
                self.metadata = self.image.write(self.folder)
                done = self.write_back()
                self.assertEqual(done.returncode, 1)
                self.assertIn("nothing was copied", done.stderr)
                self.expect_origin(set())
                self.assertEqual(self.metadata.read_bytes(), bytes(self.image.data))

    def test_a_space_map_that_is_too_low_forbids_it(self):
        self.lay_out("v2-writeback")
        bitmap = self.image.get(self.image.field("bitmap_root"), 16, "Q")
        self.image.set(bitmap, 16, "B", 0, BITMAP)
        self.metadata = self.image.write(self.folder)
        self.assertEqual(self.write_back().returncode, 1)
        self.expect_origin(set())

    def test_devices_must_differ(self):
        self.lay_out("v2-writeback")
        self.fast = self.origin
        done = self.write_back()
        self.assertEqual(done.returncode, 2)
        self.assertIn("are the same device", done.stderr)

    def test_quiet_says_nothing(self):
        self.lay_out("v2-crash")
        done = self.write_back("-q")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_a_small_buffer_is_enough(self):
        self.lay_out("v2-writeback")
        self.assertEqual(self.write_back("--buffer-size-meg", "1").returncode, 0)
        self.expect_origin(self.stored_dirty())

    def test_a_run_that_is_killed_loses_nothing_and_the_next_one_goes_on(self):
        for name in ("v1-writeback", "v2-crash"):
            self.lay_out(name)
            begun = time.monotonic()
            self.begin().communicate()
            duration = time.monotonic() - begun
            for part in (0.3, 0.5, 0.7, 0.9):
                with self.subTest(name, part=part):
                    self.lay_out(name)
                    before = self.dirty()
                    running = self.begin()
                    time.sleep(part * duration)
                    self.kill(running)
                    self.go_on(before)

    def go_on(self, before):
        """Finishes what was interrupted, when these blocks were dirty before it began."""
        left = self.dirty()
        self.assertLessEqual(left, before)
        origin = self.origin.read_bytes()
        for cache_block, at, _ in self.truth["mappings"]:
            if cache_block in before - left:
                self.assertEqual(origin[at * BYTES:(at + 1) * BYTES], self.content(cache_block))
        self.assertEqual(run("cache_check", "-q", self.metadata).returncode, 0)
        done = self.write_back()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{len(left)} of {len(left)} dirty blocks copied", done.stdout)
        self.expect_origin(before)
        self.assertEqual(self.dirty(), set())

    def test_a_run_that_is_killed_leaves_less_to_do(self):
        for name in ("v1-writeback", "v2-writeback", "v1-crash", "v2-crash"):
            with self.subTest(name):
                self.lay_out(name)
                before = self.dirty()
                running = self.begin()
                self.await_cleared_flags(running)
                self.kill(running)
                self.assertLess(self.dirty(), before)
                self.go_on(before)

    def test_sigterm_is_an_orderly_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                code = 0
                while code == 0:  # it had come to its end before the signal came
                    self.lay_out("v2-crash")
                    before = self.dirty()
                    running = self.begin()
                    self.await_cleared_flags(running)
                    running.send_signal(number)
                    answer, problem = running.communicate()
                    code = running.returncode
                left = len(self.dirty())
                self.assertEqual(code, 1)
                self.assertIn(f"{len(before) - left} of {len(before)} dirty blocks copied", answer)
                self.assertEqual(problem, f"cache_writeback: stopped: {left} dirty blocks are left "
                                          "to copy; the same command goes on there\n")
                self.go_on(before)

    def test_little_room_is_enough_to_clear_dirty_flags_or_nothing_is_lost(self):
        outcomes = set()
        for name in ("v1-writeback", "v2-writeback", "v1-crash-again"):
            self.lay_out(name)
            document = self.folder / "document.xml"
            run("cache_dump", "--as-stored", "-o", document, self.metadata)
            for blocks in range(8, 22):
                with self.subTest(name, blocks=blocks):
                    self.metadata.write_bytes(bytes(blocks * 4096))
                    restored = run("cache_restore", "-i", document, "-o", self.metadata,
                                   "--metadata-version", self.truth["version"],
                                   *["--omit-clean-shutdown"] * (name == "v1-crash-again"))
                    if restored.returncode != 0:
                        self.assertIn("Output file too small", restored.stderr)
                        continue
                    before = self.dirty()
                    done = self.write_back()
                    outcomes.add(done.returncode)
                    self.expect_origin(before)
                    self.assertEqual(self.dirty(), set() if done.returncode == 0 else before)
                    self.assertEqual(run("cache_check", "-q", self.metadata).returncode, 0)
        self.assertEqual(outcomes, {0, 1})

    def test_a_crashed_cache_s_origin_becomes_what_the_kernel_would_read(self):
        for name in ("v1-crash", "v1-crash-again", "v2-crash"):
            with self.subTest(name):
                self.metadata = Image(name).write(self.folder)
                self.fast, self.origin = self.folder / "cache.img", self.folder / "origin.img"
                for path in (self.fast, self.origin):
                    packed = FIXTURES / name / (path.name + ".gz")
                    path.write_bytes(gzip.decompress(packed.read_bytes()))
                self.assertEqual(self.write_back().returncode, 0)
                self.assertEqual(hashlib.sha256(self.origin.read_bytes()).hexdigest(),
                                 (FIXTURES / name / "logical.sha256").read_text().strip())


if __name__ == "__main__":
    unittest.main()
