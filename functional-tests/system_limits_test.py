"""What the system refuses a command: asynchronous I/O, room for a file, memory."""

import ctypes
import os
import pathlib
import platform
import pty
import resource
import signal
import struct
import subprocess
import tempfile
import unittest

from fixture_images import BIN, Image, run

NUMBERS = {"io_uring_setup": 425, "io_uring_enter": 426}  # of system calls, the same everywhere
NUMBERS |= {"x86_64": {"io_setup": 206, "io_submit": 209},
            "aarch64": {"io_setup": 0, "io_submit": 2}}.get(platform.machine(), {})
MEMORY_LIMIT = int(os.environ.get("DMCACHE_MEMORY_LIMIT", 64 << 10))  # KiB
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

    def limited(self, limit, value, command, *arguments):
        return run(command, *arguments, preexec_fn=lambda: resource.setrlimit(limit, (value, value)))

    def test_a_file_that_may_not_grow_is_an_error_that_costs_nothing(self):
        document = self.folder / "document"
        run("cache_dump", "-o", document, self.image)
        for command, arguments in (("cache_dump", ["-o", self.made, self.image]),
                                   ("cache_repair", ["-i", self.image, "-o", self.made]),
                                   ("cache_restore", ["-i", document, "-o", self.made]),
                                   ("cache_metadata_pack", ["-i", self.image, "-o", self.made])):
            with self.subTest(command):
                done = self.limited(resource.RLIMIT_FSIZE, 65536, command, *arguments)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn("File too large", done.stderr)
                self.assertEqual({each.name for each in self.folder.iterdir()},
                                 {self.image.name, document.name})

    def test_memory_and_time_follow_what_is_there(self):
        image = Image("v2-writeback")
        image.set_field("cache_blocks", 400_000_000)
        claims = image.write(self.folder, "claims.img")
        document = self.folder / "claims.xml"
        document.write_text('<superblock uuid="" block_size="128" nr_cache_blocks="1000000000" '
                            'policy="smq" hint_width="4"><mappings><mapping cache_block="999999999" '
                            'origin_block="4" dirty="true"/></mappings><hints/></superblock>')
        small = self.folder / "small.img"
        small.write_bytes(bytes(4 << 20))
        for status, command, arguments in (
                (1, "cache_check", [claims]), (0, "cache_dump", ["--repair", "-o", self.made, claims]),
                (1, "cache_repair", ["-i", claims, "-o", small]),
                (1, "cache_repair", ["-i", claims, "--list-roots"]),
                (1, "cache_restore", ["-i", document, "-o", small])):
            with self.subTest(command, arguments=arguments):
                done = subprocess.Popen([BIN / command, *map(str, arguments)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                _, ended, used = os.wait4(done.pid, 0)
                done.returncode = os.waitstatus_to_exitcode(ended)
                self.assertEqual(done.returncode, status)
                if MEMORY_LIMIT:
                    self.assertLess(used.ru_maxrss, MEMORY_LIMIT)

    def test_a_repair_does_not_write_what_the_metadata_cannot_have_held(self):
        image = Image("v2-writeback")
        image.set_field("cache_blocks", 400_000_000)
        done = run("cache_repair", "-i", image.write(self.folder), "-o", self.made)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the cache has 400000000 blocks, whose mappings alone fill ", done.stderr)
        self.assertFalse(self.made.exists())

    def test_holes_are_not_searched(self):
        image = Image("v2-writeback")
        image.zero(0)
        path = image.write(self.folder, "sparse.img")
        os.truncate(path, 4 << 40)
        pack = self.folder / "pack"
        self.assertEqual(run("cache_metadata_pack", "-i", path, "--all-valid", "-o", pack).returncode,
                         0)
        done = run("cache_repair", "-i", path, "-o", self.made, "--block-size", "64k",
                   "--nr-cache-blocks", 256)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(run("cache_check", "-q", self.made).returncode, 0)

    def test_a_new_cache_is_made_in_a_file_of_any_size(self):
        sizes = {"meta": 1 << 40, "fast": 8 << 20, "origin": 32 << 20}
        for name, size in sizes.items():
            with open(self.folder / name, "wb") as file:
                file.truncate(size)
        devices = [f"--{role}-device={self.folder / name}" for role, name in
                   (("metadata", "meta"), ("fast", "fast"), ("origin", "origin"))]
        done = run("cache_serve", *devices, "--create", "--run", "true")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(run("cache_check", "-q", self.folder / "meta").returncode, 0)
        os.truncate(self.folder / "meta", 0)
        done = run("cache_serve", *devices, "--create", "--run", "true")
        self.assertEqual(done.returncode, 1)
        self.assertIn("meta is too small for metadata: cache_metadata_size tells", done.stderr)

    def test_waiting_for_a_writer_is_said_on_a_terminal_alone(self):
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        document = run("cache_dump", self.image).stdout
        arguments = [BIN / "cache_restore", "-i", fifo, "-o", self.made]
        terminal, its_end = pty.openpty()
        waiting = subprocess.Popen(arguments, stderr=its_end)
        said = b""
        while b"waiting for somebody to write to" not in said:
            said += os.read(terminal, 1000)
        fifo.write_text(document)
        self.assertEqual(waiting.wait(), 0)
        os.close(its_end)
        os.close(terminal)
        waiting = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        fifo.write_text(document)
        self.assertEqual((waiting.communicate()[1], waiting.returncode), ("", 0))

    def test_an_empty_name_is_wrong_usage(self):
        for command, arguments in (("cache_dump", ["-o", "", self.image]),
                                   ("cache_repair", ["-i", self.image, "-o", ""]),
                                   ("cache_restore", ["-i", "", "-o", self.made])):
            with self.subTest(command):
                done = run(command, *arguments)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(" is empty\nTry ", done.stderr)

    @unittest.skipIf(MEMORY_LIMIT == 0, "a sanitizer has its own")
    def test_without_memory_for_an_exception_it_ends_with_a_status_of_its_own(self):
        step = 512 << 10

        def status(limit):
            return self.limited(resource.RLIMIT_AS, limit, "cache_metadata_size",
                                "--nr-blocks", "1000").returncode

        enough = next(limit for limit in range(4 << 20, 256 << 20, step) if status(limit) == 0)
        # The kernel and the loader need some as well.
        self.assertLessEqual({status(limit) for limit in range(enough - step, enough, 16 << 10)},
                             {0, 3, 127, -signal.SIGKILL})


if __name__ == "__main__":
    unittest.main()
