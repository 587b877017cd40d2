"""A machine in QEMU, and what a user does at its serial console."""

import os
import re
import select
import subprocess
import time

from qemu import disk_arguments, machine_arguments

PATIENCE = 1800  # seconds, for a machine that does nothing any more
NO_HURRY = ("no_timer_check init_on_alloc=0 systemd.default_device_timeout_sec=3600 "
            "systemd.default_timeout_start_sec=3600")
PROMPT = r"\(initramfs\) |root@guest:\S*# "


class Console:
    """It is switched on at once, and its power is cut at the end, if it is still on. All that is
    seen is kept in the transcript."""

    def __init__(self, transcript, kernel, initial, parameters, disks):
        self.transcript = open(transcript, "wb")
        self.unread = ""
        self.machine = subprocess.Popen(
            [*machine_arguments(), "-kernel", kernel, "-initrd", initial,
             "-append", f"console=ttyS0 loglevel=5 {NO_HURRY} {parameters}",
             *disk_arguments(disks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut_power()

    def cut_power(self):
        if self.transcript.closed:
            return
        self.machine.kill()
        self.machine.wait()
        self.transcript.close()
        self.machine.stdin.close()
        self.machine.stdout.close()

    def wait_for(self, pattern):
        """What is seen until the pattern is, with it."""
        late = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.unread)):
            ready = select.select([self.machine.stdout], [], [], late - time.monotonic())[0]
            seen = os.read(self.machine.stdout.fileno(), 65536) if ready else b""
            if not seen:
                raise RuntimeError(f"no {pattern!r} came after:\n{self.unread[-4000:]}")
            self.transcript.write(seen)
            self.transcript.flush()
            self.unread += seen.decode(errors="replace").replace("\r", "")
            if "Kernel panic" in self.unread:
                raise RuntimeError(f"the kernel panicked:\n{self.unread[-4000:]}")
        before = self.unread[:found.end()]
        self.unread = self.unread[found.end():]
        return before

    def enter(self, line):
        self.machine.stdin.write(line.encode() + b"\n")
        self.machine.stdin.flush()

    def run(self, command):
        """(exit status, what is seen) of a command in the shell that waits for it."""
        self.enter(f"{command}; echo ended: $?")
        seen = self.wait_for(r"\nended: \d+\n")
        self.wait_for(PROMPT)
        said, status = seen.rsplit("\nended: ", 1)
        return int(status), said.partition("\n")[2]

    def must_run(self, command):
        status, said = self.run(command)
        if status != 0:
            raise RuntimeError(f"{command}: {status}\n{said}")
        return said
