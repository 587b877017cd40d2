"""cache_ctl verify: what is cached is compared with the origin while clients are served."""

import json
import os
import pty
import subprocess
import unittest

from cache_files import PATIENCE
from fixture_images import BIN
from served_cache import ServedCacheTest, nbdcopy

BLOCK = 64 << 10
BLOCKS = 16
STALE = ("cache_ctl: {} clean blocks differ: the origin was written to without the cache, or a device "
         "doesn't keep what it was given; or these aren't the devices of one cache{}\n")


class Verify(ServedCacheTest):
    """The first blocks are cached, and dirty until they are cleaned."""

    def setUp(self):
        super().setUp()
        self.must_serve("--create", "--cleaning", "on-request")
        piece = self.image("piece", BLOCKS * BLOCK)
        nbdcopy(piece, self.uri)
        self.written = piece.read_bytes()
        self.assertEqual(self.nr_dirty(), BLOCKS)

    def nr_dirty(self):
        return json.loads(self.must_ctl("status", "--json"))["cache_blocks_dirty"]

    def put_on_origin(self, block, data):
        with open(self.origin, "r+b") as origin:
            origin.seek(block * BLOCK)
            origin.write(data)

    def data_of(self, block):
        return self.written[block * BLOCK:(block + 1) * BLOCK]

    def served(self):
        copied = self.folder / "served"
        nbdcopy(self.uri, copied)
        return copied.read_bytes()[:len(self.written)]

    def expect(self, status, out, err, *options):
        done = self.ctl("verify", *options)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (status, out, err))

    def test_what_is_as_it_should_be(self):
        self.expect(0, "0 clean blocks: 0 differ from the origin\n"
                       "16 dirty blocks: 0 are the same on the origin\n", "")
        self.must_ctl("clean")
        self.expect(0, "16 clean blocks: 0 differ from the origin\n"
                       "0 dirty blocks: 0 are the same on the origin\n", "")

    def test_what_is_stale_is_told_and_dropped(self):
        self.must_ctl("clean")
        for block in (3, 11):
            self.put_on_origin(block, b"x" * BLOCK)
        text = ("16 clean blocks: 2 differ from the origin\n"
                "0 dirty blocks: 0 are the same on the origin\n")
        self.expect(1, text, STALE.format(2, " (--list shows the blocks)"))
        listed = self.ctl("verify", "--list")
        self.assertEqual((listed.returncode, listed.stderr), (1, STALE.format(2, "")))
        self.assertRegex(listed.stdout, text + r"clean and differs: cache block \d+, origin block 3\n"
                                               r"clean and differs: cache block \d+, origin block 11\n$")
        self.expect(1, "", "", "-q")
        self.assertEqual(self.served(), self.written)
        self.expect(0, text + "2 clean blocks are out of the cache now: the origin's data count\n", "",
                    "--drop-stale")
        self.expect(0, "14 clean blocks: 0 differ from the origin\n"
                       "0 dirty blocks: 0 are the same on the origin\n", "")
        self.assertEqual(self.served()[3 * BLOCK:4 * BLOCK], b"x" * BLOCK)

    def test_most_is_dropped_by_force_only(self):
        self.must_ctl("clean")
        self.put_on_origin(0, b"x" * 9 * BLOCK)
        refused = self.ctl("verify", "--drop-stale")
        self.assertEqual((refused.returncode, refused.stderr), (
            1, "cache_ctl: nothing was dropped: 9 of 16 clean blocks differ: are these the devices of one "
               "cache? --force differing changes it all the same\n"))
        forced = self.ctl("verify", "--drop-stale", "--force", "differing")
        self.assertEqual((forced.returncode, forced.stderr), (0, ""))
        self.assertIn("\n9 clean blocks are out of the cache now", forced.stdout)

    def test_what_is_equal_is_cleared(self):
        for block in (1, 2):
            self.put_on_origin(block, self.data_of(block))
        text = ("0 clean blocks: 0 differ from the origin\n"
                "16 dirty blocks: 2 are the same on the origin\n")
        self.expect(0, text, "")
        self.assertEqual(self.nr_dirty(), BLOCKS)
        self.expect(0, text + "2 dirty blocks are clean now\n", "", "--clear-equal")
        self.assertEqual(self.nr_dirty(), BLOCKS - 2)
        self.must_ctl("stop")
        self.wait_for_devices()
        self.assertIn("16 mapped, 14 dirty, cleanly shut down: sound", self.check())

    def test_json(self):
        self.put_on_origin(7, self.data_of(7))
        done = self.ctl("verify", "--json", "--clear-equal")
        self.assertEqual((done.returncode, done.stderr), (0, "1 dirty blocks are clean now\n"))
        told = json.loads(done.stdout)
        self.assertEqual([each["origin_block"] for each in told.pop("dirty_equal")], [7])
        self.assertEqual(told, {
            "block_size": BLOCK, "clean": 0, "clean_discarded": 0, "clean_differing": [], "dirty": 16,
            "unreadable": 0, "unreadable_because": [], "left": 0, "cleared": 1, "dropped": 0})

    def test_clients_write_meanwhile(self):
        with subprocess.Popen(["sh", "-c", f"for i in 1 2 3 4; do nbdcopy {self.folder}/piece "
                                           f"'{self.uri}'; done"]) as writing:
            while writing.poll() is None:
                done = self.ctl("verify", "--clear-equal", "--drop-stale")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(" clean blocks: 0 differ from the origin\n", done.stdout)
            self.assertEqual(writing.returncode, 0)
        self.assertEqual(self.served(), self.written)

    def test_a_quiet_one_shows_nothing_on_a_terminal(self):
        main, terminal = pty.openpty()
        with subprocess.Popen([BIN / "cache_ctl", "--control", self.control, "verify", "-q"],
                              stdout=subprocess.DEVNULL, stderr=terminal) as quiet:
            self.assertEqual(quiet.wait(PATIENCE), 0)
        os.close(terminal)
        with self.assertRaises(OSError):  # nobody has written to it
            os.read(main, 1)
        os.close(main)

    def test_wrong_usage(self):
        for wrong, text in ((["clean", "--list"], "--list goes with verify"),
                            (["status", "-q"], "--quiet goes with verify"),
                            (["verify", "--force", "all"], "'all' can't be forced: differing can"),
                            (["verify", "--human"], "are forms of the status, one at a time"),
                            (["verify", "clear-equal"], "verify takes options, not 'clear-equal'")):
            done = self.ctl(*wrong)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main()
