"""cache_ctl, and the control socket of a cache that is served."""

import json
import os
import pty
import random
import re
import socket
import stat
import subprocess
import time
import unittest

from cache_files import PATIENCE
from fixture_images import BIN, run
from served_cache import ServedCacheTest, nbdcopy

STATUS = re.compile(
    r"0 65536 cache 8 (?P<metadata_blocks_used>\d+)/(?P<metadata_blocks_total>\d+) 128 "
    r"(?P<cache_blocks_used>\d+)/(?P<cache_blocks_total>\d+) (?P<read_hits>\d+) "
    r"(?P<read_misses>\d+) (?P<write_hits>\d+) (?P<write_misses>\d+) (?P<demotions>\d+) "
    r"(?P<promotions>\d+) (?P<cache_blocks_dirty>\d+) 2 metadata2 writeback 2 migration_threshold "
    r"2048 sift \d+ (?:\S+ \S+ )*rw -\n")


def parse_metrics(text):
    """{family: (type, {sample line's name and labels: value})}; raises on what isn't OpenMetrics."""
    lines = text.split("\n")
    if lines[-2:] != ["# EOF", ""]:
        raise ValueError("no end")
    families, family = {}, None
    for line in lines[:-2]:
        described = re.fullmatch(r"# (TYPE|UNIT|HELP) ([a-z_]+) (.+)", line)
        if described:
            what, name, text = described.groups()
            if what == "TYPE":
                if name in families or text not in ("counter", "gauge"):  # which both formats know
                    raise ValueError(line)
                family = families[name] = (text, {})
            elif name != list(families)[-1] or family[1]:
                raise ValueError(f"not after its type: {line}")
            elif what == "UNIT" and not name.endswith("_" + text):
                raise ValueError(line)
            continue
        sample = re.fullmatch(
            r'([a-z_]+)(\{[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\[\\"n])*")*\}) '
            r"(\d+)", line)
        if not sample:
            raise ValueError(line)
        name, labels, value = sample.groups()
        suffix = {"counter": "_total"}.get(family[0], "")
        if name != list(families)[-1] + suffix or labels in family[1]:
            raise ValueError(line)
        family[1][labels] = int(value)
    return families


class Status(ServedCacheTest):
    def setUp(self):
        super().setUp()
        self.must_serve("--create")

    def test_tells_the_settings_of_the_policy_which_can_be_changed(self):
        self.must_ctl("message", "read_touches", "4")
        self.assertIn(" sift 8 read_touches 4 write_touches 3 fill_budget 0 clean_after 60 rw",
                      self.must_ctl("status"))
        refused = self.ctl("message", "read_touches", "0")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("read_touches is auto or 1 to 31, not '0'", refused.stderr)

    def test_is_the_kernels_line(self):
        self.assertRegex(self.must_ctl("status"), STATUS)

    def test_json_says_the_same(self):
        nbdcopy(self.image(), self.uri)
        self.must_ctl("set", "mode", "writethrough")
        self.must_ctl("clean")
        self.must_ctl("set", "mode", "writeback")
        said = json.loads(self.must_ctl("status", "--json"))
        line = STATUS.fullmatch(self.must_ctl("status"))
        for name, value in line.groupdict().items():
            self.assertEqual(said[name], int(value), name)
        self.assertEqual((said["mode"], said["policy"], said["metadata_mode"]),
                         ("writeback", "sift", "write"))
        self.assertGreater(said["write_hits"] + said["write_misses"], 0)

    def test_metrics_are_those_of_the_standard(self):
        label = f'cache="{self.control}"'  # wherever the user is
        done = run("cache_ctl", "--control", os.path.relpath(self.control), "status", "--metrics")
        families = parse_metrics(done.stdout)
        self.assertEqual(families["dmcache_cache_blocks"], ("gauge", {f"{{{label}}}": 128}))
        self.assertEqual(families["dmcache_origin_size_bytes"][1][f"{{{label}}}"], 32 << 20)
        self.assertEqual(len(families["dmcache_requests"][1]), 4)
        self.assertEqual(sum(families["dmcache_mode"][1].values()), 1)

    def test_human(self):
        text = self.must_ctl("status", "--human")
        self.assertIn("cache       128 blocks of 64 KiB: 0 used (0.0 %), 0 dirty (0.0 %)\n", text)
        self.assertIn("reads       0 hits, ", text)

    def test_watch_tells_rates_until_the_cache_is_gone(self):
        with subprocess.Popen([BIN / "cache_ctl", "--control", self.control, "status", "--watch"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher:
            while "; now " not in watcher.stdout.readline():
                pass
            self.must_ctl("stop")
            _, said = watcher.communicate(timeout=PATIENCE)
            self.assertEqual(watcher.returncode, 3)
            self.assertIn("the server ended", said)

    def test_watch_redraws_on_a_terminal(self):
        main, terminal = pty.openpty()
        with subprocess.Popen([BIN / "cache_ctl", "--control", self.control, "status", "--watch"],
                              stdout=terminal) as watcher:
            seen = b""
            while seen.count(b"\x1b[Hmode ") < 2:
                seen += os.read(main, 1000)
            watcher.terminate()
        self.assertIn(b"\x1b[K\r\n", seen)
        for each in (main, terminal):
            os.close(each)

    def test_watch_ends_with_its_reader(self):
        done = subprocess.run(f"{BIN}/cache_ctl --control {self.control} status --watch | head -n 1",
                              shell=True, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.stdout.count("\n"), 1)

    def test_one_form_at_a_time(self):
        for wrong in (["status", "--json", "--human"], ["clean", "--json"]):
            done = self.ctl(*wrong)
            self.assertEqual(done.returncode, 2)
            self.assertIn("are forms of the status, one at a time", done.stderr)


class Control(ServedCacheTest):
    def setUp(self):
        super().setUp()
        self.must_serve("--create")

    def refuse(self, status, text, *request):
        done = self.ctl(*request)
        self.assertEqual((done.returncode, done.stdout), (status, ""))
        self.assertIn(text, done.stderr)

    def field(self, name):
        return json.loads(self.must_ctl("status", "--json"))[name]

    def make_dirty(self):
        """Writes to some blocks until the cache holds them."""
        piece = self.image("piece", 1 << 20)
        while not self.field("cache_blocks_dirty"):
            nbdcopy(piece, self.uri)

    def set_passthrough_while_dirty(self):
        """On a busy machine the cache may be idle, and clean, before it is asked."""
        while True:
            self.make_dirty()
            done = self.ctl("set", "mode", "passthrough")
            if done.returncode != 0:
                return done
            self.must_ctl("set", "mode", "writeback")

    def test_messages(self):
        self.must_ctl("message", "migration_threshold", "4096")
        self.assertEqual(self.field("migration_threshold_sectors"), 4096)
        self.must_ctl("message", "migration_threshold", "1.5MiB")
        self.assertEqual(self.field("migration_threshold_sectors"), 3072)
        self.must_ctl("message", "0", "migration_threshold", "2m")  # as for dmsetup
        self.assertEqual(self.field("migration_threshold_sectors"), 4096)
        self.refuse(2, "'7'", "message", "7", "migration_threshold")
        self.refuse(2, "a message is a key and a value", "message", "0")
        self.refuse(2, "migration_threshold: 'many' is no size", "message",
                    "migration_threshold", "many")
        self.refuse(2, "a message is a key and a value", "message", "alone")
        self.refuse(1, "in passthrough mode only", "message", "invalidate_cblocks", "1-2")
        self.must_ctl("set", "mode", "passthrough")
        self.must_ctl("message", "invalidate_cblocks", "1-2", "7")
        self.refuse(2, "no cache blocks '9-3'", "message", "invalidate_cblocks", "9-3")

    def test_modes(self):
        refused = self.set_passthrough_while_dirty()
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn("clean it first", refused.stderr)
        self.must_ctl("set", "mode", "writethrough")
        self.must_ctl("clean")
        self.assertEqual(self.field("cache_blocks_dirty"), 0)
        self.must_ctl("set", "mode", "passthrough")
        self.assertEqual(self.field("mode"), "passthrough")
        self.refuse(2, "'sideways' is no mode: writeback, writethrough and passthrough are", "set",
                    "mode", "sideways")

    def test_policies(self):
        self.must_ctl("set", "policy", "cleaner")
        self.assertEqual(self.field("policy"), "cleaner")
        self.refuse(2, "'fifo'", "set", "policy", "fifo")
        self.refuse(2, "each with a value", "set", "policy", "smq", "key")
        self.assertEqual(self.field("policy"), "cleaner")

    def test_stop(self):
        self.must_ctl("stop")
        self.assertIn("cleanly shut down: sound", self.check())
        self.assertFalse(self.control.exists())
        self.refuse(3, f"no cache listens at {self.control}: No such file or directory: serve it "
                       f"with cache_serve --control {self.control}", "stop")

    def hold_dirty(self):
        """16 blocks, until somebody asks for them."""
        self.must_ctl("set", "cleaning", "on-request")
        piece = self.image("piece", 1 << 20)
        nbdcopy(piece, self.uri)
        self.assertEqual(self.field("cache_blocks_dirty"), 16)
        return piece.read_bytes()

    def test_stop_says_what_the_origin_lacks(self):
        self.hold_dirty()
        done = self.ctl("stop")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, "", "cache_ctl: 16 dirty blocks, 1 MiB, are on the fast device alone: "
                                 "the origin is not complete without it\n"))
        self.assertIn("16 dirty, cleanly shut down: sound", self.check())

    def test_stop_clean_writes_all_back_before(self):
        written = self.hold_dirty()
        done = self.ctl("stop", "--clean")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertIn("16 mapped, 0 dirty, cleanly shut down: sound", self.check())
        self.assertEqual(self.origin.read_bytes()[:len(written)], written)

    def test_settings_of_what_is_dirty(self):
        self.must_ctl("set", "max-dirty", "512k")
        self.assertEqual(self.field("cache_blocks_dirty_max"), 8)
        self.must_ctl("set", "cleaning", "on-request")
        nbdcopy(self.image("piece", 1 << 20), self.uri)
        self.assertEqual(self.field("cache_blocks_dirty"), 8)
        self.assertEqual(self.field("cleaning"), "on-request")
        self.must_ctl("message", "max_dirty", "50%")
        self.assertIn("8 dirty (6.2 %; at most 50.0 %)", self.must_ctl("status", "--human"))
        self.refuse(2, "cleaning is background or on-request, not 'never'", "set", "cleaning", "never")
        self.refuse(2, "'101%' is no share of the cache: 0% to 100% are", "set", "max-dirty", "101%")
        self.refuse(2, "'much' is no size", "set", "max-dirty", "much")
        self.refuse(2, "'100' has no unit", "set", "max-dirty", "100")
        self.must_ctl("message", "0", "max_dirty", "2048")  # sectors, in messages
        self.assertEqual(self.field("cache_blocks_dirty_max"), 16)

    def test_a_dead_server_is_told_from_a_living_one(self):
        self.kill_all_servers()
        self.refuse(3, f"no cache listens at {self.control}: Connection refused", "status")

    def test_an_nbd_socket_is_told_from_a_control_socket(self):
        done = run("cache_ctl", "--control", self.socket, "status")
        self.assertEqual((done.returncode, done.stderr), (
            3, f"cache_ctl: {self.socket} is an NBD socket: the control socket is the one of "
               f"cache_serve --control, by default {self.socket}.ctl\n"))

    def test_wrong_usage(self):
        self.refuse(2, "'frobnicate' is no request: status, advise, explain, record, message, set, "
                       "clean, verify, resize and stop are", "frobnicate")
        self.refuse(2, "--clean goes with stop", "clean", "--clean")
        self.refuse(2, "requests are: status, advise, explain BYTE, record, message WORD..., ", "set", "colour",
                    "blue")
        for words in (["set"], ["set", "mode"]):
            self.refuse(2, "set what? set mode MODE, or set policy NAME [KEY VALUE]...", *words)
        self.refuse(2, "printable characters", "message", "a\nstop")
        self.refuse(2, "a request has at most 4096 bytes", "message", "key", "v" * 5000)
        self.assertIn("No request given.", self.ctl().stderr)
        self.assertIn("No --control given.", run("cache_ctl", "status").stderr)


class Socket(ServedCacheTest):
    def setUp(self):
        super().setUp()
        self.must_serve("--create")

    def connect_to_control(self):
        made = socket.socket(socket.AF_UNIX)
        self.addCleanup(made.close)
        made.settimeout(PATIENCE)
        made.connect(str(self.control))
        return made

    def say(self, data):
        made = self.connect_to_control()
        try:
            made.sendall(data)
            return made.makefile("rb").readline()
        except (BrokenPipeError, ConnectionResetError):
            return b""

    def test_is_its_users_alone(self):
        self.assertEqual(stat.S_IMODE(self.control.stat().st_mode), 0o600)

    def test_garbage_harms_nobody(self):
        seed = int(os.environ.get("DMCACHE_SEED", time.time_ns()))
        chance = random.Random(seed)
        idle = self.connect_to_control()
        with self.subTest(seed=seed):
            for size in [1, 10, 4095, 4096, 4097, 100000] * 5:
                answer = self.say(chance.randbytes(size) + b"\n")
                self.assertTrue(answer == b"" or answer.startswith(b"error usage "), answer)
        self.assertEqual(self.say(b"x" * 5000), b"error usage a request has at most 4096 bytes\n")
        for size in range(6):
            self.connect_to_control().sendall(b"status"[:size])
        idle.sendall(b"status\n")
        self.assertTrue(idle.makefile("rb").readline().startswith(b"ok {"))
        self.assertRegex(self.must_ctl("status"), STATUS)

    def test_requests_can_follow_each_other(self):
        made = self.connect_to_control()
        made.sendall(b"status\nmessage migration_threshold 4096\n status \n")
        lines = made.makefile("rb")
        self.assertEqual(json.loads(lines.readline()[3:])["migration_threshold_sectors"], 2048)
        answer = lines.readline()
        while answer.startswith(b"progress "):
            answer = lines.readline()
        self.assertEqual(answer, b"ok\n")
        self.assertEqual(json.loads(lines.readline()[3:])["migration_threshold_sectors"], 4096)


if __name__ == "__main__":
    unittest.main()
