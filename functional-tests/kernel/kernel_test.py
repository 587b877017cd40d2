"""What this project writes, handed to a real kernel's dm-cache with its data: the same blocks, the
same dirty blocks, the right data, and once it has written all back the right origin. What the
kernel leaves behind checks clean."""

import gzip
import hashlib
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import guest
from fixture_images import FIXTURES, Image, run, truth_of

FEATURES = {1: "writeback", 2: "metadata2 writeback"}
CRASHED = ("v1-crash", "v1-crash-again", "v2-crash")


def succeed(*command):
    done = run(*command)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr}")


class Case:
    """Three disks, and what the kernel must say of them."""

    def __init__(self, folder, name):
        self.folder = folder / name
        self.folder.mkdir()
        self.metadata, self.fast, self.origin = (
            self.folder / disk for disk in ("metadata", "fast", "origin"))

    def take_metadata(self, fixture):
        self.image = Image(fixture)
        self.truth = truth_of(fixture)
        self.image.write(self.folder, "metadata")
        self.version = self.image.field("version")
        self.block_size = self.image.field("data_block_size")
        self.used = len(self.truth["mappings"])

    def crashed(self, fixture):
        """The data that the kernel wrote until the power went, and what it would have read."""
        self.take_metadata(fixture)
        for disk in ("cache", "origin"):
            packed = (FIXTURES / fixture / f"{disk}.img.gz").read_bytes()
            (self.fast if disk == "cache" else self.origin).write_bytes(gzip.decompress(packed))
        self.dirty = self.used
        self.logical = (FIXTURES / fixture / "logical.sha256").read_text().strip()
        return self

    def shut_down(self, fixture):
        """Data made here: on the fast device, only dirty blocks differ from the origin."""
        self.take_metadata(fixture)
        size = self.block_size * 512
        origin = bytearray(b"".join(b"%8d" % block * (size // 8) for block in range(1024)))
        self.origin.write_bytes(origin)
        fast = bytearray(self.truth["cache_blocks"] * size)
        for block, at, dirty in self.truth["mappings"]:
            data = b"%8d" % (block + 1000000) * (size // 8) if dirty else (
                origin[at * size:(at + 1) * size])
            fast[block * size:(block + 1) * size] = data
            origin[at * size:(at + 1) * size] = data
        self.fast.write_bytes(fast)
        self.dirty = sum(dirty for _, _, dirty in self.truth["mappings"])
        self.logical = hashlib.sha256(origin).hexdigest()
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

    def without(self, block, *facts):
        """Repaired after the loss of a block."""
        self.image.zero(block)
        self.image.write(self.folder, "metadata")
        return self.replaced(
            lambda old, new: succeed("cache_repair", "-i", old, "-o", new, *facts))

    def disks(self):
        return self.metadata, self.fast, self.origin, self.block_size, FEATURES[self.version]


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
        }
        lost = case("lost-root").shut_down("v1-writeback")
        cls.cases["lost-root"] = lost.without(lost.image.field("mapping_root"))
        cls.said = guest.run({name: each.disks() for name, each in cls.cases.items()})

    def test_the_kernel_takes_it(self):
        for name, said in self.said.items():
            with self.subTest(name):
                self.assertEqual(said["created"], "yes")
                self.assertRegex(said["status"], r" rw -\s*$")

    def test_the_kernel_finds_the_same_blocks(self):
        for name, said in self.said.items():
            with self.subTest(name):
                self.assertEqual(int(said["used"]), self.cases[name].used)
                self.assertEqual(int(said["dirty"]), self.cases[name].dirty)

    def test_the_kernel_reads_the_right_data(self):
        for name, said in self.said.items():
            with self.subTest(name):
                self.assertEqual(said["logical"], self.cases[name].logical)

    def test_the_kernel_writes_the_right_origin(self):
        for name, said in self.said.items():
            with self.subTest(name):
                self.assertEqual(said["left"], "0")
                self.assertEqual(said["origin"], self.cases[name].logical)

    def test_what_the_kernel_leaves_is_sound(self):
        for name, case in self.cases.items():
            with self.subTest(name):
                checked = run("cache_check", case.metadata)
                self.assertEqual((checked.returncode, checked.stderr), (0, ""))
                self.assertNotIn('dirty="true"', run("cache_dump", case.metadata).stdout)


if __name__ == "__main__":
    unittest.main()
