"""dmcache install-lvm: LVM's configuration and the links for the boot, in a folder that is a system."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from fixture_images import BIN, SOURCE

COMMANDS = ["cache_check", "cache_dump", "cache_repair", "cache_restore"]
# What dmcache's lvm.conf names, all of it in comments.
MAIN_FILE = "global {\n" + "".join(f'\t# {each}_executable = "/usr/sbin/{each}"\n'
                                   for each in COMMANDS) + "}\n"
LOCAL_FILE = 'local {\n\t# host_id = 0\n\tsystem_id = "{ global/units"\n}\n'


class InstallLvm(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()
        self.programs = self.root / "usr/local/sbin"
        self.programs.mkdir(parents=True)
        shutil.copy(BIN / "dmcache", self.programs)
        for command in COMMANDS:
            (self.programs / command).symlink_to("dmcache")
        self.lvm = self.root / "etc/lvm"
        self.write(self.lvm / "lvm.conf", MAIN_FILE)
        self.local = self.lvm / "lvmlocal.conf"
        self.write(self.local, LOCAL_FILE)

    def write(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_it(self, *arguments, **environment):
        return subprocess.run([self.programs / "dmcache", "install-lvm", "--root", self.root,
                               *arguments], capture_output=True, text=True, env=environment)

    def install(self, *arguments):
        done = self.run_it(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def state(self):
        return {path: path.readlink() if path.is_symlink() else path.read_bytes()
                for path in self.root.rglob("*")
                if (path.is_symlink() or path.is_file()) and path.parent != self.programs}

    def assert_refused(self, message, code=1):
        before = self.state()
        done = self.run_it()
        self.assertEqual((done.returncode, done.stdout), (code, ""))
        self.assertIn(message, done.stderr)
        self.assertEqual(self.state(), before)

    def settings(self):
        return dict(re.findall(r'^\t(\w+_executable) = "(.*)"$', self.local.read_text(), re.M))

    def test_lvm_is_told_the_commands_and_the_rest_of_the_file_stays(self):
        self.assertIn("makes LVM call the commands in /usr/local/sbin", self.install())
        self.assertEqual(self.settings(), {f"{each}_executable": f"/usr/local/sbin/{each}"
                                           for each in COMMANDS})
        self.assertTrue(self.local.read_text().startswith(LOCAL_FILE))

    def test_undone_it_is_as_before(self):
        before = self.state()
        self.install()
        self.assertNotEqual(self.state(), before)
        self.assertIn("leaves it to LVM what it calls", self.install("--undo"))
        self.assertEqual(self.state(), before)

    def test_done_twice_it_is_done_once(self):
        self.install()
        after = self.state()
        self.assertEqual(self.install(), "nothing had to be changed\n")
        self.assertEqual(self.state(), after)
        self.install("--undo")
        self.assertEqual(self.install("--undo"), "nothing had to be changed\n")

    def test_a_file_that_is_not_there_is_made(self):
        self.local.unlink()
        self.install()
        self.assertEqual(len(self.settings()), 4)

    def test_what_is_written_after_it_stays(self):
        self.install()
        self.local.write_text(self.local.read_text() + "devices/scan = []\n")
        self.install("--undo")
        self.assertEqual(self.local.read_text(), LOCAL_FILE + "devices/scan = []\n")

    def test_another_prefix_takes_the_place_of_the_first(self):
        self.install()
        first = self.local.read_text()
        self.programs = self.programs.rename(self.root / "opt")
        self.install()
        self.assertEqual(self.local.read_text(), first.replace("/usr/local/sbin", "/opt"))

    def test_an_lvm_that_does_not_call_cache_restore_is_not_told_of_it(self):
        self.write(self.lvm / "lvm.conf", MAIN_FILE.replace("cache_restore", "else"))
        self.install()
        self.assertEqual(len(self.settings()), 3)
        self.assertNotIn("cache_restore", self.local.read_text())

    def test_the_folder_is_the_one_that_lvm_is_told(self):
        self.lvm.rename(self.root / "etc/other")
        done = self.run_it(LVM_SYSTEM_DIR="/etc/other")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("cache_check", (self.root / "etc/other/lvmlocal.conf").read_text())

    def test_what_somebody_has_set_stays(self):
        for name, text, line in [
                ("lvm.conf", 'global {\n cache_check_executable = "" # none\n}\n', 2),
                ("lvmlocal.conf", '\nglobal/cache_check_executable="/opt/mine"', 2),
                ("lvm_tag.conf", 'global{cache_repair_executable="/opt/mine"}', 1)]:
            with self.subTest(name):
                file = self.lvm / name
                before = file.read_text() if file.exists() else None
                self.write(file, text)
                setting, value = re.search(r'(cache_\w+)\s*=\s*"(.*)"', text).groups()
                self.assert_refused(f'{file}, line {line}: global/{setting} is set already, to '
                                    f'"{value}": remove that, if LVM is to call dmcache')
                file.unlink()
                if before is not None:
                    file.write_text(before)

    def test_what_somebody_has_set_to_the_same_is_no_obstacle(self):
        self.write(self.local, 'global/cache_check_executable = "/usr/local/sbin/cache_check"\n')
        self.install()

    def test_a_file_that_is_no_configuration_is_left_alone(self):
        self.write(self.local, "global {\n")
        self.assert_refused(f"{self.local}, line 2: section global has no end")

    def test_what_was_put_among_its_settings_is_not_lost(self):
        self.install()
        self.local.write_text(self.local.read_text().replace("global {\n", "global {\n\tunits=1\n"))
        self.assert_refused("there is something else among dmcache's settings")
        self.assertEqual(self.run_it("--undo").returncode, 1)
        self.assertIn("units=1", self.local.read_text())

    def test_a_lost_mark_is_told(self):
        self.install()
        self.local.write_text(self.local.read_text().replace("ends.\n", "\n"))
        self.assert_refused("one of the two lines between which dmcache's settings stand is missing")

    def test_lvm_is_told_of_no_program_that_is_something_else(self):
        (self.programs / "cache_repair").unlink()
        (self.programs / "cache_repair").symlink_to("/bin/true")
        self.assert_refused(f"{self.programs}/cache_repair is not a link to "
                            f"{self.programs}/dmcache")

    def test_without_lvm_there_is_nothing_to_set(self):
        (self.lvm / "lvm.conf").unlink()
        self.assert_refused(f"{self.lvm}/lvm.conf isn't there: is LVM installed?", code=3)

    def test_dmcache_is_there_at_boot(self):
        before = self.state()
        links = {"etc/initramfs-tools/hooks/dmcache": "share/initramfs-tools/hooks/dmcache",
                 "etc/initramfs-tools/scripts/panic/dmcache":
                     "share/initramfs-tools/scripts/panic/dmcache",
                 "usr/lib/dracut/modules.d/95dmcache": "lib/dracut/modules.d/95dmcache"}
        for link in links:
            (self.root / link).parent.mkdir(parents=True)
        self.assert_refused("isn't there, so dmcache would be missing at boot")
        for target in links.values():
            (self.root / "usr/local" / target).mkdir(parents=True)
        told = self.install()
        self.assertIn("update-initramfs", told)
        self.assertIn("dracut --regenerate-all", told)
        for link, target in links.items():
            self.assertEqual(str((self.root / link).readlink()), f"/usr/local/{target}")
        self.assertIn("update-initramfs", self.install("--undo"))
        self.assertEqual(self.state(), before)

    def test_another_hook_by_its_name_is_left_alone(self):
        (self.root / "usr/local/share/initramfs-tools/hooks/dmcache").mkdir(parents=True)
        self.write(self.root / "etc/initramfs-tools/hooks/dmcache", "#!/bin/sh\n")
        self.assert_refused("is somebody else's, not a link of dmcache")

    def test_help_and_page_name_the_same_options(self):
        page = (SOURCE / "man8/dmcache.8").read_text().replace("\\-", "-")
        part = re.search(r"^\.SH LVM AND THE BOOT$(.*?)^\.SH ", page, re.M | re.S)[1]
        part = part.replace("dracut --regenerate-all --force", "")
        named = re.compile(r"(?<![\w-])--[a-z]+")
        shown = self.run_it("--help").stdout
        self.assertEqual(set(named.findall(part)),
                         set(named.findall(shown)) - {"--help", "--version"})


if __name__ == "__main__":
    unittest.main()
