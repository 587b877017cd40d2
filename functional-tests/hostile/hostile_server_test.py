"""Clients who do all that no client should, at the sockets of a cache that is served, while
others write and read. Those lose nothing that was acknowledged; whatever happens to nbdkit, the
cache is served again, in bounded memory, and stops in good order at the end.

A seed decides what is done in a trial; the one that went wrong is printed. DMCACHE_SEED=N begins
with this one, DMCACHE_TRIALS=N makes so many, and 0 goes on until DMCACHE_MINUTES have passed."""

import contextlib
import os
import pathlib
import random
import re
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from acknowledged_sectors import SECTOR, AcknowledgedSectors
from cache_files import ORIGIN_SIZE, PATIENCE, wait_until
from cache_serve_kill_test import GONE, Writer
from hostile_clients import HostileControlClient, HostileNbdClient, connect_to, greet
from nbd_client import NbdClient, NbdError
from seeds import SEED, seeds
from served_cache import ServedCacheTest

KEPT = ORIGIN_SIZE // 2  # bytes, which only those write to who know what they do
NR_WRITERS = 2
NR_ACTS = 20  # of each hostile client, of which there are two at each socket
NR_CHANGES_AFTERWARDS = 100
MEMORY_LIMIT = int(os.environ.get("DMCACHE_MEMORY_LIMIT", 256 << 10))  # KiB
SHUTTING_DOWN = 108


class SteadyWriter(Writer):
    """It comes again when the server is gone, until it is told to stop."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.is_over = False

    def run(self):
        while self.fault is None and not self.is_over:
            try:
                with NbdClient(self.address) as self.client:
                    while self.fault is None and not self.is_over:
                        self.do_something()
            except NbdError as refused:
                if refused.number != SHUTTING_DOWN:
                    self.fault = f"refused: {refused}"
            except GONE:  # hostile clients may have taken all places
                time.sleep(0.01)


class HostileServerTest(ServedCacheTest):
    def test_clients(self):
        for some in seeds("servers with hostile clients", default=1):
            for seed in some:
                with self.subTest(f"DMCACHE_SEED={seed} DMCACHE_TRIALS=1"):
                    self.survive(random.Random(f"hostile clients {seed}"))
                    self.doCleanups()
                    self.setUp()

    def survive(self, rng):
        disk = AcknowledgedSectors(KEPT // SECTOR)
        mode = rng.choice(("writeback", "writethrough"))
        self.supervisor = self.in_foreground("--create", "--mode", mode)
        writers = [SteadyWriter(self.socket, disk, rng.random()) for _ in range(NR_WRITERS)]
        for each in writers:
            each.start()
        try:
            self.attack(rng)
            enough = disk.nr_acknowledged + NR_CHANGES_AFTERWARDS
            wait_until(lambda: disk.nr_acknowledged >= enough or
                       any(each.fault for each in writers))
        finally:
            for each in writers:
                each.is_over = True
            for each in writers:
                each.join()
        self.assertEqual([each.fault for each in writers], [None] * NR_WRITERS)
        self.look_after(disk)
        self.stop_in_turmoil(rng)

    def attack(self, rng):
        clients = [HostileNbdClient(random.Random(rng.random()), self.socket, KEPT, ORIGIN_SIZE)
                   for _ in range(2)]
        clients += [HostileControlClient(random.Random(rng.random()), self.control)
                    for _ in range(2)]
        threads = [threading.Thread(target=lambda each=each: [each.act() for _ in range(NR_ACTS)])
                   for each in clients]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def look_after(self, disk):
        """What was acknowledged is there, and the cache can still be told what to do."""
        disk.forget_clients()
        everything = range(KEPT // SECTOR)
        with greet(self.socket) as client:
            self.assertIsNone(disk.fault_of(everything, client.read(0, KEPT)))
        wait_until(lambda: self.ctl("status").returncode == 0)
        status = pathlib.Path(f"/proc/{self.server_pid()}/status").read_text()
        if MEMORY_LIMIT:
            self.assertLess(int(re.search(r"VmHWM:\s+(\d+)", status)[1]), MEMORY_LIMIT)

    def stop_in_turmoil(self, rng):
        """Several clients stop it, while others are in the midst of a request."""
        half_said = connect_to(self.control)
        half_asked = greet(self.socket)
        requests = (b"stop\n", b"stop clean\n", b"clean\n", b"stop\n")
        stops = [connect_to(self.control) for _ in requests]
        with half_said, half_asked:
            half_said.sendall(b"set mode write")
            half_asked.socket.sendall(b"\x25\x60\x95\x13\0\0")
            stops[0].sendall(requests[0])
            for client, request in zip(stops[1:], requests[1:]):
                with contextlib.suppress(*GONE):  # the first may have stopped it by now
                    client.sendall(request)
        self.assertEqual(self.supervisor.wait(PATIENCE), 0)
        for each in stops:
            each.close()
        self.assertIn("cleanly shut down: sound", self.check())


if __name__ == "__main__":
    print(f"seed {SEED}: DMCACHE_SEED={SEED} repeats this run")
    unittest.main()
