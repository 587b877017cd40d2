"""bench/replay: traces, and policies on a generated one."""

import gzip
import pathlib
import tempfile
import unittest

from fixture_images import BIN, run

TRACE = """time,op,lba,size
0.5,R,0,4096
1,W,128,65536
1,R,2000000,512
4.25,R,0,4096
"""


class Replay(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, text, name="trace.csv"):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def rows(self, *arguments):
        """The table's rows, as numbers."""
        done = run("replay", *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [[float(each.strip("k%")) for each in line.split()]
                for line in done.stdout.splitlines()[2:]]

    def refuse(self, code, text, *arguments):
        done = run("replay", *arguments)
        self.assertEqual((done.returncode, done.stdout), (code, ""))
        self.assertEqual(done.stderr, f"replay: {text}\n")

    def refuse_line(self, line, text):
        trace = self.write(TRACE + line + "\n")
        self.refuse(1, f"{trace}: line 6: {text}", trace)

    def test_a_hot_set_is_kept_and_a_larger_cache_keeps_more(self):
        for size in ("64k", "256k"):
            hits = [row[4] for row in self.rows("--generate", 1, "--block-size", size)]
            self.assertEqual(hits, sorted(hits))
            self.assertGreater(hits[0], 0.2)
            self.assertGreater(hits[3], 0.5)
            self.assertLess(hits[3], 0.8)

    def test_the_same_seed_gives_the_same_and_another_another(self):
        first, second, other = (run("replay", "--generate", seed).stdout for seed in (1, 1, 2))
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)

    def test_cleaner_promotes_nothing(self):
        for row in self.rows("--generate", 1, "--policy", "cleaner"):
            self.assertEqual((row[4], row[6]), (0, 0))

    def test_sift_misses_less_than_smq_and_a_budget_bounds_what_it_copies(self):
        generated = ("--generate", 1, "--block-size", "256k")
        sift, smq, bounded = (self.rows(*generated, *more) for more in (
            ("--policy", "sift"), ("--policy", "smq"),
            ("--policy", "sift", "--policy-setting", "fill_budget=0.1")))
        for ours, theirs, sparing in zip(sift, smq, bounded):
            self.assertLess(ours[5], theirs[5])
            self.assertLessEqual(sparing[6], 0.1 * (1800 + 3600))  # what is saved, and an hour's
            self.assertLess(sparing[6], ours[6])

    def test_migrations_that_take_long_cost_hits(self):
        at_once, later = (self.rows("--generate", 1, "--block-size", "64k", "--cache-percent", 20,
                                    "--delay", delay)[0] for delay in (0, 1000))
        self.assertGreater(at_once[4], later[4])

    def test_what_is_counted(self):
        [row] = self.rows(self.write(TRACE), "--block-size", "32k", "--cache-percent", 50)
        # 50 % of 4 blocks; the write of two whole ones needs no copy, and so is promoted.
        self.assertEqual(row, [32, 50, 2, 5, 0, 1, 2, 0, 2, 0.1])

    def test_compressed_traces_and_those_without_header_are_read_as_well(self):
        plain = run("replay", self.write(TRACE)).stdout
        self.assertIn("4 requests", plain)
        for other in (gzip.compress(TRACE.encode()), TRACE.split("\n", 1)[1]):
            self.assertEqual(run("replay", self.write(other, "other")).stdout, plain)

    def test_wrong_lines_are_told_by_number(self):
        self.refuse_line("5,R,0", "3 columns instead of time,op,lba,size")
        self.refuse_line("5,R,0,512,", "5 columns instead of time,op,lba,size")
        self.refuse_line("x,R,0,512", "'x' is no time")
        self.refuse_line("nan,R,0,512", "'nan' is no time")
        self.refuse_line("5,read,0,512", "'read' is no operation: R or W")
        self.refuse_line("5,R,-1,512", "'-1' is no sector")
        self.refuse_line("5,R,99999999999999999999,512", "'99999999999999999999' is no sector")
        self.refuse_line("5,R,0,512b", "'512b' is no number of bytes")
        self.refuse_line("4,R,0,512", "a time before that of the line above")
        self.refuse_line("", "1 columns instead of time,op,lba,size")

    def test_a_compressed_trace_that_is_cut_off_is_no_shorter_trace(self):
        path = self.write(gzip.compress(TRACE.encode())[:-12], "cut.gz")
        done = run("replay", path)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"cut.gz breaks off at line \d+: .*unexpected end of file")

    def test_files_that_are_not_there_are_told(self):
        path = self.folder / "none"
        self.refuse(3, f"cannot read {path}: No such file or directory", path)

    @unittest.skipUnless((BIN / "bench_engine").exists(), "its speed would say nothing")
    def test_the_engine_replays_traces_with_each_policy(self):
        lines = [f"{second},{'RW'[second % 2]},{second * 77 % 50 * 128},{8192}"
                 for second in range(300)]
        trace = self.write("\n".join(lines) + "\n")
        done = run("bench_engine", "--replay", self.folder, trace)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"300 requests, 5 cache blocks\n"
                         r"  sift +[\d.]+ s, +[\d.]+ % hit, .*\n  smq +[\d.]+ s, .*\n$")
        self.assertEqual([each.name for each in self.folder.iterdir()], [trace.name])
        done = run("bench_engine", "--replay", self.folder, self.folder / "none")
        self.assertEqual(done.returncode, 3)

    def test_wrong_usage_is_told(self):
        self.refuse(2, "give either a TRACE or --generate SEED")
        self.refuse(2, "'x' is no seed", "--generate", "x")
        self.refuse(2, "0 % is no part of the footprint", "--cache-percent", "5,0", "--generate", 1)
        self.refuse(2, "'' is no percentage", "--cache-percent", "5,", "--generate", 1)
        self.refuse(2, "a block cannot have 0 bytes", "--block-size", "0k", "--generate", 1)
        self.refuse(2, "'wb' is no mode: give writeback or writethrough", "--mode", "wb",
                    "--generate", 1)
        self.refuse(2, "--policy-setting takes KEY=VALUE, not '=1'", "--policy-setting", "=1",
                    "--generate", 1)
        done = run("replay", "--generate", 1, "--policy", "sift", "--policy-setting", "taste=1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("policy sift has no setting 'taste'", done.stderr)
        done = run("replay", "--generate", 1, "--policy", "fifo")
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no policy 'fifo'", done.stderr)


if __name__ == "__main__":
    unittest.main()
