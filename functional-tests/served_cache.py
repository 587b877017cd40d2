"""A cache of small files that the tests serve and speak to."""

import contextlib
import os
import pathlib
import re
import select
import signal
import subprocess

from cache_files import INCOMPLETE, PATIENCE, CacheFilesTest, hash_of, wait_until
from fixture_images import BIN, run
from nbd_client import NbdClient


# What cache_serve says when it makes one.
NEW_CACHE = re.compile("^cache_serve: a new cache of .*\n", re.M)


def nbdcopy(*arguments):
    subprocess.run(["nbdcopy", *arguments], check=True, timeout=PATIENCE)


def end(process, number=signal.SIGKILL):
    """Ends a process by a signal. It has nothing open any more then, not even in other threads."""
    handle = os.pidfd_open(process)
    try:
        signal.pidfd_send_signal(handle, number)
        wait_until(lambda: select.select([handle], [], [], 1)[0])
    finally:
        os.close(handle)


def processes(program, argument):
    """That run it with this argument."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].endswith(program) and argument in words:
            yield int(folder.name)


def state_and_parent(process):
    return pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()[:2]


def state_of(process):
    """A letter, as proc(5) has it; None if it is gone."""
    with contextlib.suppress(OSError):
        return state_and_parent(process)[0]


def parent_of(process):
    return int(state_and_parent(process)[1])


class ServedCacheTest(CacheFilesTest):
    """What it serves is stopped at the end."""

    def setUp(self):
        super().setUp()
        self.control = self.folder / "control"
        self.addCleanup(self.stop_if_served)

    def addresses(self):
        return ["--socket", self.socket, "--control", self.control]

    def serve(self, *options, **keywords):
        """Of cache_serve, in the background at the usual addresses."""
        return run("cache_serve", *self.devices(), *self.addresses(), *options, **keywords)

    def must_serve(self, *options):
        done = self.serve(*options)
        said = NEW_CACHE.sub("", done.stderr) if "--create" in options else done.stderr
        self.assertEqual((done.returncode, done.stdout, said), (0, self.uri + "\n", ""))

    def in_foreground(self, *options, **keywords):
        """The process, once it has told the URI."""
        process = subprocess.Popen(
            [str(each) for each in [BIN / "cache_serve", *self.devices(), *self.addresses(),
                                    "--foreground", *options]],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.assertEqual(process.stdout.readline(), self.uri + "\n")
        if "--create" in options:
            self.assertRegex(process.stderr.readline(), NEW_CACHE)
        return process

    def ctl(self, *request):
        return run("cache_ctl", "--control", self.control, *request)

    def must_ctl(self, *request):
        done = self.ctl(*request)
        said = done.stderr
        if request[0] == "stop":
            said = INCOMPLETE.sub("", said)
        self.assertEqual((done.returncode, said), (0, ""))
        return done.stdout

    def connect(self):
        """To the server that runs, or that is started again just now."""
        made = []

        def is_connected():
            with contextlib.suppress(OSError, EOFError):
                made.append(NbdClient(self.socket))
            return made

        wait_until(is_connected)
        self.addCleanup(made[0].vanish)
        return made[0]

    def stop_if_served(self):
        """And its supervisor, which may be about to start nbdkit again."""
        if self.control.exists():
            self.ctl("stop")
        for supervisor in processes("cache_serve", str(self.metadata)):
            with contextlib.suppress(ProcessLookupError):
                end(supervisor, signal.SIGTERM)

    def server_pid(self):
        """Of the nbdkit that serves the cache."""
        return next(processes("nbdkit", f"metadata={self.metadata}"), None)

    def kill_server(self, number=signal.SIGKILL):
        """Kills nbdkit; its supervisor lives on."""
        end(self.server_pid(), number)

    def kill_all_servers(self):
        """As if the machine died: nothing is shut down, nothing started again."""
        supervisor = parent_of(self.server_pid())
        os.kill(supervisor, signal.SIGSTOP)
        self.kill_server()
        end(supervisor)

    def make_cache(self, *options):
        """A cache that holds nothing yet."""
        self.must_serve("--create", *options)
        self.must_ctl("stop")
        wait_until(lambda: not self.socket.exists())

    def contents(self):
        return [hash_of(each) for each in (self.metadata, self.fast, self.origin)]

    def check(self):
        return run("cache_check", self.metadata).stdout
