"""cache_replay: traces of all formats, what is told of them, and hostile ones."""

import gzip
import json
import os
import pathlib
import random
import resource
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

from fixture_images import BIN, run

MEMORY_LIMIT = int(os.environ.get("DMCACHE_MEMORY_LIMIT", 256 << 10))  # KiB; 0: none
# The same five requests in each format: in blocks of 32 KiB, to 0, 1, 40, 0 and 0.
CSV = "time,op,lba,size\n0,R,0,4096\n0.5,W,64,4096\n1,R,2560,512\n1.5,R,8,4096\n2,W,0,32768\n"
BLKPARSE = """\
  8,0    0        1     0.000000000   697  Q   R 0 + 8 [reader]
  8,0    0        2     0.000001000   697  G   R 0 + 8 [reader]
  8,0    1        1     0.500000000   698  Q  WS 64 + 8 [a writer]
  8,0    1        2     0.600000000   698  Q FWS [a writer]
  8,0    0        3     1.000000000   697  Q  RA 2560 + 1 [reader]
  8,0    0        4     1.100000000   697  Q  DS 4096 + 8 [fstrim]
  8,0    0        5     1.500000000   697  Q   R 8 + 8 [reader]
  8,0    0        6     2.000000000   697  Q   W 0 + 64 [reader]
CPU0 (8,0):
 Reads Queued:           3,        9KiB\t Writes Queued:           1,       32KiB

Total (8,0):
 Reads Queued:           3,        9KiB\t Writes Queued:           2,       36KiB
"""
FIO_3 = """\
fio version 3 iolog
0 /dev/sda add
0 /dev/sda open
0 /dev/sda read 0 4096
500000 /dev/sda write 32768 4096
600000 /dev/sda sync 0 0
1000000 /dev/sda read 1310720 512
1100000 /dev/sda trim 2097152 4096
1500000 /dev/sda read 4096 4096
2000000 /dev/sda write 0 32768
2000000 /dev/sda close
"""
FIO_2 = """\
fio version 2 iolog
/dev/sda add
/dev/sda open
/dev/sda read 0 4096
/dev/sda wait 500000 0
/dev/sda write 32768 4096
/dev/sda wait 500000 0
/dev/sda read 1310720 512
/dev/sda trim 2097152 4096
/dev/sda wait 500000 0
/dev/sda read 4096 4096
/dev/sda wait 500000 0
/dev/sda write 0 32768
/dev/sda close
"""
BIOSNOOP = """\
TIME(s)     COMM           PID    DISK    T SECTOR     BYTES  LAT(ms)
0.000000    reader         697    sda     R 0          4096      0.20
0.500000    a writer       698    sda     W 64         4096      0.30
1.500000    reader         697    sda     R 8          4096      0.20
1.000000    reader         697    sda     R 2560       512       0.20
2.000000    reader         697    sda     W 0          32768     0.20
"""
FORMATS = {"csv": CSV, "blkparse": BLKPARSE, "fio 2": FIO_2, "fio 3": FIO_3, "biosnoop": BIOSNOOP}
SMALL = ("--block-size", "32k", "--cache-size", "64k")


class TraceTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, text, name="trace"):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


class CacheReplay(TraceTest):
    def json_of(self, *arguments, messages=""):
        done = run("cache_replay", "--json", *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, messages))
        return json.loads(done.stdout)

    def refuse(self, code, text, *arguments):
        done = run("cache_replay", *arguments)
        self.assertEqual((done.returncode, done.stdout), (code, ""))
        usage = "Try 'cache_replay --help'.\n"
        self.assertEqual(done.stderr.removesuffix(usage), f"cache_replay: {text}\n")

    def test_all_formats_say_the_same(self):
        expected = {"requests": 5, "reads": 3, "seconds": 2}
        for name, text in FORMATS.items():
            with self.subTest(name):
                has_discard = name not in ("csv", "biosnoop")
                messages = "cache_replay: 1 discards are left out\n" if has_discard else ""
                told = self.json_of("--policy", "lru", *SMALL, self.write(text), messages=messages)
                self.assertEqual({key: told[key] for key in expected}, expected)
                self.assertEqual(told["discards_left_out"], int(has_discard))
                self.assertEqual(told["replays"], [{
                    "policy": "lru", "block_size": 32768, "cache_size": 65536, "cache_blocks": 2,
                    "touched_blocks": 3, "hits": 1, "misses": 4, "miss_ratio": 0.8,
                    "promotions": 4, "demotions": 2, "written_back": 0,
                    "bytes_to_fast_device": 5 * 32768}])

    def test_compressed_and_from_standard_input(self):
        expected = run("cache_replay", self.write(CSV)).stdout.replace(
            str(self.folder / "trace"), "standard input")
        packed = self.write(gzip.compress(CSV.encode()), "packed.gz")
        for path in (packed, self.folder / "trace"):
            with open(path, "rb") as stream:
                done = run("cache_replay", "-", stdin=stream)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, expected, ""))

    def test_the_table(self):
        trace = self.write(CSV)
        done = run("cache_replay", "--policy", "lru,sift:read_touches=1:write_touches=1", *SMALL,
                   trace)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, f"""\
{trace}: 5 requests in 2.0 s, 60.0 % reads; a request counts for each block that it touches

blocks of 32 KiB: 3 are touched, 0.1 MiB, 5 times
cache in MiB  touched    blocks  policy                              miss ratio promotions \
demotions written back  MiB to fast device
         0.1    66.7%         2  lru                                     0.8000          4 \
        2            0                 0.2
""" + done.stdout.splitlines(True)[-1])
        self.assertRegex(done.stdout, r"\n +0.1 +66.7% +2  sift:read_touches=1:write_touches=1  .*\n$")

    def test_all_combinations_are_replayed(self):
        told = self.json_of("--policy", "smq,lru", "--block-size", "32k,64k",
                            "--cache-size", "50%,1m", self.write(CSV))
        self.assertEqual([(each["block_size"], each["cache_blocks"], each["policy"])
                          for each in told["replays"]],
                         [(32768, 1, "smq"), (32768, 1, "lru"), (32768, 32, "smq"),
                          (32768, 32, "lru"), (65536, 1, "smq"), (65536, 1, "lru"),
                          (65536, 16, "smq"), (65536, 16, "lru")])

    def test_mode_and_delay_count(self):
        trace = self.write("".join(f"0.{i},W,0,32768\n" for i in range(9)) + "1.1,R,64,512\n" * 9)
        at_once = self.json_of("--policy", "lru", "--block-size", "32k", "--cache-size", "32k", trace)
        through, later = (
            self.json_of("--policy", "lru", "--block-size", "32k", "--cache-size", "32k", *more, trace)
            for more in (("--mode", "writethrough"), ("--delay", "4")))
        self.assertEqual([each["replays"][0]["written_back"] for each in (at_once, through)], [1, 0])
        self.assertEqual((through["mode"], later["delay"]), ("writethrough", 4))
        self.assertGreater(later["replays"][0]["misses"], at_once["replays"][0]["misses"])

    def test_a_picture_is_drawn(self):
        picture = self.folder / "misses.svg"
        done = run("cache_replay", "--svg", picture, "--policy", "lru,sift", self.write(CSV))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("blocks of 256 KiB", done.stdout)
        drawn = xml.etree.ElementTree.parse(picture).getroot()
        lines = list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))
        self.assertEqual(len(lines), 2 * 2 * 2)  # sizes of blocks, charts, policies
        to_stdout = run("cache_replay", "--svg", "-", "--policy", "lru,sift", self.folder / "trace")
        self.assertEqual((to_stdout.returncode, to_stdout.stdout, to_stdout.stderr),
                         (0, picture.read_text(), done.stdout))

    def test_the_trace_is_not_drawn_over(self):
        trace = self.write(CSV)
        done = run("cache_replay", "--svg", trace, trace)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(trace.read_text(), CSV)

    def test_a_picture_that_cannot_be_written_is_told_after_the_table(self):
        done = run("cache_replay", "--svg", self.folder / "none" / "a.svg", self.write(CSV))
        self.assertEqual(done.returncode, 3)
        self.assertIn("blocks of 64 KiB", done.stdout)
        self.assertIn("No such file or directory", done.stderr)

    def test_one_of_several_devices(self):
        trace = self.write(BLKPARSE.replace("8,0    1 ", "8,16   1 "))
        self.refuse(1, f"{trace}: line 3: a request to 8,16, and those above are to 8,0: choose one of "
                       "them by --device", trace)
        told = self.json_of("--device", "8,16", trace)
        self.assertEqual((told["requests"], told["reads"]), (1, 0))
        self.refuse(2, f"{trace}: no request is to 8,32; there are some to 8,0", "--device", "8,32",
                    trace)

    def test_wrong_lines_are_told_by_number(self):
        for name, text, line, expected in (
                ("csv", CSV, "3,X,0,512", "'X' is no operation: R or W"),
                ("blkparse", BLKPARSE.split("CPU0")[0], "8,0 1 9 3.0 1 Q R 8",
                 "expected an event as blkparse prints it: MAJOR,MINOR CPU SEQUENCE TIME PID Q RWBS "
                 "SECTOR + SECTORS [PROCESS]"),
                ("fio", FIO_2, "/dev/sda read 0",
                 "expected FILE ACTION, and for I/O its OFFSET and LENGTH in bytes"),
                ("biosnoop", BIOSNOOP, "3.0 a 1 sda R 8", "expected a line of biosnoop with TIME(s) "
                 "COMM PID DISK T SECTOR BYTES LAT(ms)")):
            trace = self.write(text + line + "\n")
            number = text.count("\n") + 1
            self.refuse(1, f"{trace}: line {number}: {expected}", "--format", name, trace)

    def test_wrong_usage_is_told(self):
        trace = self.write(CSV)
        for arguments, text in (
                ((), "No TRACE given."),
                (("--policy", "fifo", trace), "there is no policy 'fifo': give sift, smq, mq, "
                 "default or cleaner, or lru, to compare with"),
                (("--policy", "sift:", trace), "--policy takes NAME:KEY=VALUE, not 'sift:'"),
                (("--policy", "lru:a=1", trace), "lru has no setting 'a'"),
                (("--block-size", "33k", trace),
                 "--block-size is a multiple of 32k up to 1g, not 33k"),
                (("--cache-size", "0%", trace), "--cache-size: '0%' is no part of what is touched"),
                (("--cache-size", "5%,101%", trace),
                 "--cache-size: '101%' is no part of what is touched"),
                (("--cache-size", "0m", trace), "--cache-size: a cache without any room is none"),
                (("--cache-size", "4k", trace),
                 "a cache of 4096 bytes has no room for a block of 65536"),
                (("--mode", "wb", trace), "'wb' is no mode: give writeback or writethrough"),
                (("--delay", "-1", trace), "'-1' is no number of requests"),
                (("--delay", str(1 << 64), trace), f"'{1 << 64}' is no number of requests"),
                (("--event", "X", trace), "'X' is no event that can be replayed: give Q (queued), D "
                 "(issued) or C (completed)"),
                (("--event", "Q", trace), f"--event is for blkparse's output, and {trace} is csv"),
                (("--device", "sda", trace), f"--device: {trace} is csv, which names no devices"),
                (("--format", "xml", trace), "'xml' is no format: give csv, blkparse, fio or "
                 "biosnoop")):
            with self.subTest(arguments):
                self.refuse(2, text, *arguments)

    def test_files_that_cannot_be_read_are_told(self):
        none = self.folder / "none"
        self.refuse(3, f"cannot read {none}: No such file or directory", none)
        self.refuse(3, f"cannot read {self.folder}: Is a directory", self.folder)


class HostileTraces(TraceTest):
    """Each is refused, or replayed, soon and in little memory."""

    def bounded(self, *arguments, **keywords):
        done = subprocess.run([BIN / "cache_replay", *map(str, arguments)], capture_output=True,
                              timeout=60, check=False, **keywords)
        if MEMORY_LIMIT:
            self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, MEMORY_LIMIT)
        return done

    def test_a_compressed_line_without_end_is_refused(self):
        zeroes = self.folder / "zeroes.gz"
        with gzip.open(zeroes, "wb", 1) as packed:
            packed.write(b"0,R,0,")
            for _ in range(400):
                packed.write(bytes(1 << 20))
        done = self.bounded(zeroes)
        self.assertEqual((done.returncode, done.stderr.decode()), (
            1, f"cache_replay: {zeroes}: line 1: longer than 4096 bytes\n"))

    def test_requests_of_all_that_a_device_can_have(self):
        trace = self.write("".join(f"{i},R,{i << 35},4294967296\n" for i in range(20000)))
        done = self.bounded(trace)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr.decode(), r"^cache_replay: \d+ cache blocks of 65536 bytes are more "
                         "than the 67108864 that can be replayed: make the blocks larger, or the cache "
                         "smaller\n$")

    def test_times_far_apart(self):
        trace = self.write("".join(f"{i * 10 ** 12},W,{i},512\n" for i in range(10)))
        self.assertEqual(self.bounded(trace).returncode, 0)

    def test_whatever_is_cut_off_or_changed(self):
        chance = random.Random(7)
        for name, text in FORMATS.items():
            for is_packed in (False, True):
                whole = gzip.compress(text.encode()) if is_packed else text.encode()
                for _ in range(12):
                    changed = bytearray(whole[:chance.randrange(len(whole) + 1)])
                    for _ in range(chance.randrange(4)):
                        if changed:
                            changed[chance.randrange(len(changed))] = chance.randrange(256)
                    done = self.bounded("--policy", "lru,smq", *SMALL, "-", input=bytes(changed))
                    with self.subTest(name, changed=bytes(changed)):
                        self.assertIn(done.returncode, (0, 1))
                        self.assertEqual(done.returncode == 0, bool(done.stdout))
                        if done.returncode:
                            self.assertRegex(done.stderr, rb"^cache_replay: standard input.*\n$")

    def test_a_compressed_trace_that_is_cut_off_is_no_shorter_trace(self):
        text = "".join(f"{i},R,{i * 8},4096\n" for i in range(30000))
        trace = self.write(gzip.compress(text.encode())[:-10000], "cut.gz")
        done = self.bounded(trace)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertRegex(done.stderr.decode(), r"cut.gz breaks off at line \d+: .*unexpected end of file")


if __name__ == "__main__":
    unittest.main()
