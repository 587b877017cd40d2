"""What a cache that is served knows of its clients: cache_ctl advise, explain and record."""

import gzip
import json
import pathlib
import re
import signal
import subprocess
import unittest
import xml.etree.ElementTree

from cache_files import ORIGIN_SIZE, PATIENCE, wait_until
from fixture_images import BIN, run
from served_cache import ServedCacheTest

BLOCK = 64 << 10


BEGUN = "cache_ctl: recording: interrupt this to end it\n"


class InsightTest(ServedCacheTest):
    def refuse(self, status, text, *request):
        done = self.ctl(*request)
        self.assertEqual((done.returncode, done.stdout), (status, ""))
        self.assertIn(text, done.stderr)


class Advise(InsightTest):
    def test_nothing_is_said_before_enough_was_seen(self):
        self.must_serve("--create")
        self.connect().read(0, 10 * BLOCK)
        self.assertEqual(self.must_ctl("advise"),
                         "seen        10 reads, 0.0 % hit; 0 writes, - hit\n"
                         "Not enough seen yet: 0 % of what it takes to tell how large the cache should "
                         "be. Ask again later.\n")
        said = json.loads(self.must_ctl("advise", "--json"))
        self.assertEqual(said["seen"], {"reads": 10, "writes": 0})
        self.assertEqual(said["cache_blocks_total"], 128)
        self.assertLess(said["progress"], 1)

    def test_how_much_a_cache_of_another_size_would_save(self):
        """The client reads twice as much as the cache holds, and again and again."""
        self.must_serve("--create", "--block-size", "32k")
        client = self.connect()
        for _ in range(82_000 // 512 // 2):
            client.zero(16 << 20, 16 << 20)  # which counts as well, and is never promoted
            client.read(0, 16 << 20)
        said = json.loads(self.must_ctl("advise", "--json"))
        self.assertEqual(said["progress"], 1)
        self.assertEqual([each["cache_blocks"] for each in said["sizes"]], [64, 128, 256, 512, 1024])
        misses = [each["lru_miss_ratios"]["reads"] for each in said["sizes"]]
        self.assertEqual(misses[:3], [1, 1, 1])
        self.assertLess(misses[4], 0.05)  # with all that is zeroed as well
        text = self.must_ctl("advise")
        self.assertRegex(text, r"\nhalf +4 MiB  LRU +0.0 %, sift +\d+.\d %; \+\d+ % reads of the origin\n")
        self.assertRegex(text, r"\nTwice the cache, 16 MiB, would save \d+ % \(LRU: \d+ %\) of the "
                               r"origin's reads; half of it, 4 MiB, would cost \d+ % \(LRU: 0 %\) more.\n$")

        picture = self.folder / "picture.svg"
        self.must_ctl("advise", "--svg", picture)
        self.assertEqual(xml.etree.ElementTree.parse(picture).getroot().tag,
                         "{http://www.w3.org/2000/svg}svg")

    def test_other_forms_than_json_are_refused(self):
        self.must_serve("--create")
        self.refuse(2, "are forms of the status", "advise", "--human")
        self.refuse(2, "--origin goes with explain", "advise", "--origin", "1s")
        self.refuse(2, "--svg goes with advise", "status", "--svg", "file")

    def test_nothing_is_drawn_before_enough_was_seen(self):
        self.must_serve("--create")
        picture = self.folder / "picture.svg"
        done = self.ctl("advise", "--svg", picture)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "cache_ctl: there is nothing to draw yet\n"))
        self.assertFalse(picture.exists())


class Explain(InsightTest):
    def explain(self, offset):
        return json.loads(self.must_ctl("explain", "--origin", offset, "--json"))

    def test_what_is_cached(self):
        self.must_serve("--create")
        client = self.connect()
        client.read(5 * BLOCK, 512)
        wait_until(lambda: self.explain("320k")["cached"])
        said = self.explain("330k")
        self.assertEqual((said["block"], said["begin"], said["length"]), (5, 5 * BLOCK, BLOCK))
        self.assertEqual((said["dirty"], said["policy"]), (False, "sift"))
        self.assertIn("hits", said)
        text = self.must_ctl("explain", "--origin", "320k")
        self.assertRegex(text, r"^Block 5 of the origin: 65536 bytes from 327680 on.\nIt is cached, in cache "
                               r"block \d+, and clean: the origin has the same data.\nIt was hit ")
        self.must_ctl("set", "cleaning", "on-request")
        client.write(5 * BLOCK, b"x" * 512)
        self.assertTrue(self.explain("320k")["dirty"])

    def test_what_is_missing_for_a_promotion(self):
        self.must_serve("--create", "--policy-setting", "fill_budget=0.0001")
        self.connect().read(BLOCK, 512)  # most of what may be promoted is spent by a few
        said = self.explain("64k")
        self.assertEqual((said["cached"], said["touches"]), (False, 1))
        self.assertGreater(said["touches_for_read"], 1)
        self.assertIn("fill_budget", self.must_ctl("explain", "--origin", "64k"))

    def test_in_words_of_smq_and_in_passthrough(self):
        self.must_serve("--create", "--policy", "smq")
        self.connect().read(BLOCK, 512)
        text = self.must_ctl("explain", "--origin", "128s")
        self.assertRegex(text, "It is not cached.\nIts area, of \\d+ blocks, stands at level ")
        self.assertEqual(self.explain("128s")["area_level_for_copy"], 48)
        self.must_ctl("set", "mode", "passthrough")
        self.assertIn("Nothing is promoted in passthrough mode.\n",
                      self.must_ctl("explain", "--origin", "128s"))

    def test_wrong_offsets_are_refused(self):
        self.must_serve("--create")
        self.refuse(2, "explain what? explain --origin OFFSET", "explain")
        self.refuse(2, "explain what? explain --origin OFFSET", "explain", "4k", "--origin", "4k")
        self.refuse(2, "'4096'", "explain", "--origin", "4096")
        self.refuse(2, f"byte {ORIGIN_SIZE} is beyond the origin's end, which has {ORIGIN_SIZE}", "explain",
                    "--origin", f"{ORIGIN_SIZE}b")


class Record(InsightTest):
    def setUp(self):
        super().setUp()
        self.must_serve("--create")
        self.trace = self.folder / "trace.csv.gz"

    def start(self, *options):
        """Once it has returned, all requests are recorded."""
        recorder = subprocess.Popen(
            [BIN / "cache_ctl", "--control", self.control, "record", self.trace, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(recorder.wait)
        self.addCleanup(recorder.kill)
        self.assertEqual(recorder.stderr.readline(), BEGUN)
        return recorder

    def end_of(self, recorder):
        said, problems = recorder.communicate(timeout=PATIENCE)
        self.assertEqual((recorder.returncode, problems), (0, ""))
        return said

    @staticmethod
    def nr_sleeps(process):
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])

    def lines(self):
        head, *lines = gzip.decompress(self.trace.read_bytes()).decode().splitlines()
        self.assertEqual(head, "time,op,lba,size")
        return [line.split(",") for line in lines]

    def test_what_clients_ask_for_until_it_is_interrupted(self):
        recorder = self.start()
        client = self.connect()
        client.read(BLOCK, 4096)
        client.write(2 * BLOCK, b"x" * 512)
        client.zero(3 * BLOCK, BLOCK)
        client.flush()
        client.trim(0, BLOCK)
        recorder.send_signal(signal.SIGINT)
        self.assertRegex(self.end_of(recorder), r"^3 requests recorded, in \d+ bytes\n$")
        lines = self.lines()
        self.assertEqual([line[1:] for line in lines],
                         [["R", "128", "4096"], ["W", "256", "512"], ["W", "384", "65536"]])
        times = [float(line[0]) for line in lines]
        self.assertEqual(times, sorted(times))

    def test_cache_replay_reads_it(self):
        recorder = self.start()
        client = self.connect()
        for block in range(100):
            client.read(block * BLOCK, 4096)
        recorder.send_signal(signal.SIGTERM)
        self.end_of(recorder)
        done = run("cache_replay", "--policy", "sift", "--cache-size", "100%", self.trace)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("100 requests in ", done.stdout)

    def test_until_the_cache_is_stopped(self):
        recorder = self.start()
        self.connect().read(0, 512)
        self.must_ctl("stop")
        self.assertIn("1 requests recorded", self.end_of(recorder))
        self.assertEqual(len(self.lines()), 1)

    def test_what_was_recorded_is_kept_if_the_server_dies(self):
        recorder = self.start()
        self.connect().read(0, 512)
        # It sleeps until the server tells it something, and by the third time has heard of the read.
        before = self.nr_sleeps(recorder)
        wait_until(lambda: self.nr_sleeps(recorder) >= before + 3)
        self.kill_all_servers()
        said, problems = recorder.communicate(timeout=PATIENCE)
        self.assertEqual(recorder.returncode, 3)
        self.assertIn("1 requests recorded", said)
        self.assertIn("the server", problems)
        self.assertEqual(len(self.lines()), 1)

    def test_for_so_long_or_up_to_a_size(self):
        for options in (["--for", "1"], ["--max-size", "0s"]):
            done = self.ctl("record", self.trace, *options)
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stdout, "^0 requests recorded")
            self.assertEqual(self.lines(), [])
            self.trace.unlink()

    def test_over_nothing_but_an_older_recording(self):
        before = self.origin.read_bytes()
        self.refuse(3, f"{self.origin} exists, and is no recording: name another file", "record",
                    self.origin)
        self.assertEqual(self.origin.read_bytes(), before)
        for _ in range(2):
            self.assertEqual(self.ctl("record", self.trace, "--max-size", "0s").returncode, 0)

    def test_one_at_a_time(self):
        recorder = self.start()
        other = self.folder / "other"
        self.refuse(1, "somebody is recording already: wait until that is over", "record", other)
        self.assertFalse(other.exists())
        recorder.terminate()
        self.end_of(recorder)

    def test_to_standard_output(self):
        done = subprocess.run([BIN / "cache_ctl", "--control", self.control, "record", "-", "--for", "1"],
                              capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(gzip.decompress(done.stdout), b"time,op,lba,size\n")
        self.assertRegex(done.stderr.decode(), f"^{BEGUN}0 requests recorded")

    def test_wrong_usage_is_refused(self):
        self.refuse(2, "record where? record FILE", "record")
        self.refuse(2, "record where? record FILE", "record", "a", "b")
        self.refuse(2, "--for is a number of seconds, not '0'", "record", self.trace, "--for", "0")
        self.refuse(2, "is no size", "record", self.trace, "--max-size", "much")
        self.refuse(2, "--for goes with record", "status", "--for", "1")
        self.refuse(2, "--max-size goes with record", "clean", "--max-size", "1m")
        self.refuse(3, "none/trace", "record", self.folder / "none" / "trace")


if __name__ == "__main__":
    unittest.main()
