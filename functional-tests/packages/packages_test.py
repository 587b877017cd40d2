"""The Debian packages on a system, beside thin-provisioning-tools, LVM and what makes initial file
systems. It installs and removes packages: scripts/test-packages runs it in a Debian of its own, as
root, with the folder that has the packages in DMCACHE_PACKAGES.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

PACKAGES = pathlib.Path(os.environ["DMCACHE_PACKAGES"])
SOURCE = pathlib.Path(os.environ["DMCACHE_SOURCE"])
SHARED = ["cache_check", "cache_dump", "cache_metadata_size", "cache_repair", "cache_restore",
          "cache_writeback"]
SBIN = pathlib.Path("/usr/sbin")
PAGES = pathlib.Path("/usr/share/man/man8")
ASIDE = "thin-provisioning-tools"
KERNEL = "0.0.0-none"  # a kernel without modules
TOLD_AT_THE_PROMPT = """\
vg/root is cached, and LVM has not activated it. This says why:
  lvm lvchange -ay vg/root
If it says that repair is required, the cache's metadata are damaged.
This repairs them, unless it would lose data, which it reports then:
  lvm lvconvert --repair vg/root
Once the volume is active, "exit" goes on with the boot.
vg/home is cached, and LVM has not activated it. This says why:
  lvm lvchange -ay vg/home
If it says that repair is required, the cache's metadata are damaged.
LVM repairs no cache volume: see "man dmcache", on another system.
Once the volume is active, "exit" goes on with the boot.
"""


def run(*command, succeeds=True, **keywords):
    done = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **keywords)
    if succeeds and done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}")
    return done.stdout


def apt(*arguments):
    return run("apt-get", "-qq", "-y", "--no-install-recommends", "--allow-downgrades",
               "-o", "APT::Sandbox::User=root", *arguments)


def built(name):
    found, = PACKAGES.glob(f"{name}_*.deb")
    return found


def program_of(command):
    return (SBIN / command).resolve().name


def diversions():
    return run("dpkg-divert", "--list", "*cache_*")


class Packages(unittest.TestCase):
    def setUp(self):
        run("dpkg", "--purge", "dmcache-serve", "dmcache", ASIDE)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def changed(self, package, preinst=""):
        """The package with another version, or with more at the end of its preinst."""
        tree = self.folder / f"tree-{package.name}"
        run("dpkg-deb", "--raw-extract", package, tree)
        control = tree / "DEBIAN/control"
        control.write_text(re.sub(r"^(Version: .*)$", r"\1.1", control.read_text(), flags=re.M))
        if preinst:
            with open(tree / "DEBIAN/preinst", "a") as script:
                script.write(preinst)
        made = self.folder / f"changed-{package.name}"
        run("dpkg-deb", "--root-owner-group", "--build", tree, made)
        return made

    def other_package(self):
        run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", ASIDE, cwd=self.folder)
        found, = self.folder.glob(f"{ASIDE}_*.deb")
        return found

    def assert_both_are_there(self):
        for command in SHARED:
            self.assertEqual(program_of(command), "dmcache")
            self.assertEqual(program_of(f"{command}.{ASIDE}"), "pdata_tools")
            self.assertIn("dmcache", run("zcat", PAGES / f"{command}.8.gz"))
            self.assertTrue((PAGES / f"{command}.{ASIDE}.8.gz").exists())
        self.assertEqual(program_of("thin_check"), "pdata_tools")
        self.assert_packages_are_whole("dmcache", ASIDE)

    def assert_the_other_has_its_names(self):
        for command in SHARED:
            self.assertEqual(program_of(command), "pdata_tools")
            self.assertIn(ASIDE, run("dpkg", "-S", SBIN / command))
            self.assertFalse((SBIN / f"{command}.{ASIDE}").is_symlink())
        self.assertEqual(diversions(), "")
        self.assert_packages_are_whole(ASIDE)

    def assert_packages_are_whole(self, *names):
        for name in names:
            # A minimal system leaves documents out.
            self.assertEqual([line for line in run("dpkg", "--verify", name,
                                                   succeeds=False).splitlines()
                              if "/usr/share/doc/" not in line], [])

    def test_alone_it_comes_and_goes(self):
        apt("install", built("dmcache"))
        self.assertEqual(program_of("cache_check"), "dmcache")
        self.assertIn("Usage: cache_check", run("cache_check", "--help"))
        apt("remove", "dmcache")
        self.assertEqual(list(SBIN.glob("*cache_check*")), [])
        apt("purge", "dmcache")
        self.assertEqual(diversions(), "")

    def test_it_takes_the_names_over_and_gives_them_back(self):
        apt("install", ASIDE)
        apt("install", built("dmcache"))
        self.assert_both_are_there()
        apt("remove", "dmcache")
        self.assert_the_other_has_its_names()
        apt("install", built("dmcache"))
        self.assert_both_are_there()
        apt("purge", "dmcache")
        self.assert_the_other_has_its_names()

    def test_the_other_package_can_come_later(self):
        apt("install", built("dmcache"))
        apt("install", ASIDE)
        self.assert_both_are_there()
        apt("remove", "dmcache")
        self.assert_the_other_has_its_names()

    def test_the_other_package_can_be_reinstalled_upgraded_and_removed(self):
        apt("install", ASIDE, built("dmcache"))
        apt("install", "--reinstall", ASIDE)
        self.assert_both_are_there()
        apt("install", self.changed(self.other_package()))
        self.assert_both_are_there()
        apt("purge", ASIDE)
        self.assertEqual(program_of("cache_check"), "dmcache")
        self.assertEqual(list(SBIN.glob(f"*.{ASIDE}")), [])
        self.assert_packages_are_whole("dmcache")

    def test_an_upgrade_keeps_the_names(self):
        apt("install", ASIDE, built("dmcache"))
        apt("install", self.changed(built("dmcache")))
        self.assert_both_are_there()
        apt("install", "--reinstall", built("dmcache"))
        self.assert_both_are_there()
        apt("remove", "dmcache")
        self.assert_the_other_has_its_names()

    def test_an_installation_that_fails_gives_the_names_back(self):
        apt("install", ASIDE)
        broken = self.changed(built("dmcache"), preinst="exit 1\n")
        with self.assertRaises(AssertionError):
            apt("install", broken)
        self.assert_the_other_has_its_names()

    def test_an_upgrade_that_fails_keeps_the_names(self):
        apt("install", ASIDE, built("dmcache"))
        broken = self.changed(built("dmcache"), preinst="exit 1\n")
        with self.assertRaises(AssertionError):
            apt("install", broken)
        self.assert_both_are_there()

    def test_the_server_comes_with_its_plugin_and_goes(self):
        apt("install", built("dmcache"), built("dmcache-serve"))
        self.assertIn("name=dmcache", run("nbdkit", "dmcache", "--dump-plugin"))
        unit = pathlib.Path("/usr/lib/systemd/system/cache-serve@.service").read_text()
        self.assertIn("ExecStart=/usr/sbin/cache_serve ", unit)
        for name, size in [("meta", 4), ("fast", 16), ("origin", 64)]:
            with open(self.folder / name, "wb") as file:
                file.truncate(size << 20)
        run("cache_serve", "--create", "--metadata-device", "meta", "--fast-device", "fast",
            "--origin-device", "origin", "--socket", "nbd", "--control", "ctl", cwd=self.folder)
        run("cache_ctl", "--control", "ctl", "stop", cwd=self.folder)
        self.assertIn("cleanly shut down: sound", run("cache_check", self.folder / "meta"))
        apt("purge", "dmcache-serve")
        self.assertFalse((SBIN / "cache_serve").is_symlink())
        self.assert_packages_are_whole("dmcache")

    def test_the_server_has_little_of_the_machine(self):
        apt("install", "systemd", built("dmcache"), built("dmcache-serve"))
        unit = "/usr/lib/systemd/system/cache-serve@.service"
        run("systemd-analyze", "security", "--offline=true", "--threshold=30", unit)
        self.assertNotIn("cache-serve@", run("systemd-analyze", "verify",
                                             unit.replace("@", "@try"), succeeds=False))

    def test_bash_completes_commands_and_options(self):
        apt("install", built("dmcache"))
        asked = """. /usr/share/bash-completion/completions/cache_check
            COMP_WORDS=({words}) COMP_CWORD={last}
            _dmcache {program} '{word}'; echo "${{COMPREPLY[*]}}"
            """
        for words, expected in [(["dmcache", "cache_r"], "cache_repair cache_replay cache_restore\n"),
                                (["cache_check", "--auto"], "--auto-repair\n"),
                                (["dmcache", "check", "--auto"], "--auto-repair\n")]:
            completed = run("bash", "-c", asked.format(words=" ".join(words), last=len(words) - 1,
                                                       program=words[0], word=words[-1]))
            self.assertEqual(completed, expected)


class Boot(unittest.TestCase):
    """What the initial file systems hold: LVM's own call of cache_check in them runs dmcache."""

    @classmethod
    def setUpClass(cls):
        apt("install", "lvm2", ASIDE, "initramfs-tools-core", "dracut-core", "kmod", "cpio", "zstd")
        os.makedirs(f"/usr/lib/modules/{KERNEL}", exist_ok=True)
        run("depmod", KERNEL)
        pathlib.Path(f"/boot/config-{KERNEL}").write_text(
            "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n")

    def setUp(self):
        run("dpkg", "--purge", "dmcache-serve", "dmcache")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def initial_file_systems(self):
        """Folders with what initramfs-tools and dracut make."""
        made = []
        for name, command in [("initramfs-tools", ["mkinitramfs", "-o"]),
                              ("dracut", ["dracut", "--no-hostonly", "--force", "--kver", KERNEL])]:
            image = self.folder / name
            run(*command, image, *([KERNEL] if name == "initramfs-tools" else []))
            unpacked = self.folder / f"unpacked-{name}"
            shutil.rmtree(unpacked, ignore_errors=True)
            run("unmkinitramfs", image, unpacked)
            if (unpacked / "main").is_dir():
                unpacked /= "main"
            made.append((name, unpacked))
        return made

    def called_by_lvm(self, tree):
        """The program that LVM calls in this file system, and what it says."""
        if not (tree / "etc/lvm").exists():  # as in what dracut makes for any machine
            return "/usr/sbin/cache_check", run("chroot", tree, "/usr/sbin/cache_check", "--help")
        setting = run("chroot", tree, "lvm", "lvmconfig", "--typeconfig", "full",
                      "global/cache_check_executable")
        path = re.search(r'cache_check_executable="(.*)"', setting)[1]
        return path, run("chroot", tree, path, "--help")

    def told_at_the_prompt(self, name, tree):
        """What is seen before the prompt if a root's cache is not active; LVM is a stand-in."""
        lvm = tree / "usr/sbin/lvm"
        lvm.unlink()
        lvm.write_text('#!/bin/sh\necho "  vg root [fast_cpool]"\necho "  vg home [ssd_cvol]"\n')
        lvm.chmod(0o755)
        (tree / "dev").mkdir(exist_ok=True)  # for /dev/null
        # As initramfs-tools does it, and dracut.
        steps = {"initramfs-tools": ". /scripts/functions; run_scripts /scripts/panic",
                 "dracut": ". /lib/dracut-lib.sh; source_hook emergency"}[name]
        return run("chroot", tree, "/bin/sh", "-c", steps, succeeds=False)

    def assert_dmcache_is_called(self, expected_paths):
        for name, tree in self.initial_file_systems():
            with self.subTest(name):
                path, said = self.called_by_lvm(tree)
                self.assertIn(path, expected_paths)
                self.assertIn("Example: cache_check", said)
                for each in expected_paths:
                    self.assertEqual(run("chroot", tree, each, "--help"), said)
                self.assertEqual((tree / "usr/sbin/thin_check").readlink().name, "pdata_tools")
                self.assertEqual(self.told_at_the_prompt(name, tree), TOLD_AT_THE_PROMPT)

    def test_without_dmcache_another_program_is_called(self):
        for name, tree in self.initial_file_systems():
            with self.subTest(name):
                self.assertNotIn("Example: cache_check", self.called_by_lvm(tree)[1])

    def test_the_package_is_called(self):
        apt("install", built("dmcache"))
        self.assert_dmcache_is_called({"/usr/sbin/cache_check"})
        apt("purge", "dmcache")
        self.test_without_dmcache_another_program_is_called()

    def test_an_installation_from_source_is_called(self):
        with tempfile.TemporaryDirectory() as tree:
            run("dpkg-deb", "--raw-extract", built("dmcache"), tree)
            run("cp", "-a", f"{tree}/usr/sbin/.", "/usr/local/sbin")
        for source, file in [
                ("initramfs-hook.in", "share/initramfs-tools/hooks/dmcache"),
                ("inactive-caches.sh", "share/initramfs-tools/scripts/panic/dmcache"),
                ("inactive-caches.sh", "lib/dracut/modules.d/95dmcache/inactive-caches.sh"),
                ("dracut-module-setup.sh.in", "lib/dracut/modules.d/95dmcache/module-setup.sh")]:
            path = pathlib.Path("/usr/local") / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((SOURCE / "bin/boot" / source).read_text()
                            .replace("@sbin@", "/usr/local/sbin"))
            path.chmod(0o755)
        run("/usr/local/sbin/dmcache", "install-lvm", "--undo")  # of a run that was cut short
        before = pathlib.Path("/etc/lvm/lvmlocal.conf").read_text()
        run("/usr/local/sbin/dmcache", "install-lvm")
        self.assertNotIn("unknown", run("lvm", "lvmconfig", "--validate"))
        self.assert_dmcache_is_called({"/usr/local/sbin/cache_check", "/usr/sbin/cache_check"})
        run("/usr/local/sbin/dmcache", "install-lvm", "--undo")
        self.assertEqual(pathlib.Path("/etc/lvm/lvmlocal.conf").read_text(), before)
        self.test_without_dmcache_another_program_is_called()


if __name__ == "__main__":
    unittest.main(verbosity=2)
