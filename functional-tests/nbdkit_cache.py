"""A cache of small files, served by nbdkit with the plugin under test."""

import functools
import signal
import subprocess
import time

from cache_files import INCOMPLETE, PATIENCE, CacheFilesTest, wait_until
from fixture_images import BIN, run
from nbd_client import NbdClient

PLUGIN = BIN / "nbdkit-dmcache-plugin.so"
MIB = 1 << 20
BLOCK = 64 << 10
IDLE_AFTER = 0.9  # seconds, at least

def counts_dirty_blocks(test):
    """A cache that is idle for a second writes its blocks back. If a test took that long, since the
    machine is busy, its failure says nothing: it is done again. (A subtest would report it.)"""
    @functools.wraps(test)
    def patient(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            begin = time.monotonic()
            try:
                return test(self)
            except AssertionError:
                if time.monotonic() - begin < IDLE_AFTER or time.monotonic() > deadline:
                    raise
            self.doCleanups()
            self.setUp()

    return patient


class NbdkitTest(CacheFilesTest):
    """What it serves is killed at the end."""

    def setUp(self):
        super().setUp()
        self.server = None
        self.clients = []
        self.addCleanup(self.kill)

    def nbdkit(self, *options, parameters=()):
        devices = [f"metadata={self.metadata}", f"fast={self.fast}", f"origin={self.origin}"]
        return list(map(str, ["nbdkit", *options, PLUGIN, *devices, *parameters]))

    def fails(self, *parameters, options=("-U", "-")):
        """What nbdkit says when it doesn't start."""
        done = subprocess.run(self.nbdkit("-f", *options, parameters=parameters),
                              timeout=PATIENCE, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def start(self, *parameters, **keywords):
        self.socket.unlink(missing_ok=True)
        pid_file = self.folder / "pid"  # written when it listens
        pid_file.unlink(missing_ok=True)
        self.server = subprocess.Popen(
            self.nbdkit("-f", "-P", pid_file, "-U", self.socket, parameters=parameters),
            stderr=subprocess.PIPE, text=True, **keywords)
        wait_until(lambda: pid_file.exists() or self.server.poll() is not None)
        if not pid_file.exists():
            self.fail(f"nbdkit ended: {self.server.stderr.read()}")

    def create(self, *parameters, **keywords):
        self.start("create=true", f"block-size={BLOCK}b", *parameters, **keywords)

    def stop(self, number=signal.SIGTERM):
        """What nbdkit has said, at the end of a clean shutdown, but for what is dirty (`incomplete`).
        It waits for clients to go."""
        self.server.send_signal(number)
        self.dismiss_clients()
        said = self.server.communicate(timeout=PATIENCE)[1]
        self.assertEqual(self.server.returncode, 0, said)
        self.server = None
        self.incomplete = INCOMPLETE.findall(said)
        return INCOMPLETE.sub("", said)

    def dismiss_clients(self):
        for each in self.clients:
            each.vanish()
        self.clients.clear()

    def kill(self):
        self.dismiss_clients()
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server.stderr.close()
            self.server = None

    def connect(self):
        client = NbdClient(self.socket)
        self.clients.append(client)
        return client

    def check(self):
        """What cache_check says of sound metadata."""
        done = run("cache_check", self.metadata)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return done.stdout

    def client(self, *command):
        """Runs a client, which must succeed; its output."""
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True,
                              timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def write_back(self):
        self.client(BIN / "cache_writeback", *self.devices())
