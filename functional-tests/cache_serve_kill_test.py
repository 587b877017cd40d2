"""Nothing that was acknowledged is lost when the processes that serve a cache are killed.

Clients write at the same time, mostly without a flush. At some moment nbdkit, cache_serve or both
are killed; when the cache is served again, each sector holds what was acknowledged last, or a change
that was not answered. By hand, "--rounds N --seed S --mode MODE" does more of it, and "--minutes N"
goes on for so long.
"""

import argparse
import contextlib
import itertools
import os
import random
import select
import sys
import threading
import time
import unittest

from acknowledged_sectors import SECTOR, ZEROES, AcknowledgedSectors, contents
from cache_files import FAST_SIZE, ORIGIN_SIZE, PATIENCE, wait_until
from nbd_client import FUA, NbdClient, NbdError
from served_cache import ServedCacheTest, end

PAGE = 4096 // SECTOR
BLOCK = (64 << 10) // SECTOR
NR_CLIENTS = 4
GONE = (OSError, EOFError)


class Writer(threading.Thread):
    """A client that changes and reads what it likes until the server is gone. If it is refused
    anything before that, or reads what it may not, it says so."""

    def __init__(self, address, disk, seed):
        super().__init__()
        self.address = address
        self.disk = disk
        self.chance = random.Random(seed)
        self.fault = None

    def run(self):
        try:
            with NbdClient(self.address) as self.client:
                while self.fault is None:
                    self.do_something()
        except NbdError as refused:
            if refused.number != 108:  # it is being shut down
                self.fault = f"refused: {refused}"
        except GONE:
            pass

    def some_sectors(self):
        """Some pages of a block, a whole one, or more than one."""
        nr_sectors = len(self.disk.allowed)
        block = self.chance.choice([int(self.chance.paretovariate(0.5)),
                                    self.chance.randrange(nr_sectors)]) * BLOCK % nr_sectors
        kind = self.chance.random()
        if kind < 0.55:
            first = block + self.chance.randrange(BLOCK // PAGE) * PAGE
            return range(first, min(first + self.chance.randint(1, 4) * PAGE, nr_sectors))
        if kind < 0.95:
            return range(block, block + BLOCK)
        first = block + self.chance.randrange(BLOCK)
        return range(first, min(first + 2 * BLOCK, nr_sectors))

    def do_something(self):
        sectors = self.some_sectors()
        if not self.disk.reserve(sectors):
            return
        kind = self.chance.random()
        if kind < 0.75:
            self.write(sectors, FUA if self.chance.random() < 0.05 else 0)
        elif kind < 0.8:
            self.zero(sectors)
        elif kind < 0.88:
            self.discard(sectors)
        elif kind < 0.98:
            self.read(sectors)
        else:
            self.client.flush()
        # What is not answered stays reserved: it is still under way as far as anybody knows.
        self.disk.release(sectors)

    def where(self, sectors):
        return sectors.start * SECTOR, len(sectors) * SECTOR

    def write(self, sectors, flags):
        change = self.disk.submit(sectors)
        self.client.write(sectors.start * SECTOR, contents(sectors, change), flags)
        self.disk.acknowledge(sectors, change)

    def zero(self, sectors):
        self.disk.submit_zeroes(sectors)
        self.client.zero(*self.where(sectors))
        self.disk.acknowledge(sectors, ZEROES)

    def discard(self, sectors):
        """What is written into discarded blocks then is promoted without a copy."""
        self.disk.submit_discard(sectors)
        self.client.trim(*self.where(sectors))
        self.write(sectors[:PAGE], 0)

    def read(self, sectors):
        self.fault = self.disk.fault_of(sectors, self.client.read(*self.where(sectors)))


class Killed(ServedCacheTest):
    """One cache is killed again and again."""

    def setUp(self):
        super().setUp()
        self.disk = AcknowledgedSectors(ORIGIN_SIZE // SECTOR)
        self.supervisor = None

    def test_in_writethrough(self):
        self.run_rounds("writethrough", rounds=range(4), seed=1)

    def test_in_writeback(self):
        self.run_rounds("writeback", rounds=range(4), seed=1)

    def run_rounds(self, mode, rounds, seed):
        self.mode = mode
        self.chance = random.Random(seed)
        self.start_supervisor("--create")
        nr_rounds = 0
        for number in rounds:
            nr_rounds += 1
            with self.subTest(mode=mode, seed=seed, round=number):
                self.prepare()
                how = self.chance.choice([self.kill_nbdkit, self.kill_nbdkit, self.kill_supervisor,
                                          self.kill_both])
                self.write_until_killed(how)
                with self.connect_again() as client:
                    self.read_everything(client, f"after {how.__name__}")
        self.must_ctl("stop")
        self.assertEqual(self.supervisor.wait(PATIENCE), 0)
        self.assertIn("cleanly shut down: sound", self.check())
        return nr_rounds

    def start_supervisor(self, *options):
        self.supervisor = self.in_foreground("--mode", self.mode, *options)

    def prepare(self):
        """Some blocks are cached and clean, and others free."""
        if self.mode == "writethrough":
            self.must_ctl("set", "mode", "writeback")
            with NbdClient(self.socket) as client:
                for _ in range(64):
                    block = self.chance.randrange(64) * BLOCK
                    self.write(client, range(block, block + BLOCK))
        self.must_ctl("set", "mode", "writethrough")
        self.must_ctl("clean")
        self.must_ctl("set", "mode", "passthrough")
        nr_free = self.chance.randrange(1, FAST_SIZE // SECTOR // BLOCK // 2)
        self.must_ctl("message", "invalidate_cblocks", f"0-{nr_free}")
        self.must_ctl("set", "mode", self.mode)

    def write(self, client, sectors):
        change = self.disk.submit(sectors)
        client.write(sectors.start * SECTOR, contents(sectors, change))
        self.disk.acknowledge(sectors, change)

    def write_until_killed(self, kill):
        enough = self.disk.nr_acknowledged + self.chance.choice([30, 300, 300, 3000, 3000, 12000])
        writers = [Writer(self.socket, self.disk, self.chance.random()) for _ in range(NR_CLIENTS)]
        for each in writers:
            each.start()
        wait_until(lambda: self.disk.nr_acknowledged >= enough or any(
            not each.is_alive() for each in writers))
        kill()
        for each in writers:
            each.join()
            self.assertIsNone(each.fault)
        self.disk.forget_clients()

    def kill_nbdkit(self):
        """Its supervisor starts it again, perhaps to be killed at once."""
        first = self.server_pid()
        end(first)
        if self.chance.random() < 0.3:
            wait_until(lambda: self.server_pid() not in (first, None)
                       or self.supervisor.poll() is not None)
            if self.supervisor.poll() is None:
                self.kill_server()

    def kill_supervisor(self):
        """nbdkit shuts the cache down then."""
        handle = os.pidfd_open(self.server_pid())
        self.supervisor.kill()
        self.supervisor.wait()
        wait_until(lambda: select.select([handle], [], [], 1)[0])
        os.close(handle)

    def kill_both(self):
        self.kill_all_servers()
        self.supervisor.wait()

    def connect_again(self):
        """Once it is served again, by a new supervisor if that was killed."""
        made = []

        def is_connected():
            if self.supervisor.poll() is not None:
                self.start_supervisor()
            with contextlib.suppress(*GONE):
                made.append(NbdClient(self.socket))
            return made

        wait_until(is_connected)
        return made[0]

    def read_everything(self, client, when):
        everything = range(len(self.disk.allowed))
        data = client.read(0, len(everything) * SECTOR)
        self.assertIsNone(self.disk.fault_of(everything, data), when)


def run_by_hand():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=["writeback", "writethrough"], default="writethrough")
    options = parser.parse_args()

    class ByHand(Killed):
        def runTest(self):
            end = time.monotonic() + 60 * (options.minutes or 0)
            rounds = range(options.rounds) if options.minutes is None else itertools.takewhile(
                lambda _: time.monotonic() < end, itertools.count())
            made = self.run_rounds(options.mode, rounds, options.seed)
            print(f"{made} kills in {options.mode}, nothing lost")

    done = unittest.TextTestRunner(verbosity=2).run(ByHand())
    sys.exit(not done.wasSuccessful())


if __name__ == "__main__":
    if len(sys.argv) == 1:
        unittest.main()
    run_by_hand()
