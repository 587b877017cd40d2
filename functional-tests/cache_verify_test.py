"""cache_verify: what it finds different or the same, and what it changes when told to."""

import json
import pathlib
import tempfile
import unittest

from fixture_images import Image, run, truth_of

SECTORS = 64  # of 512 bytes a cache block here, so that the devices stay small
BYTES = SECTORS * 512


class VerifyTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def lay_out(self, name="v2-writeback"):
        """The fixture's metadata, and devices as they should be: what is dirty differs."""
        self.image = Image(name)
        self.image.set_field("data_block_size", SECTORS)
        self.metadata = self.image.write(self.folder)
        self.truth = truth_of(name)
        self.at = {c: (o, dirty) for c, o, dirty in self.truth["mappings"]}
        self.fast = self.folder / "fast.img"
        self.fast.write_bytes(b"".join(self.content(block)
                                       for block in range(self.truth["cache_blocks"])))
        self.origin = self.folder / "origin.img"
        blocks = max(o for o, _ in self.at.values()) + 1
        self.origin.write_bytes(b"o" * blocks * BYTES)
        for cache_block, (_, dirty) in self.at.items():
            if not dirty:
                self.copy(cache_block)

    def content(self, cache_block):
        return (b"%8d" % cache_block) * (BYTES // 8)

    def copy(self, cache_block, content=None):
        with open(self.origin, "r+b") as origin:
            origin.seek(self.at[cache_block][0] * BYTES)
            origin.write(content or self.content(cache_block))

    def blocks(self, dirty):
        return sorted(c for c, (_, is_dirty) in self.at.items() if is_dirty == dirty)

    def verify(self, *options):
        return run("cache_verify", "--metadata-device", self.metadata, "--origin-device",
                   self.origin, "--fast-device", self.fast, *options)

    def mappings(self):
        dumped = run("cache_dump", self.metadata)
        self.assertEqual(dumped.returncode, 0, dumped.stderr)
        self.assertEqual(run("cache_check", "-q", self.metadata).returncode, 0)
        return dumped.stdout

    def test_a_cache_that_is_as_it_should_be(self):
        for name in ("v1-writeback", "v2-writeback", "v1-crash"):
            with self.subTest(name):
                self.lay_out(name)
                before = [path.read_bytes() for path in (self.metadata, self.origin, self.fast)]
                done = self.verify()
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                if "crash" not in name:
                    self.assertIn(f"{len(self.blocks(False))} clean blocks: 0 differ from the "
                                  f"origin\n{len(self.blocks(True))} dirty blocks: 0 are the same",
                                  done.stdout)
                self.assertEqual([path.read_bytes()
                                  for path in (self.metadata, self.origin, self.fast)], before)

    def test_what_is_not_as_it_should_be(self):
        self.lay_out()
        stale, equal = self.blocks(False)[3], self.blocks(True)[5]
        self.copy(stale, self.content(stale)[:-1] + b"x")
        self.copy(equal)
        done = self.verify("--list")
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 clean blocks differ: the origin was written to without", done.stderr)
        self.assertIn(f"clean and differs: cache block {stale}, origin block {self.at[stale][0]}\n"
                      f"dirty and the same: cache block {equal}, origin block {self.at[equal][0]}",
                      done.stdout)
        told = json.loads(self.verify("--json").stdout)
        self.assertEqual((told["clean"], told["dirty"], told["unreadable"], told["left"]),
                         (len(self.blocks(False)), len(self.blocks(True)), 0, 0))
        self.assertEqual(told["clean_differing"],
                         [{"cache_block": stale, "origin_block": self.at[stale][0]}])
        self.assertEqual(told["dirty_equal"],
                         [{"cache_block": equal, "origin_block": self.at[equal][0]}])

    def test_flags_of_dirty_blocks_that_are_the_same_are_cleared(self):
        for name in ("v1-writeback", "v2-writeback"):
            with self.subTest(name):
                self.lay_out(name)
                expected = self.mappings()
                for each in self.blocks(True)[:7]:
                    self.copy(each)
                    line = f'cache_block="{each}" origin_block="{self.at[each][0]}" dirty='
                    expected = expected.replace(line + '"true"', line + '"false"')
                done = self.verify("--clear-equal")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn("7 dirty blocks are clean now", done.stdout)
                self.assertEqual(self.mappings(), expected)

    def test_after_a_crash_all_is_dirty_until_it_is_found_the_same(self):
        for name in ("v1-crash", "v2-crash"):
            with self.subTest(name):
                self.lay_out(name)
                same = sorted(self.at)[:9]
                for each in sorted(self.at):
                    self.copy(each, None if each in same else b"o" * BYTES)
                done = self.verify("--clear-equal")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn("not cleanly shut down: all mapped blocks count as dirty",
                              done.stdout)
                after = self.mappings()
                for cache_block, (origin_block, _) in self.at.items():
                    dirty = "false" if cache_block in same else "true"
                    self.assertIn(f'cache_block="{cache_block}" origin_block="{origin_block}" '
                                  f'dirty="{dirty}"', after)

    def test_clean_blocks_that_differ_are_unmapped(self):
        for name in ("v1-writeback", "v2-writeback"):
            with self.subTest(name):
                self.lay_out(name)
                before = self.mappings()
                stale = self.blocks(False)[:4]
                for each in stale:
                    self.copy(each, b"x" * BYTES)
                done = self.verify("--drop-stale")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn("4 clean blocks are out of the cache now", done.stdout)
                expected = [line for line in before.splitlines()
                            if not any(f'<mapping cache_block="{each}" ' in line for each in stale)]
                self.assertEqual([line for line in self.mappings().splitlines()
                                  if "<mapping " in line],
                                 [line for line in expected if "<mapping " in line])
                self.assertEqual(self.verify().returncode, 0)

    def test_other_devices_change_nothing(self):
        self.lay_out()
        self.origin.write_bytes(bytes(self.origin.stat().st_size))
        with open(self.fast, "r+b") as fast:  # what is dirty seems to be the same
            fast.seek(self.blocks(True)[0] * BYTES)
            fast.write(bytes(BYTES))
        before = self.metadata.read_bytes()
        for options in (("--clear-equal",), ("--drop-stale",)):
            done = self.verify(*options)
            self.assertEqual(done.returncode, 1)
            self.assertIn("nothing was changed", done.stderr)
            self.assertIn("are these the devices of one cache?", done.stderr)
            self.assertEqual(self.metadata.read_bytes(), before)
        self.assertEqual(self.verify("--drop-stale", "--force", "differing").returncode, 0)

    def test_what_cannot_be_read_is_told(self):
        self.lay_out()
        beyond = [c for c in self.at if c >= 200]
        with open(self.fast, "r+b") as fast:
            fast.truncate(200 * BYTES + 100)
        done = self.verify()
        self.assertEqual(done.returncode, 3)
        self.assertIn(f"{len(beyond)} times blocks could not be compared: the fast device "
                      f"({self.fast}) ends before them", done.stderr)

    def test_a_map_of_the_origin(self):
        self.lay_out()
        stale = self.blocks(False)[3]
        self.copy(stale, b"x" * BYTES)
        found = self.folder / "origin.map"
        self.assertEqual(self.verify("--map", found).returncode, 1)
        status = {}
        for line in found.read_text().splitlines():
            if not line.startswith("#"):
                words = line.split()
                if words[2] in "+-?" and len(words) == 3 and words[1].startswith("0x"):
                    for block in range(int(words[0], 0) // BYTES,
                                       (int(words[0], 0) + int(words[1], 0)) // BYTES):
                        status[block] = words[2]
        expected = {origin: "-" if dirty or c == stale else "+"
                    for c, (origin, dirty) in self.at.items()}
        self.assertEqual({block: status[block] for block in expected}, expected)
        self.assertEqual({s for block, s in status.items() if block not in expected}, {"?"})

    def test_wrong_usage(self):
        self.lay_out()
        self.assertEqual(self.verify("--force", "all").returncode, 2)
        self.fast = self.origin
        done = self.verify()
        self.assertEqual(done.returncode, 2)
        self.assertIn("are the same device", done.stderr)

    def test_quiet_says_nothing(self):
        self.lay_out()
        self.copy(self.blocks(False)[0], b"x" * BYTES)
        done = self.verify("-q")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", ""))


if __name__ == "__main__":
    unittest.main()
