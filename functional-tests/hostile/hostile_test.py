"""Hostile metadata, documents and packs, given to all tools that read such: each ends by itself, in
time, in bounded memory, with a status of its own, and leaves its input as it was. What is restored,
repaired or unpacked and said to be fine is sound.

A seed decides a trial; the one that went wrong is printed. DMCACHE_SEED=N begins with this one,
DMCACHE_TRIALS=N makes so many, and 0 goes on until DMCACHE_MINUTES have passed."""

import concurrent.futures
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from fixture_images import BIN, Image, run
from hostile_documents import hostile_document, hostile_pack
from hostile_images import HostileImage
from seeds import SEED, seeds

DEFAULT_TRIALS = 12  # of each kind
MEMORY_LIMIT = int(os.environ.get("DMCACHE_MEMORY_LIMIT", 256 << 10))  # KiB
PATIENCE = 300  # seconds, after which a command hangs
LARGEST_FILE = 64 << 20


def limit():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


class Trial:
    """One input, given to the tools for its kind."""

    def __init__(self, seed, folder):
        self.rng = random.Random(f"hostile {seed}")
        self.folder = folder
        self.output = folder / "output"
        self.problems = []

    def run(self, source, command, *arguments):
        """The status of the command. `source` is its input, which it must not change."""
        before = source.read_bytes()
        log = self.folder / "log"
        with open(log, "wb") as errors:
            process = subprocess.Popen([BIN / command, *map(str, arguments)], stderr=errors,
                                       stdout=subprocess.DEVNULL, preexec_fn=limit)
            deadline = time.monotonic() + PATIENCE
            while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                if time.monotonic() > deadline:
                    process.kill()
                time.sleep(0.002)
        process.returncode = status = os.waitstatus_to_exitcode(ended[1])
        where = f"{command} {' '.join(map(str, arguments))}: status {status}"
        if status not in (0, 1, 2, 3):
            self.problems.append(f"{where}: {log.read_bytes()[-2000:]}")
        elif status != 0 and not log.read_bytes():
            self.problems.append(f"{where}: and not a word")
        if MEMORY_LIMIT and ended[2].ru_maxrss > MEMORY_LIMIT:
            self.problems.append(f"{where}: {ended[2].ru_maxrss} KiB of memory")
        if source.read_bytes() != before:
            self.problems.append(f"{where}: the input was changed")
        return status

    def check_output(self, made_by):
        if self.output.exists() and run("cache_check", "-q", self.output).returncode != 0:
            self.problems.append(f"{made_by}: the output is not sound")
        self.output.unlink(missing_ok=True)

    def image(self):
        hostile = HostileImage(self.rng)
        source = hostile.write(self.folder)
        for options in ((), ("--super-block-only",), ("--skip-mappings",)):
            self.run(source, "cache_check", *options, source)
        for options in ((), ("--repair",), ("--repair", "--as-stored")):
            document = self.folder / "document"
            if self.run(source, "cache_dump", *options, "-o", document, source) == 0:
                if self.run(document, "cache_restore", "-i", document, "-o", self.output) == 0:
                    self.check_output(f"a dump with {options}, restored")
                self.output.unlink(missing_ok=True)
        numbers = ("--block-size", "64k", "--nr-cache-blocks", self.rng.choice((256, 10**8)))
        for options in ((), ("--use-stale", "--accept-loss"), numbers):
            self.run(source, "cache_repair", "-i", source, "-o", self.output, *options)
            self.check_output(f"cache_repair with {options}")
        self.run(source, "cache_repair", "-i", source, "--list-roots")
        for options in ((), ("--all-valid",)):
            pack = self.folder / "pack"
            if self.run(source, "cache_metadata_pack", "-i", source, "-o", pack, *options) == 0:
                self.run(pack, "cache_metadata_unpack", "-i", pack, "-o", self.output)
                self.output.unlink(missing_ok=True)
        return f"{hostile.name}: {'; '.join(hostile.changes)}"

    def document(self):
        name = self.rng.choice(("v2-writeback", "v2-discards", "v1-crash"))
        dump = run("cache_dump", Image(name).write(self.folder)).stdout
        source = self.folder / "document"
        source.write_bytes(hostile_document(self.rng, dump))
        for version in (1, 2):
            if self.run(source, "cache_restore", "-i", source, "-o", self.output,
                        "--metadata-version", version) == 0:
                self.check_output("cache_restore")
            self.output.unlink(missing_ok=True)
        return name

    def pack(self):
        source = self.folder / "pack"
        run("cache_metadata_pack", "-i", Image("v2-writeback").write(self.folder), "-o", source)
        source.write_bytes(hostile_pack(self.rng, source.read_bytes()))
        self.run(source, "cache_metadata_unpack", "-i", source, "-o", self.output)
        return "v2-writeback"


def problems_of(kind, seed):
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(seed, pathlib.Path(folder))
        what = getattr(trial, kind)()
        return [f"seed {seed}, {kind} of {what}: {each}" for each in trial.problems]


class HostileTest(unittest.TestCase):
    def survive(self, kind):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for some in seeds(f"hostile {kind}s", default=DEFAULT_TRIALS, share=1 / 3):
                problems = sum(pool.map(lambda seed: problems_of(kind, seed), some), [])
                self.assertEqual(problems, [])

    def test_images(self):
        self.survive("image")

    def test_documents(self):
        self.survive("document")

    def test_packs(self):
        self.survive("pack")


if __name__ == "__main__":
    print(f"seed {SEED}: DMCACHE_SEED={SEED} repeats this run")
    unittest.main()
