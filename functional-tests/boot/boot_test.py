"""A Debian whose root is on a cached volume of LVM's, with the packages of this project: it boots,
and its initial file system calls cache_check before it activates the cache; it boots after a power
cut and with NEEDS_CHECK set; and where metadata are damaged, it stops at a prompt from which they
can be repaired. scripts/test-boot runs this, as root, with the Debian in DMCACHE_BOOT_TREE and a
folder for disks and transcripts in DMCACHE_BOOT_FOLDER."""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "kernel")]

from console import PROMPT, Console
from lvm_metadata import MIB, PLACE_OF_EXTENTS, Metadata, places_of

TREE = pathlib.Path(os.environ["DMCACHE_BOOT_TREE"])
FOLDER = pathlib.Path(os.environ["DMCACHE_BOOT_FOLDER"])
ROOT = "root=/dev/mapper/vg-root"
ROOT_MIB = 1536
CHECK = "called cache_check -q --clear-needs-check-flag /dev/mapper/vg-fast_cpool_cmeta: "
AT_THE_PROMPT = r"\(initramfs\) "
ACTIVATE = "lvm lvchange -ay vg/root"
REPAIR = "lvm lvconvert --repair vg/root"
ACCEPT_LOSS = """ --config 'global/cache_repair_options=["--accept-loss"]'"""
WAIT_FOR_ROOT = "wait_for_root=1800"  # see prepare_root.sh
CLEAN_SHUTDOWN, NEEDS_CHECK = 1, 2  # flags of the superblock
CACHE_IT = [
    "lvm vgcreate -s 1m vg /dev/vda /dev/vdb",
    # What is on the disk already becomes the root.
    f"lvm lvcreate -y -Wn -Zn -n root -L {ROOT_MIB}m vg /dev/vda",
    "lvm lvcreate -y --type cache-pool --chunksize 32k --poolmetadatasize 5m -L 32m -n fast vg "
    "/dev/vdb",
    "lvm lvconvert -y --type cache --cachepool vg/fast --cachemode writeback vg/root"]


def boot(name, disks, parameters=WAIT_FOR_ROOT):
    kernel, = TREE.glob("boot/vmlinuz-*")
    initial, = TREE.glob("boot/initrd.img-*")
    return Console(FOLDER / f"{name}.log", kernel, initial, f"{ROOT} ro {parameters}",
                   [disks / "slow", disks / "fast"])


class Boot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.disks = FOLDER / "disks"
        shutil.rmtree(cls.disks, ignore_errors=True)
        cls.disks.mkdir(parents=True)
        cls.addClassCleanup(shutil.rmtree, cls.disks)
        for disk, size in (("slow", ROOT_MIB + 8), ("fast", 56)):
            with open(cls.disks / disk, "wb") as image:
                image.truncate(size * MIB)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", f"offset={PLACE_OF_EXTENTS}",
                        "-d", TREE, cls.disks / "slow", f"{ROOT_MIB}m"], check=True)
        cls.install()
        cls.boot_and_cut_power()

    @classmethod
    def install(cls):
        with boot("install", cls.disks, "break=premount") as console:
            console.wait_for(PROMPT)
            for command in CACHE_IT:
                console.must_run(command)
            places = console.must_run("lvm lvs -a --noheadings -o lv_name,devices vg")
            cls.place = places_of(places.splitlines())["fast_cpool_cmeta"]
            console.must_run("lvm vgchange -an vg")

    @classmethod
    def boot_and_cut_power(cls):
        with boot("first", cls.disks) as console:
            cls.first = console.wait_for(PROMPT)
            console.must_run("dd if=/dev/urandom of=kept bs=32k count=800 oflag=direct")
            console.must_run("sha256sum kept > sum; sync")

    def setUp(self):
        self.copy = FOLDER / "copy"
        shutil.rmtree(self.copy, ignore_errors=True)
        subprocess.run(["cp", "-r", "--sparse=always", "--reflink=auto", self.disks, self.copy],
                       check=True)
        self.addCleanup(shutil.rmtree, self.copy)

    def metadata(self):
        return Metadata(self.copy / "fast", self.place, 5 * MIB)

    def boot(self, parameters=WAIT_FOR_ROOT):
        return boot(self.id().rsplit(".test_", 1)[1], self.copy, parameters)

    def expect_all_there(self, console):
        self.assertEqual(console.must_run("sha256sum -c sum"), "kept: OK")
        self.assertIn("/dev/mapper/vg-root", console.must_run("findmnt -n -o SOURCE /"))

    def damage(self, array):
        metadata = self.metadata()
        metadata.zero(metadata.array_blocks(array + "_root")[-1])
        metadata.store()

    def refused_boot(self):
        """At the prompt where it ends. What LVM says at boot is shown nowhere, as it is udev that
        calls it: a user has to ask again."""
        console = self.boot("")
        self.addCleanup(console.cut_power)
        seen = console.wait_for(AT_THE_PROMPT)
        self.assertIn(CHECK + "1\n", seen)
        self.assertNotIn(CHECK + "0\n", seen)
        self.assertIn("ALERT!  /dev/mapper/vg-root does not exist.  Dropping to a shell!", seen)
        self.assertIn("vg/root is cached, and LVM has not activated it. This says why:\n"
                      f"  {ACTIVATE}\n", seen)
        status, said = console.run(ACTIVATE)
        self.assertNotEqual(status, 0)
        self.assertIn("Check of pool vg/fast_cpool failed (status:1). Manual repair required!",
                      said)
        self.assertIn(f"  {REPAIR}\n", seen)
        return console

    def go_on(self, console):
        console.must_run(ACTIVATE)
        console.enter("exit")
        console.wait_for(r"root@guest:\S*# ")

    def test_cache_check_is_called(self):
        self.assertIn(CHECK + "0\n", self.first)

    def test_what_was_written_is_there_after_a_power_cut(self):
        self.assertFalse(self.metadata().field("flags") & CLEAN_SHUTDOWN)
        with self.boot() as console:
            self.assertIn(CHECK + "0\n", console.wait_for(PROMPT))
            self.expect_all_there(console)

    def test_what_was_written_is_there_after_a_shutdown(self):
        with self.boot() as console:
            console.wait_for(PROMPT)
            console.enter("systemctl poweroff")
            console.wait_for("reboot: Power down")
        with boot("after_a_shutdown", self.copy) as console:
            self.assertIn(CHECK + "0\n", console.wait_for(PROMPT))
            self.expect_all_there(console)

    def test_needs_check_is_cleared(self):
        metadata = self.metadata()
        metadata.set_field("flags", metadata.field("flags") | NEEDS_CHECK)
        metadata.store()
        with self.boot() as console:
            self.assertIn(CHECK + "0\n", console.wait_for(PROMPT))
            self.assertNotIn("needs_check", console.must_run("dmsetup status vg-root"))
            self.expect_all_there(console)
        self.assertFalse(self.metadata().field("flags") & NEEDS_CHECK)

    def test_damaged_hints_are_repaired_at_the_prompt(self):
        self.damage("hint")
        console = self.refused_boot()
        self.assertRegex(console.must_run(REPAIR), r" (\d+) mapped, \1 dirty, 0 lost")
        self.go_on(console)
        self.expect_all_there(console)

    def test_a_loss_is_refused_at_the_prompt_unless_it_is_accepted(self):
        self.damage("mapping")
        console = self.refused_boot()
        status, said = console.run(REPAIR)
        self.assertNotEqual(status, 0)
        self.assertIn("--accept-loss makes the exit status 0", said)
        console.must_run(REPAIR + ACCEPT_LOSS)
        self.go_on(console)


if __name__ == "__main__":
    unittest.main(verbosity=2)
