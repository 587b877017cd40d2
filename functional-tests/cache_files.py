"""Small files that a cache is made of."""

import contextlib
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import time
import unittest

ORIGIN_SIZE = 32 << 20
FAST_SIZE = 8 << 20
METADATA_SIZE = 4 << 20
PATIENCE = 300  # seconds, after which something hangs, however busy the machine is
# What a stop says if something is dirty, and nbdkit at its end.
INCOMPLETE = re.compile(r"(?:cache_ctl|nbdkit: error): \d+ dirty blocks?, [0-9.]+ [KM]iB, (?:is|are) on "
                        r"the fast device alone: the origin is not complete without it\n")


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it takes too long")
        time.sleep(0.01)


def remove_after_servers(folder):
    """One that was told to stop may make a lock file there until it has ended."""
    def has_removed_all():
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(has_removed_all)


def hash_of(path):
    """Of its contents; holes, which most of these files are, aren't read."""
    step = 65536
    found = hashlib.sha256()
    with open(path, "rb") as file, contextlib.suppress(OSError):  # there are no data any more
        at = 0
        while True:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA) // step * step
            file.seek(at)
            data = file.read(step)
            if data != bytes(len(data)):
                found.update(b"%d " % at + data)
            at += len(data)
    return path.stat().st_size, found.hexdigest()


class CacheFilesTest(unittest.TestCase):
    """Its folder holds the devices of a cache not yet made, which will be served at the socket."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(remove_after_servers, self.folder)
        self.metadata = self.make("meta", METADATA_SIZE)
        self.fast = self.make("fast", FAST_SIZE)
        self.origin = self.make("origin", ORIGIN_SIZE)
        self.socket = self.folder / "nbd"
        self.uri = f"nbd+unix:///?socket={self.socket}"

    def make(self, name, size):
        path = self.folder / name
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def image(self, name="image", size=ORIGIN_SIZE, seed=1):
        """A file of noise."""
        path = self.folder / name
        path.write_bytes(random.Random(seed).randbytes(size))
        return path

    def devices(self):
        """As the commands take them."""
        return ["--metadata-device", self.metadata, "--fast-device", self.fast,
                "--origin-device", self.origin]

    def wait_for_devices(self):
        """Until nobody has them open any more."""
        for each in (self.metadata, self.fast, self.origin):
            subprocess.run(["flock", "--timeout", str(PATIENCE), each, "true"], check=True)
