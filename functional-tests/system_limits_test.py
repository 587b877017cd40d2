"""What the system refuses a command: asynchronous I/O, room for a file, memory."""

import ctypes
import os
import pathlib
import platform
import resource
import struct
import subprocess
import tempfile
import unittest

from fixture_images import BIN, Image, run

NUMBERS = {"io_uring_setup": 425, "io_uring_enter": 426}  # of system calls, the same everywhere
NUMBERS |= {"x86_64": {"io_setup": 206, "io_submit": 209},
            "aarch64": {"io_setup": 0, "io_submit": 2}}.get(platform.machine(), {})
ENOMEM, EAGAIN, EPERM, ENOSYS = 12, 11, 1, 38


def refuse(failures):
    """Makes these system calls of the calling process fail: {name: errno}."""
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    allow, fail = 0x7FFF0000, 0x00050000
    program = [(load, 0, 0, 0)]
    for name, errno in failures.items():
        program += [(jump_if_equal, 0, 1, NUMBERS[name]), (give, 0, 0, fail | errno)]
    program.append((give, 0, 0, allow))
    code = b"".join(struct.pack("HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(code)
    described = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    if (libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0 or
            libc.prctl(set_seccomp, filter_mode, described, 0, 0) != 0):
        raise OSError(ctypes.get_errno(), "seccomp")


class SystemLimitsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.image = Image("v2-large").write(self.folder)
        self.made = self.folder / "made"

    def test_whatever_is_refused_of_asynchronous_io_all_is_done(self):
        expected = run("cache_dump", self.image).stdout
        for failures in ({"io_uring_enter": ENOMEM}, {"io_uring_enter": EAGAIN},
                         {"io_uring_setup": EPERM},
                         {"io_uring_enter": ENOMEM, "io_setup": EAGAIN},
                         {"io_uring_setup": ENOMEM, "io_submit": EAGAIN},
                         {"io_uring_setup": ENOSYS, "io_setup": ENOSYS}):
            with self.subTest(failures):
                def refused(command, *arguments):
                    return run(command, *arguments, preexec_fn=lambda: refuse(failures))
                self.assertEqual(refused("cache_check", "-q", self.image).returncode, 0)
                done = refused("cache_dump", "-o", self.made, self.image)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(self.made.read_text(), expected)
                output = self.folder / "output"
                done = refused("cache_restore", "-i", self.made, "-o", output)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(run("cache_dump", output).stdout, expected)
                self.made.unlink()
                output.unlink()


if __name__ == "__main__":
    unittest.main()
