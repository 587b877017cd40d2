"""cache_ctl resize: devices that grow while clients use the cache, and what is left if that is cut off."""

import contextlib
import random
import threading
import unittest

from acknowledged_sectors import SECTOR, AcknowledgedSectors, contents
from cache_files import FAST_SIZE, METADATA_SIZE, ORIGIN_SIZE, PATIENCE, wait_until
from fixture_images import run
from nbd_client import NbdClient
from served_cache import ServedCacheTest

BLOCK = 64 << 10
PAGE = range(4096 // SECTOR)
NR_WRITERS = 3
GONE = (OSError, EOFError)


def enlarge(path, more):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + more)


class ResizeTest(ServedCacheTest):
    def served_size(self):
        with NbdClient(self.socket) as client:
            return client.size


class Grows(ResizeTest):
    def test_both_devices(self):
        self.must_serve("--create")
        with NbdClient(self.socket) as client:
            for offset in range(0, 64 * BLOCK, BLOCK):
                client.write(offset, bytes([offset // BLOCK]) * BLOCK)
            enlarge(self.origin, ORIGIN_SIZE)
            enlarge(self.fast, FAST_SIZE)
            self.assertEqual(self.served_size(), ORIGIN_SIZE, "nobody has asked for more")
            self.assertEqual(self.must_ctl("resize"),
                             "the origin has 131072 sectors, and had 65536: clients see that when they "
                             "connect anew; the fast device has 256 cache blocks, and had 128\n")
            self.assertEqual(client.read(63 * BLOCK, BLOCK), bytes([63]) * BLOCK, "it stays connected")
        self.assertEqual(self.must_ctl("resize"), "the devices are as large as before\n")
        with NbdClient(self.socket) as client:
            self.assertEqual(client.size, 2 * ORIGIN_SIZE)
            client.write(2 * ORIGIN_SIZE - BLOCK, b"n" * BLOCK)
            client.flush()
            for offset in range(0, 64 * BLOCK, BLOCK):
                self.assertEqual(client.read(offset, BLOCK), bytes([offset // BLOCK]) * BLOCK)
        self.must_ctl("stop")
        self.wait_for_devices()
        self.assertIn(" 256 cache blocks, ", self.check())
        self.assertIn("cleanly shut down: sound", self.check())
        self.assertIn('nr_cache_blocks="256"', run("cache_dump", self.metadata).stdout)
        self.must_serve()  # as large as it is, without a word
        with NbdClient(self.socket) as client:
            self.assertEqual(client.read(2 * ORIGIN_SIZE - BLOCK, BLOCK), b"n" * BLOCK)

    def test_a_server_that_dies_afterwards_is_started_again(self):
        self.make_cache()
        for tracking in ("exact", "at-shutdown"):
            self.must_serve("--dirty-tracking", tracking)
            enlarge(self.origin, 1 << 20)
            self.must_ctl("resize")
            size = self.origin.stat().st_size
            self.kill_server()
            with self.connect() as client:
                self.assertEqual(client.size, size)
            self.must_ctl("stop")
            self.wait_for_devices()


class Refuses(ResizeTest):
    def test_a_cache_that_can_not_be_opened_again(self):
        """Its metadata were overwritten while it was served, which nobody has read since."""
        server = self.in_foreground("--create")
        with NbdClient(self.socket) as client:
            client.write(0, b"d" * BLOCK)
            client.flush()
        with open(self.metadata, "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (METADATA_SIZE - 4096))
        enlarge(self.origin, BLOCK)
        done = self.ctl("resize")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, "^cache_ctl: .*: the cache was shut down to be resized, and can't be "
                                      "opened again\n$")
        self.assertEqual(server.wait(PATIENCE), 1)
        self.assertIn("can't be opened again", server.stderr.read())

    def test_a_device_that_has_shrunk(self):
        self.must_serve("--create")
        enlarge(self.origin, -BLOCK)
        done = self.ctl("resize")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (1, "", "cache_ctl: the origin has 33488896 bytes, and had 33554432: to use it "
                                 "smaller, stop the cache, and start it with --accept-resize\n"))
        self.assertEqual(self.served_size(), ORIGIN_SIZE)

    def test_more_words(self):
        self.must_serve("--create")
        self.assertEqual(self.ctl("resize", "4g").returncode, 2)


class Writer(threading.Thread):
    """A client that writes pages until it is told to end, or the server is gone."""

    def __init__(self, test, disk, number):
        super().__init__()
        self.client = test.connect()
        self.disk = disk
        self.chance = random.Random(number)
        self.is_over = False
        self.is_gone = False

    def run(self):
        with self.client, contextlib.suppress(*GONE):
            while not self.is_over:
                first = self.chance.randrange(len(self.disk.allowed) // len(PAGE)) * len(PAGE)
                sectors = range(first, first + len(PAGE))
                if self.disk.reserve(sectors):
                    change = self.disk.submit(sectors)
                    self.client.write(first * SECTOR, contents(sectors, change))
                    self.disk.acknowledge(sectors, change)
                    self.disk.release(sectors)
            return
        self.is_gone = True


class LosesNothing(ResizeTest):
    """Of what clients write meanwhile."""

    def setUp(self):
        super().setUp()
        self.disk = AcknowledgedSectors(FAST_SIZE // 2 // SECTOR)
        self.supervisor = self.in_foreground("--create")

    def connect(self):
        """To a new server if there is none any more."""
        made = []

        def is_connected():
            if self.supervisor.poll() is not None:
                self.supervisor = self.in_foreground("--accept-resize")
            with contextlib.suppress(*GONE):
                made.append(NbdClient(self.socket))
            return made

        wait_until(is_connected)
        return made[0]

    def while_written_to(self, action):
        writers = [Writer(self, self.disk, number) for number in range(NR_WRITERS)]
        for each in writers:
            each.start()
        enough = self.disk.nr_acknowledged + 200
        wait_until(lambda: self.disk.nr_acknowledged >= enough)
        action()
        for each in writers:
            each.is_over = True
        for each in writers:
            each.join()
        self.disk.forget_clients()
        return writers

    def read_everything(self):
        everything = range(len(self.disk.allowed))
        with self.connect() as client:
            data = client.read(0, len(everything) * SECTOR)
        self.assertIsNone(self.disk.fault_of(everything, data))

    def test_when_it_is_resized_again_and_again(self):
        def resize_often():
            for _ in range(5):
                enlarge(self.origin, BLOCK)
                enlarge(self.fast, BLOCK)
                self.assertIn("cache blocks, and had", self.must_ctl("resize"))
                enough = self.disk.nr_acknowledged + 100
                wait_until(lambda: self.disk.nr_acknowledged >= enough)

        writers = self.while_written_to(resize_often)
        self.assertFalse(any(each.is_gone for each in writers), "they only wait")
        self.read_everything()
        self.must_ctl("stop")
        self.assertEqual(self.supervisor.wait(PATIENCE), 0)
        self.assertIn("cleanly shut down: sound", self.check())

    def test_when_the_server_is_killed_on_the_way(self):
        """Before the clean shutdown, after it, or when all is done. The one who starts it again takes
        the new sizes if the resize has begun, and refuses them else."""
        chance = random.Random(1)

        def kill_soon():
            enlarge(self.origin, BLOCK)
            enlarge(self.fast, BLOCK)
            resizing = threading.Thread(target=self.ctl, args=("resize",))
            resizing.start()
            threading.Event().wait(chance.random() * 0.05)
            self.kill_server()
            resizing.join()

        for _ in range(4):
            self.while_written_to(kill_soon)
            self.read_everything()
            self.must_ctl("resize")  # if it has not come so far
            self.assertEqual(self.served_size(), self.origin.stat().st_size)
        self.must_ctl("stop")
        self.assertEqual(self.supervisor.wait(PATIENCE), 0)
        self.assertIn("cleanly shut down: sound", self.check())


if __name__ == "__main__":
    unittest.main()
