"""Parts of devices as the devices of a cache: those of a cache volume of LVM, which holds the metadata
first and then the data, and others. What is outside of a part stays as it is."""

import hashlib
import pathlib
import tempfile
import unittest

from cache_files import FAST_SIZE, METADATA_SIZE, ORIGIN_SIZE
from fixture_data import make_data
from fixture_images import Image, run, truth_of
from served_cache import ServedCacheTest, nbdcopy

GUARD = 1 << 20


class ServedPartsTest(ServedCacheTest):
    """`layout` has the path, the offset and the size of each device."""

    def devices(self):
        return [str(word) for name, (path, offset, size) in self.layout.items()
                for word in (f"--{name}-device", path, f"--{name}-device-offset", f"{offset}b",
                             f"--{name}-device-size", f"{size}b")]

    def part(self, name):
        path, offset, size = self.layout[name]
        return path.read_bytes()[offset:offset + size]

    def check(self):
        path, offset, size = self.layout["metadata"]
        return run("cache_check", path, "--offset", f"{offset}b", "--size", f"{size}b").stdout

    def outside(self):
        """All bytes that are of no part."""
        found = []
        for path in {path for path, _, _ in self.layout.values()}:
            data = bytearray(path.read_bytes())
            for _, offset, size in (each for each in self.layout.values() if each[0] == path):
                data[offset:offset + size] = bytes(size)
            found.append((path, hashlib.sha256(data).hexdigest()))
        return sorted(found)

    def live(self):
        """Is served, written to, killed, served again, and written back."""
        before = self.outside()
        image = self.image()
        self.must_serve("--create", "--policy", "smq")  # which fills the whole cache
        nbdcopy("--flush", image, self.uri)
        self.kill_all_servers()
        self.assertIn("128 mapped, 128 dirty", self.check())
        self.must_serve()
        nbdcopy(self.uri, self.folder / "back")
        self.assertEqual((self.folder / "back").read_bytes(), image.read_bytes())
        self.must_ctl("stop")
        self.assertIn("dirty, cleanly shut down: sound", self.check())
        self.assertNotEqual(self.part("origin"), image.read_bytes())
        done = run("cache_writeback", *self.devices())
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.part("origin"), image.read_bytes())
        self.assertIn("0 dirty, cleanly shut down: sound", self.check())
        self.assertEqual(self.outside(), before)


class CacheVolume(ServedPartsTest):
    def setUp(self):
        super().setUp()
        self.volume = self.make("volume", METADATA_SIZE + FAST_SIZE + GUARD)
        with open(self.volume, "r+b") as volume:
            volume.seek(METADATA_SIZE + FAST_SIZE)
            volume.write(b"g" * GUARD)
        self.metadata = self.volume  # by which server_pid() finds the server
        self.layout = {"metadata": (self.volume, 0, METADATA_SIZE),
                       "fast": (self.volume, METADATA_SIZE, FAST_SIZE),
                       "origin": (self.origin, 0, ORIGIN_SIZE)}

    def test_a_cache_lives_on_it(self):
        self.live()

    def test_it_is_like_devices_of_their_own(self):
        image = self.image()
        self.must_serve("--create")
        nbdcopy("--flush", image, self.uri)
        self.must_ctl("stop")
        metadata, fast = self.folder / "own-meta", self.folder / "own-fast"
        metadata.write_bytes(self.part("metadata"))
        fast.write_bytes(self.part("fast"))
        self.assertEqual(run("cache_dump", metadata).stdout,
                         run("cache_dump", self.volume, "--size", "4m").stdout)
        self.layout |= {"metadata": (metadata, 0, METADATA_SIZE), "fast": (fast, 0, FAST_SIZE)}
        self.must_serve()
        nbdcopy(self.uri, self.folder / "back")
        self.assertEqual((self.folder / "back").read_bytes(), image.read_bytes())

    def test_clients_are_told_of_holes_of_the_origin_s_part_only(self):
        self.layout["origin"] = (self.make("large", ORIGIN_SIZE + GUARD), GUARD, ORIGIN_SIZE)
        with open(self.folder / "large", "r+b") as large:
            large.write(b"g" * GUARD)
        before = self.outside()
        self.must_serve("--create")
        nbdcopy(self.uri, self.folder / "back")
        self.must_ctl("stop")
        self.assertEqual((self.folder / "back").read_bytes(), bytes(ORIGIN_SIZE))
        self.assertEqual(self.outside(), before)

    def test_what_overlaps_is_refused(self):
        self.layout["fast"] = (self.volume, METADATA_SIZE - 512, FAST_SIZE)
        before = self.volume.read_bytes()
        for done in (self.serve("--create"), run("cache_writeback", *self.devices())):
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"the metadata device and the fast device share storage: the parts of "
                          f"{self.volume} overlap", done.stderr)
        self.assertEqual(self.volume.read_bytes(), before)

    def test_what_shares_a_page_is_not_served(self):
        self.layout["fast"] = (self.volume, METADATA_SIZE + 512, FAST_SIZE)
        done = self.serve("--create")
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"the fast device is a part of {self.volume} beside another one: both must "
                      "begin and end at multiples of", done.stderr)

    def test_what_is_not_there_is_refused(self):
        size = METADATA_SIZE + FAST_SIZE + GUARD
        self.layout["fast"] = (self.volume, METADATA_SIZE, size)
        for done in (self.serve("--create"), run("cache_writeback", *self.devices())):
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"{self.volume} has {size // 512} sectors, and the {size // 512} sectors "
                          f"from sector {METADATA_SIZE // 512} on reach beyond its end",
                          done.stderr)

    def test_metadata_that_are_in_the_way_can_be_zeroed_as_told(self):
        self.layout |= {"metadata": (self.volume, FAST_SIZE, METADATA_SIZE),
                        "fast": (self.volume, 0, FAST_SIZE)}
        with open(self.volume, "r+b") as volume:
            volume.seek(FAST_SIZE + 4096)
            volume.write(b"old")
        said = self.serve("--create").stderr
        self.assertIn(f"dd if=/dev/zero of={self.volume} bs=1M conv=notrunc iflag=count_bytes "
                      f"count={METADATA_SIZE} oflag=seek_bytes seek={FAST_SIZE}", said)

    def test_an_offset_is_a_number_of_sectors(self):
        done = run("cache_serve", "--metadata-device", self.volume, "--metadata-device-size", 8192,
                   "--fast-device", self.volume, "--fast-device-offset", 8192,
                   "--origin-device", self.origin, *self.addresses(), "--create")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.must_ctl("stop")
        self.assertIn(f"{(FAST_SIZE + GUARD) >> 16} cache blocks", self.check())


class OneFileForAll(ServedPartsTest):
    def test_a_cache_lives_on_it(self):
        everything = self.folder / "everything"
        everything.write_bytes(b"g" * (4 * GUARD + METADATA_SIZE + FAST_SIZE + ORIGIN_SIZE))
        self.layout = {}
        offset = GUARD
        for name, size in (("origin", ORIGIN_SIZE), ("fast", FAST_SIZE),
                           ("metadata", METADATA_SIZE)):
            self.layout[name] = (everything, offset, size)
            with open(everything, "r+b") as file:
                file.seek(offset)
                file.write(bytes(size))
            offset += size + GUARD
        self.metadata = everything
        self.live()


class Tools(unittest.TestCase):
    """On a kernel's metadata, with something else in front of them and behind."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def lay_out(self, name):
        image = Image(name)
        self.alone = image.write(self.folder, "alone")
        self.size = len(image.data)
        self.device = self.folder / "device"
        self.device.write_bytes(b"<superblock" + b"f" * (GUARD - 11) + image.data + b"b" * GUARD)
        self.part = ("--offset", "1m", "--size", f"{self.size}b")

    def within(self):
        data = self.device.read_bytes()
        self.assertEqual(data[:GUARD], b"<superblock" + b"f" * (GUARD - 11))
        self.assertEqual(data[GUARD + self.size:], b"b" * GUARD)
        return data[GUARD:GUARD + self.size]

    def run_well(self, command, *arguments, **keywords):
        done = run(command, *arguments, **keywords)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_they_are_read_where_they_are(self):
        self.lay_out("v2-writeback")
        self.assertEqual(self.run_well("cache_check", self.device, *self.part),
                         self.run_well("cache_check", self.alone))
        dump = self.run_well("cache_dump", self.alone)
        self.assertEqual(self.run_well("cache_dump", self.device, *self.part), dump)
        with open(self.device, "rb") as device:
            self.assertEqual(self.run_well("cache_dump", "-", *self.part, stdin=device), dump)
        self.assertEqual(run("cache_check", self.device).returncode, 1)

    def test_they_are_mended_where_they_are(self):
        self.lay_out("v2-needs-check")
        for arguments in ((self.device, *self.part), (self.alone,)):
            self.run_well("cache_check", "--clear-needs-check-flag", *arguments)
        self.assertEqual(self.within(), self.alone.read_bytes())

    def test_they_are_packed_and_unpacked(self):
        self.lay_out("v2-writeback")
        parts = ("--input-offset", "1m", "--input-size", f"{self.size}b")
        pack, own = self.folder / "pack", self.folder / "own-pack"
        self.run_well("cache_metadata_pack", "-i", self.device, "-o", pack, *parts)
        self.run_well("cache_metadata_pack", "-i", self.alone, "-o", own)
        self.assertEqual(pack.read_bytes(), own.read_bytes())
        self.run_well("cache_metadata_unpack", "-i", pack, "-o", self.device,
                      *(each.replace("input", "output") for each in parts))
        self.run_well("cache_metadata_unpack", "-i", pack, "-o", self.folder / "unpacked")
        self.assertEqual(run("cache_dump", self.device, *self.part).stdout,
                         run("cache_dump", self.folder / "unpacked").stdout)
        self.within()

    def test_they_are_restored(self):
        self.lay_out("v2-writeback")
        document = self.folder / "xml"
        document.write_text(self.run_well("cache_dump", self.alone))
        self.run_well("cache_restore", "-i", document, "-o", self.device, "-q", "--output-offset",
                      "1m", "--output-size", f"{self.size}b")
        self.within()
        self.assertEqual(self.run_well("cache_dump", self.device, *self.part),
                         document.read_text())

    def test_other_contents_of_a_part_are_spared(self):
        self.lay_out("v2-writeback")
        document = self.folder / "xml"
        document.write_text(self.run_well("cache_dump", self.alone))
        before = self.device.read_bytes()
        done = run("cache_restore", "-i", document, "-o", self.device, "--output-offset",
                   f"{GUARD + self.size}b")
        self.assertEqual(done.returncode, 1)
        self.assertIn("holds something else than the metadata of a cache", done.stderr)
        self.assertEqual(self.device.read_bytes(), before)

    def test_they_are_repaired_beside_themselves(self):
        self.lay_out("v2-writeback")
        before = self.within()
        with open(self.device, "ab") as device:
            device.write(b"n" * self.size)
        output = GUARD + self.size + GUARD
        done = run("cache_repair", "-i", self.device, "--input-offset", "1m", "--input-size",
                   f"{self.size}b", "-o", self.device, "--output-offset", f"{output}b")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        data = self.device.read_bytes()
        self.assertEqual(data[GUARD:GUARD + self.size], before)
        self.assertEqual(data[output - GUARD:output], b"b" * GUARD)
        self.assertEqual(self.run_well("cache_dump", self.device, "--offset", f"{output}b"),
                         self.run_well("cache_dump", self.alone))

    def test_an_output_that_overlaps_the_input_is_refused(self):
        self.lay_out("v2-writeback")
        before = self.device.read_bytes()
        for output, text in ((("--output-offset", f"{GUARD + self.size - 512}b"),
                              f"input and output share storage: the parts of {self.device} overlap"),
                             ((), f"input and output are the same: {self.device}")):
            done = run("cache_repair", "-i", self.device, "--input-offset", "1m", "--input-size",
                       f"{self.size}b", "-o", self.device, *output)
            self.assertEqual(done.returncode, 2)
            self.assertIn(text, done.stderr)
        self.assertEqual(self.device.read_bytes(), before)

    def test_only_what_is_there_has_parts(self):
        self.lay_out("v2-writeback")
        for output, text in ((self.folder / "none", "only what is there has parts"),
                             ("-", "standard output has no parts")):
            done = run("cache_repair", "-i", self.alone, "-o", output, "--output-offset", "8")
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(text, done.stderr)
        self.assertFalse((self.folder / "none").exists())

    def test_nonsense_is_refused(self):
        self.lay_out("v2-writeback")
        for part, text in ((("--offset", "many"), "--offset: 'many' is no size"),
                           (("--offset", "100b"), "--offset: '100b' is no whole number of sectors"),
                           (("--size", "0"), "nothing of it is left"),
                           (("--offset", "1t"), "nothing of it is left from sector 2147483648 on")):
            done = run("cache_check", self.device, *part)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            self.assertIn(text, done.stderr)

    def test_a_kernel_s_cache_volume_is_written_back(self):
        self.lay_out("v2-writeback")
        truth = truth_of("v2-writeback")
        fast, origin = self.folder / "fast", self.folder / "origin"
        logical = make_data(truth, fast, origin)
        volume = self.folder / "volume"
        volume.write_bytes(self.alone.read_bytes() + fast.read_bytes())
        self.run_well("cache_writeback", "--metadata-device", volume, "--metadata-device-size",
                      f"{self.size}b", "--fast-device", volume, "--fast-device-offset",
                      f"{self.size}b", "--origin-device", origin)
        self.assertEqual(hashlib.sha256(origin.read_bytes()).hexdigest(), logical)
        self.assertEqual(volume.read_bytes()[self.size:], fast.read_bytes())
        self.assertIn(" 0 dirty, ", self.run_well("cache_check", volume, "--size",
                                                   f"{self.size}b"))


if __name__ == "__main__":
    unittest.main()
