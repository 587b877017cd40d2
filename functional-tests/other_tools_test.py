"""thin-provisioning-tools: finds what this program writes sound, and each reads the other's dumps."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from fixture_images import NAMES, Image, run

MAPPING = re.compile(r'<mapping cache_block="(\d+)" origin_block="(\d+)" dirty="(?:true|false)"/>')
DIRTY_MAPPING = re.compile(r"<mapping .*/>")
HINT = re.compile(r'<hint cache_block="(\d+)" data="(.*)"/>')


def run_theirs(command, *arguments):
    path = shutil.which(command, path="/usr/sbin:/sbin")
    return subprocess.run([path, *map(str, arguments)], capture_output=True, text=True,
                          timeout=600)


def they_can_dump(image):
    """Release 1.1 takes it for damage that metadata have no hints."""
    return image.field("hint_root") != 0 or run_theirs("cache_dump", "--version").stdout < "1"


class OtherToolsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.assertTrue(shutil.which("cache_check", path="/usr/sbin:/sbin"),
                        "thin-provisioning-tools is needed")

    def output(self, name, like):
        path = self.folder / name
        path.write_bytes(bytes(len(like.data)))
        return path

    def succeed(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def restored(self, document, image, *options):
        output = self.output("restored.img", image)
        self.succeed(run("cache_restore", "-i", document, "-o", output, *options))
        return output

    def test_they_find_what_is_restored_or_repaired_sound(self):
        for name in NAMES:
            image = Image(name)
            path = image.write(self.folder)
            document = self.folder / "document.xml"
            self.succeed(run("cache_dump", "-o", document, path))
            for version in (1, 2):
                with self.subTest(name, version=version):
                    output = self.restored(document, image, "--metadata-version", version)
                    self.succeed(run_theirs("cache_check", output))
            with self.subTest(name):
                output = self.output("repaired.img", image)
                self.succeed(run("cache_repair", "-i", path, "-o", output))
                self.succeed(run_theirs("cache_check", output))

    def test_they_find_what_was_written_back_and_mended_sound(self):
        image = Image("v2-needs-check")
        path = image.write(self.folder)
        self.succeed(run("cache_check", "--clear-needs-check-flag", path))
        self.succeed(run_theirs("cache_check", path))
        image = Image("v2-crash")
        path = image.write(self.folder)
        size = image.field("data_block_size") * 512
        devices = {name: self.folder / name for name in ("fast", "origin")}
        for device in devices.values():
            with open(device, "wb") as file:
                file.truncate(2048 * size)
        self.succeed(run("cache_writeback", "--metadata-device", path, "--fast-device",
                         devices["fast"], "--origin-device", devices["origin"]))
        self.succeed(run_theirs("cache_check", path))

    def images_that_they_can_dump(self):
        images = [(name, Image(name)) for name in NAMES]
        return [(name, image) for name, image in images if they_can_dump(image)]

    def test_their_dumps_are_read(self):
        for name, image in self.images_that_they_can_dump():
            with self.subTest(name):
                document = self.folder / "theirs.xml"
                self.succeed(run_theirs("cache_dump", "-o", document, image.write(self.folder)))
                self.expect_same(document, self.restored(document, image))

    def test_our_dumps_are_read_by_them(self):
        """Whatever was in use: counters, discards and other versions of the policy as well."""
        nr_commented = 0
        for name in NAMES:
            for as_stored in ((), ("--as-stored",)):
                with self.subTest(name, as_stored=as_stored):
                    image = Image(name)
                    document = self.folder / "document.xml"
                    self.succeed(run("cache_dump", "-o", document, *as_stored,
                                     image.write(self.folder)))
                    theirs = self.output("theirs.img", image)
                    self.succeed(run_theirs("cache_restore", "-i", document, "-o", theirs))
                    # What 0.9 writes has a hint size of 0, and 1.x makes up hints of 0.
                    said, found = document.read_text(), run("cache_dump", theirs).stdout
                    self.assertEqual(DIRTY_MAPPING.findall(found), DIRTY_MAPPING.findall(said))
                    nr_commented += "<!-- dmcache:" in document.read_text()
        self.assertGreater(nr_commented, 5)

    def test_dumps_of_what_they_restored_are_read(self):
        for name, image in self.images_that_they_can_dump():
            with self.subTest(name):
                document, again = self.folder / "theirs.xml", self.folder / "again.xml"
                self.succeed(run_theirs("cache_dump", "-o", document, image.write(self.folder)))
                theirs = self.output("theirs.img", image)
                self.succeed(run_theirs("cache_restore", "-i", document, "-o", theirs))
                self.succeed(run_theirs("cache_dump", "-o", again, theirs))
                self.expect_same(again, self.restored(again, image))

    def expect_same(self, document, restored):
        theirs, ours = document.read_text(), run("cache_dump", restored).stdout
        self.assertEqual(MAPPING.findall(ours), MAPPING.findall(theirs))
        self.assertEqual(HINT.findall(ours), HINT.findall(theirs))
        self.assertEqual(ours.count('dirty="true"'), theirs.count('dirty="true"'))

    def test_they_read_what_is_restored(self):
        for name in NAMES:
            image = Image(name)
            if not image.field("flags") & 1 or image.field("version") != 1:
                continue  # what they say of other ones isn't true
            with self.subTest(name):
                document = self.folder / "document.xml"
                self.succeed(run("cache_dump", "-o", document, image.write(self.folder)))
                output = self.restored(document, image, "--metadata-version", 1)
                image.data = output.read_bytes()
                if not they_can_dump(image):
                    continue
                theirs = self.succeed(run_theirs("cache_dump", output)).stdout
                self.assertEqual(MAPPING.findall(theirs), MAPPING.findall(document.read_text()))
                self.assertEqual(theirs.count('dirty="true"'),
                                 document.read_text().count('dirty="true"'))


if __name__ == "__main__":
    unittest.main()
