"""What this project writes, handed to a real kernel's dm-cache with its data: the same blocks, the
same dirty blocks, the right data, and once it has written all back the right origin. What the
kernel leaves behind checks clean."""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from fixture_data import CRASHED, make_data, unpack_data
from fixture_images import BIN, Image, run, truth_of
from guest import Guest

FEATURES = {1: "writeback", 2: "metadata2 writeback"}


def succeed(*command):
    done = run(*command)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr}")


def checksum_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Case:
    """Three disks, and what the kernel must say of them."""

    def __init__(self, folder, name):
        self.folder = folder / name
        self.folder.mkdir()
        self.metadata, self.fast, self.origin, self.read = (
            self.folder / disk for disk in ("metadata", "fast", "origin", "read"))

    def take_metadata(self, fixture):
        self.image = Image(fixture)
        self.truth = truth_of(fixture)
        self.image.write(self.folder, "metadata")
        self.version = self.image.field("version")
        self.block_size = self.image.field("data_block_size")
        self.used = len(self.truth["mappings"])

    def crashed(self, fixture):
        self.take_metadata(fixture)
        self.dirty = self.used
        self.logical = unpack_data(fixture, self.fast, self.origin)
        return self

    def shut_down(self, fixture):
        self.take_metadata(fixture)
        self.dirty = sum(dirty for _, _, dirty in self.truth["mappings"])
        self.logical = make_data(self.truth, self.fast, self.origin)
        return self

    def repaired(self):
        return self.replaced(lambda old, new: succeed("cache_repair", "-i", old, "-o", new))

    def restored(self, version=None):
        self.version = version or self.version
        document = self.folder / "document.xml"

        def restore(old, new):
            succeed("cache_dump", "-o", document, old)
            succeed("cache_restore", "-i", document, "-o", new, "--metadata-version", self.version)
        return self.replaced(restore)

    def replaced(self, make):
        old = self.folder / "old"
        shutil.move(self.metadata, old)
        self.metadata.write_bytes(bytes(old.stat().st_size))
        make(old, self.metadata)
        return self

    def written_back(self):
        succeed("cache_writeback", "--metadata-device", self.metadata, "--fast-device", self.fast,
                "--origin-device", self.origin)
        self.dirty = 0
        return self

    def written_back_in_part(self):
        """By a run that is killed after the first dirty flags were cleared."""
        before = self.metadata.read_bytes()[:4096]
        running = subprocess.Popen(
            [BIN / "cache_writeback", "--metadata-device", self.metadata, "--fast-device",
             self.fast, "--origin-device", self.origin, "--update-interval", "0",
             "--buffer-size-meg", "1"], stdout=subprocess.DEVNULL)
        while running.poll() is None and self.metadata.read_bytes()[:4096] == before:
            pass
        running.kill()
        running.wait()
        for each in (self.metadata, self.fast, self.origin):
            subprocess.run(["flock", "--timeout", "300", each, "true"], check=True)
        self.dirty = run("cache_dump", self.metadata).stdout.count('dirty="true"')
        assert self.dirty < self.used
        return self

    def without(self, block, *facts):
        """Repaired after the loss of a block."""
        self.image.zero(block)
        self.image.write(self.folder, "metadata")
        return self.replaced(
            lambda old, new: succeed("cache_repair", "-i", old, "-o", new, *facts))

    def hand_over(self, label, to):
        """Has the kernel say what it makes of it, read all of it, and write everything back."""
        with open(self.read, "wb") as disk:
            disk.truncate(self.origin.stat().st_size)
        *disks, read = (to.disk(each)
                        for each in (self.metadata, self.fast, self.origin, self.read))
        to.add("run", label, "open_cache c", *disks, self.block_size, "smq",
               FEATURES[self.version])
        to.add("run", label, "dd if=/dev/mapper/c bs=1M iflag=direct oflag=direct", f"of=/dev/{read}")
        to.add("run", label, "write_all_back c")
        to.add("run", label, "close_cache c")


class KernelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)

        def case(name):
            return Case(pathlib.Path(folder.name), name)

        cls.cases = {
            "repaired-" + fixture: case("repaired-" + fixture).crashed(fixture).repaired()
            for fixture in CRASHED}
        cls.cases |= {
            "restored-v1": case("restored-v1").shut_down("v1-writeback").restored(),
            "restored-v2": case("restored-v2").shut_down("v2-writeback").restored(),
            "v1-restored-as-v2": case("as-v2").crashed("v1-crash-again").restored(2),
            "written-back": case("written-back").crashed("v2-crash").written_back(),
            "interrupted-v1": case("interrupted-v1").crashed("v1-crash").written_back_in_part(),
            "interrupted-v2": case("interrupted-v2").crashed("v2-crash").written_back_in_part(),
        }
        lost = case("lost-root").shut_down("v1-writeback")
        cls.cases["lost-root"] = lost.without(lost.image.field("mapping_root"))
        machine = Guest()
        for name, each in cls.cases.items():
            each.hand_over(name, machine)
        cls.said = machine.boot()

    def test_the_kernel_takes_it(self):
        for name in self.cases:
            with self.subTest(name):
                said = self.said[name]
                self.assertEqual(set(said["exit"]), {"0"})
                for status in said["status"]:
                    self.assertRegex(status, r" rw -$")

    def test_the_kernel_finds_the_same_blocks(self):
        for name, case in self.cases.items():
            with self.subTest(name):
                words = self.said[name]["status"][0].split()
                self.assertEqual(int(words[6].split("/")[0]), case.used)
                self.assertEqual(int(words[13]), case.dirty)

    def test_the_kernel_reads_the_right_data(self):
        for name, case in self.cases.items():
            with self.subTest(name):
                self.assertEqual(checksum_of(case.read), case.logical)

    def test_the_kernel_writes_the_right_origin(self):
        for name, case in self.cases.items():
            with self.subTest(name):
                self.assertEqual(self.said[name]["left"], ["0"])
                self.assertEqual(checksum_of(case.origin), case.logical)

    def test_what_the_kernel_leaves_is_sound(self):
        for name, case in self.cases.items():
            with self.subTest(name):
                checked = run("cache_check", case.metadata)
                self.assertEqual((checked.returncode, checked.stderr), (0, ""))
                self.assertNotIn('dirty="true"', run("cache_dump", case.metadata).stdout)


if __name__ == "__main__":
    unittest.main()
