"""Calls to the system that fail, and limits on what a process may use, for all tools: each ends by
itself and with a status of its own. What went wrong is never called good, and what a command isn't
to change stays as it is. A signal in between, or a transfer that is cut short, changes nothing.

A seed decides a trial; the one that went wrong is printed. DMCACHE_SEED=N begins with this one,
DMCACHE_TRIALS=N makes so many, and 0 goes on until DMCACHE_MINUTES have passed."""

import concurrent.futures
import errno
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from faulty_commands import COMMANDS, OLD, make_files
from fixture_images import BIN
from seeds import SEED, seeds

SHIM = BIN / "faulty_calls.so"
PATIENCE = 300  # seconds, after which a command hangs
CANNOT_BE_LOADED = (127, -signal.SIGKILL)  # within the limits: so say the loader and the kernel
TRANSFERS = ("read", "write", "pread", "pwrite")
WAYS = {  # in which a call can fail; others do as "open" does
    "open": (errno.EIO, errno.ENOMEM, errno.EMFILE, errno.EACCES),
    "read": (errno.EIO, errno.EINTR, "short"), "pread": (errno.EIO, errno.EINTR, "short"),
    "write": (errno.EIO, errno.ENOSPC, errno.EINTR, "short"),
    "pwrite": (errno.EIO, errno.ENOSPC, errno.EINTR, "short"),
    "fsync": (errno.EIO, errno.ENOSPC), "fdatasync": (errno.EIO, errno.ENOSPC),
    "fallocate": (errno.EOPNOTSUPP, errno.ENOSPC), "flock": (errno.EWOULDBLOCK, errno.ENOLCK),
    "io_submit": (errno.EAGAIN, errno.ENOMEM, errno.EINTR),
    "completion": (errno.EIO, errno.ENOSPC, "short"),
    "malloc": (errno.ENOMEM,), "mmap": (errno.ENOMEM,), "poll": (errno.ENOMEM, errno.EINTR)}


class World:
    """The files that all trials begin with, and how each command ends when nothing is wrong."""

    def __init__(self, folder):
        self.template = folder / "template"
        self.template.mkdir()
        make_files(self.template)
        self.folder = folder
        self.lock = threading.Lock()
        self.usual = {}  # by command and queue: how it ends, the calls that it makes

    def end_usually(self, command, queue):
        key = (command, queue)
        with self.lock:
            if key not in self.usual:
                folder = self.folder / f"usual-{len(self.usual)}"
                folder.mkdir()
                command.copy_files(self.template, folder)
                counts = self.folder / f"counts-{len(self.usual)}"
                done = run_in(folder, command,
                              {"FAULTY_QUEUE": queue, "FAULTY_COUNTS": str(counts)})
                calls = dict(line.split() for line in counts.read_text().splitlines())
                self.usual[key] = (folder, done,
                                   {name: int(nr) for name, nr in calls.items() if nr != "0"})
            return self.usual[key]


def run_in(folder, command, environment, limits=()):
    """How it ends, or None if it does not."""
    def limit():
        for of, most in ((resource.RLIMIT_CORE, 0), *limits):
            resource.setrlimit(of, (most, most))

    name, arguments = command.arguments(folder)
    preloaded = {"LD_PRELOAD": str(SHIM)} if environment else {}
    try:
        return subprocess.run([BIN / name, *arguments], capture_output=True, timeout=PATIENCE,
                              env={**os.environ, **environment, **preloaded}, preexec_fn=limit)
    except subprocess.TimeoutExpired:
        return None


class Trial:
    """One command, of which one call goes wrong, or which has a limit."""

    def __init__(self, world, seed):
        self.rng = random.Random(f"faulty call {seed}")
        self.world = world
        self.command = self.rng.choice(COMMANDS)
        self.queue = self.rng.choice(("aio", "waiting"))
        self.usual_folder, self.usual, self.calls = world.end_usually(self.command, self.queue)
        self.call = ""
        self.is_harmless = False
        self.limits = ()
        self.environment = {"FAULTY_QUEUE": self.queue}
        if self.rng.random() < 0.15:
            self.set_limit()
        else:
            self.set_fault()

    def set_limit(self):
        name, least, most = self.rng.choice((
            ("RLIMIT_AS", 8 << 20, 128 << 20), ("RLIMIT_NOFILE", 3, 12),
            ("RLIMIT_FSIZE", 0, 8 << 20), ("RLIMIT_NPROC", 0, 2)))
        limit = self.rng.randint(least, most)
        self.limits = ((getattr(resource, name), limit),)
        self.environment = {}
        self.fault = f"{name} {limit}"

    def set_fault(self):
        self.call = self.rng.choice(sorted(self.calls))
        way = self.rng.choice(WAYS.get(self.call, WAYS["open"]))
        at = self.rng.randint(1, self.calls[self.call])
        self.environment |= {"FAULTY_CALL": self.call, "FAULTY_AT": str(at), "FAULTY_AS": str(way)}
        self.is_harmless = (way == "short" or self.call == "io_submit" or
                            (way == errno.EINTR and self.call in TRANSFERS))
        if way != errno.EINTR and self.rng.random() < 0.2:
            self.environment["FAULTY_FROM_THEN_ON"] = "1"
        self.fault = " ".join(f"{key}={value}" for key, value in sorted(self.environment.items()))

    def problems(self, folder):
        self.command.copy_files(self.world.template, folder)
        names = {each.name for each in folder.iterdir()}
        done = run_in(folder, self.command, self.environment, self.limits)
        if done is None:
            return ["it hangs"]
        if self.limits and done.returncode in CANNOT_BE_LOADED:
            return []
        found = [self.problem_of_status(done), self.problem_of_other_files(folder, names),
                 self.command.problem(folder, self.world.template, self.usual_folder, done)]
        return [f"status {done.returncode}, {each}: {done.stderr.decode()[-500:]}"
                for each in found if each]

    def problem_of_status(self, done):
        if done.returncode not in (0, 1, 3):
            return "which is none of its own"
        if done.returncode != 0 and not done.stderr and self.call != "write":
            return "and not a word"
        if self.is_harmless and done.returncode != self.usual.returncode:
            return f"instead of {self.usual.returncode}"
        if done.returncode == 0 and self.usual.returncode != 0:
            return "where it should fail"
        if done.returncode == 0 and not self.command.changes and done.stdout != self.usual.stdout:
            return "and another answer than usual"
        return None

    def problem_of_other_files(self, folder, names):
        """`names` are of the files that were there before."""
        may_change = {self.command.changes}
        if self.command.changes == "metadata":
            may_change |= {"fast", "origin"}
        for name in names - may_change:
            if (folder / name).read_bytes() != (self.world.template / name).read_bytes():
                return f"{name} was changed"
        left = {each.name for each in folder.iterdir()} - names - may_change
        return f"{left} left behind" if left and self.call != "unlink" else None


class FaultyCallsTest(unittest.TestCase):
    def test_whatever_goes_wrong_is_not_called_good(self):
        def problems_of(seed):
            trial = Trial(world, seed)
            with tempfile.TemporaryDirectory() as folder:
                return [f"seed {seed}: {trial.fault} {trial.command.line}: {each}"
                        for each in trial.problems(pathlib.Path(folder))]

        with tempfile.TemporaryDirectory() as folder:
            world = World(pathlib.Path(folder))
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                for some in seeds("faulty calls", default=40):
                    self.assertEqual(sum(pool.map(problems_of, some), []), [])

    def test_what_cannot_be_read_is_not_overwritten(self):
        restore, = (each for each in COMMANDS if each.line.startswith("cache_restore") and
                    each.changes == OLD)
        with tempfile.TemporaryDirectory() as folder:
            template = pathlib.Path(folder)
            make_files(template)
            before = (template / OLD).read_bytes()
            done = run_in(template, restore, {"FAULTY_CALL": "pread", "FAULTY_AT": "1",
                                              "FAULTY_AS": str(errno.EIO)})
            self.assertEqual(done.returncode, 3)
            self.assertIn(b"old.img: Input/output error: nothing was written; --force", done.stderr)
            self.assertEqual((template / OLD).read_bytes(), before)

    def test_a_dump_that_lacks_what_could_not_be_read_is_not_called_good(self):
        repairing, = (each for each in COMMANDS if each.line.startswith("cache_dump --repair"))
        with tempfile.TemporaryDirectory() as folder:
            template = pathlib.Path(folder)
            make_files(template)
            usual = run_in(template, repairing, {})
            done = run_in(template, repairing, {
                "FAULTY_CALL": "completion", "FAULTY_AT": "4", "FAULTY_AS": str(errno.EIO),
                "FAULTY_QUEUE": "aio", "FAULTY_FROM_THEN_ON": "1"})
            self.assertEqual((usual.returncode, done.returncode), (0, 3))
            self.assertLess(done.stdout.count(b"<mapping "), usual.stdout.count(b"<mapping "))
            self.assertIn(b"</superblock>", done.stdout)
            self.assertIn(b"the dump is written, but for what is lost", done.stderr)


if __name__ == "__main__":
    print(f"seed {SEED}: DMCACHE_SEED={SEED} repeats this run")
    unittest.main()
