"""The commands in docs/ do what is said there: they are run, in the order in which they stand, on
caches that are in the state that the text speaks of, and print what stands below them."""

import hashlib
import os
import pathlib
import random
import re
import subprocess
import tempfile
import unittest

import stand_ins
from cache_files import remove_after_servers
from documented_commands import RUN, blocks_of, run_all, runs_of
from fixture_data import make_data, unpack_data
from fixture_images import BIN, SOURCE, Image, run, truth_of
from served_cache import NEW_CACHE, nbdcopy

DOCS = SOURCE / "docs"
NOT_RUN = re.compile(r"\*Not run here: .+\*")
BLOCK_SIZE = 64 << 10  # of most fixtures' caches
ORIGIN_SIZE = 64 << 20


class DocumentedTest(unittest.TestCase):
    """A cache that the commands find as $meta, $fast and $origin."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(remove_after_servers, self.folder)
        programs = self.folder / "programs"
        programs.mkdir()
        stand_ins.write_stand_ins(programs)
        self.meta, self.fast, self.origin = (
            self.folder / name for name in ("cmeta", "cdata", "corig"))
        self.environment = os.environ | {
            "PATH": f"{programs}:{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8",
            "meta": self.meta.name, "fast": self.fast.name, "origin": self.origin.name}

    def take(self, fixture, change=None):
        """A cache that was shut down, the metadata of which are then changed."""
        image = Image(fixture)
        if change:
            change(image)
        image.write(self.folder, self.meta.name)
        truth = truth_of(fixture)
        self.logical = make_data(truth, self.fast, self.origin,
                                 ORIGIN_SIZE // (truth["block_size"] * 512))

    def follow(self, document, name):
        commands = runs_of(DOCS / document)[name]
        done = run_all(commands, self.folder, self.environment)
        for (output, status), command, next_one in zip(done, commands, [*commands[1:], None]):
            with self.subTest(command=command.line):
                self.assertTrue(command.printed(output),
                                f"it prints\n{output}and not\n{command.output}")
                if not (next_one and next_one.line == "echo $?"):
                    self.assertEqual(status, 0, output)
        self.assertEqual(len(done), len(commands))

    def hash_of_origin(self):
        return hashlib.sha256(self.origin.read_bytes()).hexdigest()

    def expect_complete_origin(self):
        self.assertEqual(self.hash_of_origin(), self.logical)

    def change_origin(self, *blocks):
        with open(self.origin, "r+b") as file:
            for block in blocks:
                file.seek(block * BLOCK_SIZE)
                file.write(b"elsewhere" * 100)


class Recovery(DocumentedTest):
    def follow(self, name):
        super().follow("recovery.md", name)

    def test_first(self):
        self.take("v2-writeback")
        before = self.meta.read_bytes()
        self.follow("first")
        self.assertEqual(self.meta.read_bytes(), before)

    def test_write_it_back(self):
        self.take("v2-writeback")
        self.follow("write-it-back")
        self.expect_complete_origin()

    def test_after_a_crash(self):
        Image("v2-crash").write(self.folder, self.meta.name)
        self.logical = unpack_data("v2-crash", self.fast, self.origin)
        self.follow("after-a-crash")
        self.expect_complete_origin()

    def test_the_ssd_died_and_nothing_was_dirty(self):
        self.take("v2-cleaned")
        self.follow("ssd-died-clean")
        self.expect_complete_origin()

    def test_a_new_cache(self):
        self.take("v2-cleaned")
        self.follow("new-cache")
        self.expect_complete_origin()

    def test_the_ssd_died_and_blocks_were_dirty(self):
        self.take("v2-writeback")
        lost = next(at for block, at, _ in truth_of("v2-writeback")["mappings"]
                    if block == stand_ins.BAD_BLOCK)
        before = self.origin.read_bytes()
        self.follow("ssd-died-dirty")
        after = bytearray(self.origin.read_bytes())
        where = slice(lost * BLOCK_SIZE, (lost + 1) * BLOCK_SIZE)
        self.assertEqual(after[where], before[where])
        after[where] = self.fast.read_bytes()[stand_ins.BAD_BLOCK * BLOCK_SIZE:][:BLOCK_SIZE]
        self.assertEqual(hashlib.sha256(after).hexdigest(), self.logical)

    def test_needs_check(self):
        self.take("v2-needs-check")
        self.follow("needs-check")

    def test_the_metadata_are_full(self):
        self.take("v2-writeback")
        dump = self.folder / "dump.xml"
        run("cache_dump", "-o", dump, self.meta)
        with open(self.meta, "wb") as file:
            file.truncate(11 * 4096)
        self.assertEqual(run("cache_restore", "-i", dump, "-o", self.meta).returncode, 0)
        self.follow("metadata-full")
        mappings = [run("cache_dump", each).stdout for each in (self.meta, self.folder / "new.img")]
        self.assertEqual(mappings[0], mappings[1])

    def test_the_superblock_is_gone(self):
        self.take("v2-writeback", lambda image: image.zero(0))
        self.follow("superblock-gone")
        self.expect_complete_origin()

    def test_a_repair_by_lvm_that_failed(self):
        def damage(image):
            image.flip(image.array_blocks("mapping_root")[-1], 2000)
            image.set_field("flags", 0)  # after a crash what is lost may have been dirty
        self.take("v2-block-32k", damage)
        self.follow("repair-failed")
        self.expect_complete_origin()  # as the last three blocks were clean

    def test_a_limit_that_is_too_low(self):
        self.follow("stuck-threshold")

    def test_a_cache_that_can_t_be_removed(self):
        self.take("v2-writeback")
        self.follow("stuck")
        self.expect_complete_origin()

    def test_the_origin_was_mounted_without_its_cache(self):
        self.take("v2-writeback")
        dirty = [at for _, at, dirty in truth_of("v2-writeback")["mappings"] if dirty]
        clean = [at for _, at, dirty in truth_of("v2-writeback")["mappings"] if not dirty]
        self.change_origin(dirty[0], clean[0], clean[1])
        self.follow("origin-mounted")
        self.expect_complete_origin()

    def test_the_origin_of_a_clean_cache_was_mounted(self):
        self.take("v2-cleaned")
        clean = [at for _, at, _ in truth_of("v2-cleaned")["mappings"]]
        self.change_origin(*clean[:2])
        before = self.hash_of_origin()
        self.follow("origin-mounted-clean")
        self.assertEqual(self.hash_of_origin(), before)


class Lvm(DocumentedTest):
    def follow(self, name):
        super().follow("lvm.md", name)

    def test_the_three_devices(self):
        self.follow("devices")

    def test_a_cache_volume(self):
        self.take("v2-writeback")
        volume = self.folder / "cvol"
        volume.write_bytes(self.meta.read_bytes() + self.fast.read_bytes())
        self.follow("cachevol")
        self.expect_complete_origin()

    def test_swapping_metadata_in(self):
        self.follow("swap")

    def test_giving_a_cache_up(self):
        self.take("v2-cleaned")
        self.follow("uncache")

    def test_metadata_that_map_nothing(self):
        self.follow("empty")

    def test_what_the_cache_shows_can_be_copied(self):
        self.take("v2-writeback")
        before = [each.read_bytes() for each in (self.meta, self.fast, self.origin)]
        self.follow("copy-out")
        self.assertEqual([each.read_bytes() for each in (self.meta, self.fast, self.origin)], before)
        image = (self.folder / "disk.img").read_bytes()
        self.assertEqual(hashlib.sha256(image).hexdigest(), self.logical)


class Served(DocumentedTest):
    """What is served is stopped at the end."""

    def setUp(self):
        super().setUp()
        for path, size in ((self.meta, 8 << 20), (self.fast, 8 << 20), (self.origin, 32 << 20)):
            with open(path, "wb") as file:
                file.truncate(size)
        self.image = self.folder / "image.raw"
        self.image.write_bytes(random.Random(1).randbytes(32 << 20))
        self.addCleanup(self.stop)

    def serve(self, socket, control):
        self.succeed("cache_serve", "--create", "--metadata-device", self.meta, "--fast-device",
                     self.fast, "--origin-device", self.origin, "--socket", self.folder / socket,
                     "--control", self.folder / control)
        return f"nbd+unix:///?socket={self.folder / socket}"

    def succeed(self, command, *arguments):
        done = run(command, *arguments)
        self.assertEqual((done.returncode, NEW_CACHE.sub("", done.stderr)), (0, ""))

    def stop(self):
        for control in ("control", "disk.nbd.ctl"):
            if (self.folder / control).exists():
                run("cache_ctl", "--control", self.folder / control, "stop")

    def test_images_are_copied_in(self):
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.image,
                        self.folder / "image.qcow2"], check=True)
        self.follow("qemu-libvirt-proxmox.md", "fill")

    def test_a_snapshot_of_the_origin_is_complete(self):
        nbdcopy("--flush", self.image, self.serve("disk.nbd", "disk.nbd.ctl"))
        self.follow("qemu-libvirt-proxmox.md", "snapshot")

    def test_settings(self):
        self.serve("nbd", "control")
        self.follow("tuning.md", "settings")


class All(unittest.TestCase):
    def test_commands_are_run_or_it_is_said_why_not(self):
        tests = pathlib.Path(__file__).read_text()
        checked = 0
        for document in DOCS.glob("*.md"):
            for above, commands in blocks_of(document):
                with self.subTest(document.name, command=commands[0].line):
                    named = RUN.fullmatch(above)
                    checked += 1
                    if named:  # a test of this file runs it
                        self.assertRegex(tests, rf'follow\(("{document.name}", )?"{named[1]}"\)')
                    else:
                        self.assertRegex(above, NOT_RUN)
        self.assertGreater(checked, 20)


if __name__ == "__main__":
    unittest.main()
