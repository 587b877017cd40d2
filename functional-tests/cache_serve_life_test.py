"""cache_serve keeps its server alive: nbdkit is started again when it dies, but not after its end."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import unittest

from cache_files import PATIENCE, wait_until
from fixture_images import BIN, run
from nbd_client import READ, WRITE, NbdClient
from served_cache import NEW_CACHE, ServedCacheTest, end, parent_of, state_of

PIECE = 64 << 10
AGAIN = r"nbdkit was killed by signal {} \({}\), and is started again(?: in \d+ ms)?: nothing that was " \
        "acknowledged is lost\n"


class LivingServerTest(ServedCacheTest):
    def read_patiently(self, offset, length):
        """As a client does that connects again when the server that it reached dies."""
        found = []

        def has_read():
            with contextlib.suppress(OSError, EOFError):
                found.append(self.connect().read(offset, length))
            return found

        wait_until(has_read)
        return found[0]


class StartedAgain(LivingServerTest):
    def test_in_the_background(self):
        self.must_serve("--create")
        client = self.connect()
        client.write(0, b"f" * PIECE)
        client.flush()
        for number in (signal.SIGABRT, signal.SIGKILL):
            self.kill_server(number)
            self.assertEqual(self.connect().read(0, PIECE), b"f" * PIECE)
        self.must_ctl("status")
        self.must_ctl("stop")
        self.assertIn("cleanly shut down: sound", self.check())

    def test_in_the_foreground_and_tells(self):
        server = self.in_foreground("--create")
        self.kill_server(signal.SIGABRT)
        self.connect().vanish()
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 0)
        self.assertRegex(server.stderr.read(), "^cache_serve: " + AGAIN.format(6, "Aborted") + "$")
        self.assertEqual(server.stdout.read(), "", "the URI is told once")

    def test_with_the_settings_that_were_made_meanwhile(self):
        self.must_serve("--create", "--migration-threshold", "3m")
        self.must_ctl("set", "policy", "mq", "random_threshold", "3")
        self.must_ctl("message", "sequential_threshold", "5")
        self.must_ctl("message", "migration_threshold", "4096")
        self.must_ctl("set", "mode", "writethrough")
        self.must_ctl("set", "cleaning", "on-request")
        self.must_ctl("set", "max-dirty", "1m")
        self.assertEqual(self.ctl("message", "migration_threshold", "all").returncode, 2)
        for number in (signal.SIGABRT, signal.SIGKILL):
            self.kill_server(number)
            self.connect().vanish()
            self.assertIn(" 2 metadata2 writethrough 2 migration_threshold 4096 mq ",
                          self.must_ctl("status"))
            words = pathlib.Path(f"/proc/{self.server_pid()}/cmdline").read_text().split("\0")
            self.assertIn("policy-random_threshold=3", words)
            self.assertIn("policy-sequential_threshold=5", words)
            status = json.loads(self.must_ctl("status", "--json"))
            self.assertEqual((status["cleaning"], status["cache_blocks_dirty_max"]),
                             ("on-request", 16))
        self.must_ctl("stop")
        self.must_serve()
        self.assertIn(" 2 metadata2 writeback 2 migration_threshold 2048 mq ",
                      self.must_ctl("status"), "the command line counts for a new one")

    def test_in_writethrough_instead_of_passthrough_if_something_is_dirty(self):
        server = self.in_foreground("--create", "--mode", "passthrough")
        server.send_signal(signal.SIGSTOP)
        self.kill_server()
        document = self.folder / "document.xml"
        document.write_text('<superblock uuid="" block_size="128" nr_cache_blocks="128" policy="smq" '
                            'hint_width="4"><mappings><mapping cache_block="0" origin_block="0" '
                            'dirty="true"/></mappings><hints></hints></superblock>')
        other = self.make("other", self.metadata.stat().st_size)
        run("cache_restore", "-q", "-i", document, "-o", other)
        self.metadata.write_bytes(other.read_bytes())  # although it is locked
        server.send_signal(signal.SIGCONT)
        self.connect().vanish()
        self.assertIn(" writethrough ", self.must_ctl("status"))
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 0)
        self.assertTrue(server.stderr.read().endswith(
            "cache_serve: 1 cache blocks are dirty, which passthrough can't serve: use writeback or "
            f"writethrough until none is (metadata: {self.metadata}): the cache is served in writethrough "
            "mode\nnbdkit: error: 1 dirty block, 64 KiB, is on the fast device alone: the origin is "
            "not complete without it\n"))

    def test_although_somebody_waits_for_the_devices(self):
        """Whoever can read a file can lock it, and keep others from it."""
        server = self.in_foreground("--create")
        waiting = [subprocess.Popen(["flock", each, "true"])
                   for each in (self.metadata, self.fast, self.origin)]
        for number in (signal.SIGABRT, signal.SIGKILL):
            self.kill_server(number)
            self.connect().vanish()
        self.assertEqual([each.poll() for each in waiting], [None] * 3)
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 0)
        self.assertEqual([each.wait(PATIENCE) for each in waiting], [0] * 3)

    def test_not_if_it_is_told_to_end_before(self):
        server = self.in_foreground("--create")
        for _ in range(6):
            self.connect().vanish()
            self.kill_server()
            said = server.stderr.readline()
        self.assertIn(" again in 1600 ms: ", said)
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 1)
        self.assertEqual(server.stderr.read(), "cache_serve: was told to end before nbdkit was started "
                         "again: nothing that was acknowledged is lost\n")

    def test_although_nobody_hears_it(self):
        server = self.in_foreground("--create")
        server.stderr.close()
        self.kill_server()
        self.connect()
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 0)

    def test_at_a_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        uri = f"nbd://localhost:{port}"
        run("cache_serve", *self.devices(), "--control", self.control, "--create", "--port", port)
        self.kill_server()
        wait_until(lambda: subprocess.run(["nbdinfo", "--size", uri],
                                          capture_output=True).returncode == 0)

    def test_while_a_command_runs(self):
        again = ('kill -9 $(pgrep -P $PPID nbdkit); '
                 'until nbdinfo --size "$uri" 2>errors; do sleep 0.1; done')
        done = run("cache_serve", *self.devices(), "--create", "--run", again, cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout), (0, f"{32 << 20}\n"))
        self.assertRegex(done.stderr, AGAIN.format(9, "Killed"))
        self.assertIn("cleanly shut down: sound", self.check())

    def test_after_a_client_vanished_with_many_requests_under_way(self):
        """nbdkit 1.32 may abort then."""
        self.must_serve("--create")
        client = self.connect()
        client.write(0, b"s" * PIECE)
        client.flush()
        first = self.server_pid()
        for _ in range(20):
            if self.server_pid() != first:
                break
            with contextlib.suppress(OSError):  # since it aborts just now
                client = self.connect()
                for i in range(1, 17):
                    client.send(READ, i * PIECE, 4096)
                    client.send(WRITE, i * PIECE, 4096, data=b"v" * 4096)
                client.vanish()
        self.assertEqual(self.read_patiently(0, PIECE), b"s" * PIECE)

    def test_however_often_it_dies(self):
        """After longer and longer pauses."""
        server = self.in_foreground("--create")
        for _ in range(6):
            self.connect().vanish()
            self.kill_server()
        self.connect().vanish()
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 0)
        self.assertEqual(re.findall(r" again(?: in (\d+) ms)?: ", server.stderr.read()),
                         ["", "100", "200", "400", "800", "1600"])

    def test_not_if_it_cannot_be(self):
        server = self.in_foreground("--create")
        self.metadata.rename(self.folder / "moved")
        self.kill_server()
        self.assertEqual(server.wait(PATIENCE), 1)
        said = server.stderr.read()
        self.assertIn(f"Couldn't find {self.metadata}", said)
        self.assertIn("nbdkit could not serve the cache: it says why above", said)


class Ended(LivingServerTest):
    """Whatever its clients do."""

    def setUp(self):
        super().setUp()
        self.make_cache()

    def test_by_stop_while_a_client_is_idle(self):
        self.must_serve()
        client = self.connect()
        client.write(0, b"f" * PIECE)
        self.must_ctl("stop")
        self.assertIsNone(self.server_pid())
        with self.assertRaises((EOFError, OSError)):
            client.read(0, PIECE)
        self.assertIn("cleanly shut down: sound", self.check())

    def test_by_a_signal_while_a_client_is_idle(self):
        server = self.in_foreground()
        self.connect()
        server.terminate()
        self.assertEqual((server.wait(PATIENCE), server.stderr.read()), (0, ""))
        self.assertIn("cleanly shut down: sound", self.check())

    def test_by_stop_although_nbdkit_aborts_at_its_end(self):
        server = self.in_foreground()
        self.connect()  # nbdkit waits for this one
        pid = self.server_pid()
        stop = self.begin("cache_ctl", "--control", self.control, "stop")
        wait_until(lambda: not self.control.exists())
        os.kill(pid, signal.SIGABRT)
        self.assertEqual(stop.wait(PATIENCE), 0)
        self.assertEqual((server.wait(PATIENCE), server.stderr.read()), (0, ""))
        self.assertIsNone(self.server_pid())

    def stop_and_hold_the_server(self):
        """After the cache is shut down. False if the server has ended sooner, which it may at any
        time, although a client is connected: nbdkit can abort then."""
        self.must_serve()
        self.connect()
        self.server = self.server_pid()
        self.supervisor = parent_of(self.server)
        self.stop = self.begin("cache_ctl", "--control", self.control, "stop")
        wait_until(lambda: not self.control.exists())
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.server, signal.SIGSTOP)
        wait_until(lambda: state_of(self.server) in ("T", "Z", None))
        return state_of(self.server) == "T"

    def test_by_stop_which_tells_of_what_does_not_end(self):
        while not self.stop_and_hold_the_server():
            self.stop.wait(PATIENCE)
        try:
            self.assertEqual(self.stop.wait(PATIENCE), 1)
            self.assertEqual(self.stop.stderr.read(),
                             f"cache_ctl: the cache at {self.control} is shut down, but its server "
                             "hasn't ended within 30 seconds: end it by kill\n")
        finally:
            os.kill(self.server, signal.SIGCONT)
        wait_until(lambda: not pathlib.Path(f"/proc/{self.supervisor}/fd").exists())

    def test_although_somebody_else_has_the_devices_at_once(self):
        supervisor = self.in_foreground()
        supervisor.send_signal(signal.SIGSTOP)
        self.must_ctl("stop")
        with open(self.metadata, "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            supervisor.send_signal(signal.SIGCONT)
            self.assertEqual((supervisor.wait(PATIENCE), supervisor.stderr.read()), (0, ""))

    def test_by_a_shutdown_that_is_not_clean(self):
        # The signal for files that would grow too large is ignored, as Python does.
        server = self.in_foreground("--dirty-tracking", "at-shutdown", restore_signals=False)
        resource.prlimit(self.server_pid(), resource.RLIMIT_FSIZE, (0, 0))
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 1)
        said = server.stderr.read()
        self.assertIn("nbdkit: error: not cleanly shut down", said)
        self.assertTrue(said.endswith("cache_serve: nbdkit failed, and all that is cached may count "
                                      "as dirty: it says why above\n"), said)
        self.assertIn("not cleanly shut down", self.check())

    def test_with_its_command_even_if_that_would_go_on(self):
        server = self.begin("cache_serve", *self.devices(), "--run",
                            "trap '' TERM; touch runs; exec sleep 600", cwd=self.folder)
        wait_until((self.folder / "runs").exists)
        os.kill(self.server_pid(), signal.SIGTERM)
        self.assertEqual(server.wait(PATIENCE), 128 + 9)
        self.assertIn("cleanly shut down: sound", self.check())

    def begin(self, command, *arguments, **keywords):
        process = subprocess.Popen([str(each) for each in [BIN / command, *arguments]],
                                   stderr=subprocess.PIPE, text=True, **keywords)
        self.addCleanup(process.stderr.close)
        return process


class Background(LivingServerTest):
    def supervisor_pid(self):
        return parent_of(self.server_pid())

    def test_has_left_the_terminal_and_the_folder(self):
        self.must_serve("--create")
        for pid in (self.supervisor_pid(), self.server_pid()):
            self.assertEqual(os.getsid(pid), pid)
        folder = pathlib.Path(f"/proc/{self.supervisor_pid()}")
        self.assertEqual(os.readlink(folder / "cwd"), "/")
        for number in range(3):
            self.assertEqual(os.readlink(folder / "fd" / str(number)), "/dev/null")

    def test_a_signal_is_a_clean_shutdown(self):
        self.must_serve("--create")
        end(self.supervisor_pid(), signal.SIGTERM)
        self.assertIsNone(self.server_pid())
        self.assertIn("cleanly shut down: sound", self.check())

    def test_holds_nothing_that_it_inherited(self):
        with open(self.make("lock", 0)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.serve("--create", pass_fds=[lock.fileno()])
        with open(self.folder / "lock") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_leaves_no_socket_behind(self):
        self.must_serve("--create")
        self.must_ctl("stop")
        wait_until(lambda: not self.socket.exists())
        self.assertFalse(self.control.exists())

    def test_tells_a_file(self):
        log = self.folder / "log"
        self.must_serve("--create", "--log", log)
        self.kill_server(signal.SIGABRT)
        wait_until(lambda: log.stat().st_size)
        self.assertRegex(log.read_text(), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ cache_serve: " +
                         AGAIN.format(6, "Aborted") + "$")
        self.assertEqual(log.stat().st_mode & 0o777, 0o600)

    def test_tells_standard_error(self):
        server = subprocess.Popen([str(each) for each in [
            BIN / "cache_serve", *self.devices(), *self.addresses(), "--create", "--log", "stderr"]],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(server.stderr.close)
        self.assertEqual(server.wait(PATIENCE), 0)
        self.kill_server(signal.SIGABRT)
        self.assertRegex(server.stderr.readline(), NEW_CACHE)
        self.assertRegex(server.stderr.readline(), "^cache_serve: " + AGAIN.format(6, "Aborted"))

    def test_what_nbdkit_says_before_it_answers_is_passed_on(self):
        lines = [f"{number} " + "x" * 1000 for number in range(40)]
        nbdkit = self.folder / "nbdkit"
        nbdkit.write_text(f"""#!{sys.executable}
import os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[sys.argv.index("--unix") + 1])
listening.listen()
client, _ = listening.accept()
os.write(2, {chr(10).join([*lines, ""])!r}.encode())
client.send(b"NBDMAGICIHAVEOPT")
with open("{self.folder}/process", "w") as file:
    file.write(str(os.getpid()))
signal.pause()
""")
        nbdkit.chmod(0o755)
        done = self.serve("--create", env=os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}"})
        process = self.folder / "process"
        wait_until(lambda: process.is_file() and process.read_text())
        end(int(process.read_text()), signal.SIGTERM)
        self.assertEqual((done.returncode, NEW_CACHE.sub("", done.stderr).splitlines()), (0, lines))

    def test_has_as_many_clients_as_it_may(self):
        self.must_serve("--create", "--max-connections", "2")
        first, _ = self.connect(), self.connect()
        with self.assertRaises((OSError, EOFError)):
            NbdClient(self.socket)
        self.assertEqual(first.read(0, 512), bytes(512))
        first.vanish()
        self.connect()

    def test_tells_the_systems_log(self):
        """In a namespace, where that is the test's."""
        devices = self.folder / "dev"
        devices.mkdir()
        (devices / "null").touch()
        inside = (f"mount --bind /dev/null {devices}/null && mount --bind {devices} /dev && "
                  'exec "$@"')
        namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, "sh"]
        if subprocess.run([*namespace, "true"], capture_output=True).returncode != 0:
            self.skipTest("without namespaces of its own")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(devices / "log"))
            log.settimeout(PATIENCE)
            subprocess.run([str(each) for each in [
                *namespace, BIN / "cache_serve", *self.devices(), *self.addresses(), "--create"]],
                check=True, stdout=subprocess.DEVNULL)
            self.kill_server(signal.SIGABRT)
            self.assertRegex(log.recv(1000).decode(),
                             r"cache_serve\[\d+\]: " + AGAIN.format(6, "Aborted").strip() + "$")
            self.connect().send(WRITE, 1 << 40, PIECE, data=b"x" * PIECE)
            self.assertRegex(log.recv(1000).decode(), r"cache_serve\[\d+\]: nbdkit: .* error: invalid request")


if __name__ == "__main__":
    unittest.main()
