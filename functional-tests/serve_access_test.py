"""cache_serve: who can connect to a cache that is served, and where."""

import os
import stat
import subprocess
import unittest

from cache_files import PATIENCE, wait_until
from fixture_images import run
from served_cache import ServedCacheTest, nbdcopy

OTHERS = 54321  # a user and a group that nobody else here has
IS_ROOT = os.geteuid() == 0


class Sockets(ServedCacheTest):
    def access(self, path):
        found = path.stat()
        return stat.S_IMODE(found.st_mode), found.st_gid

    def size_as(self, user, group):
        """Whether this user can connect to the NBD socket."""
        return subprocess.run(["nbdinfo", "--size", self.uri], user=user, group=group,
                              extra_groups=[], capture_output=True, timeout=PATIENCE,
                              check=False).returncode == 0

    def test_are_their_user_s_alone(self):
        self.must_serve("--create")
        for path in (self.socket, self.control):
            self.assertEqual(self.access(path)[0], 0o600)

    @unittest.skipUnless(IS_ROOT, "only root is a member of every group")
    def test_a_group_is_let_in_and_stays_when_the_server_dies(self):
        self.folder.chmod(0o711)
        self.must_serve("--create", "--socket-group", OTHERS)
        for _ in range(2):
            for path in (self.socket, self.control):
                self.assertEqual(self.access(path), (0o660, OTHERS))
            self.assertTrue(self.size_as(OTHERS, OTHERS))
            self.assertFalse(self.size_as(OTHERS, OTHERS + 1))
            server = self.server_pid()
            self.kill_server()
            wait_until(lambda: self.server_pid() not in (None, server) and
                       self.ctl("status").returncode == 0 and
                       self.access(self.socket)[0] == 0o660)

    def test_mode(self):
        mask = os.umask(0o077)
        self.addCleanup(os.umask, mask)
        self.must_serve("--create", "--socket-mode", "0622", "--socket-group", os.getegid())
        for path in (self.socket, self.control):
            self.assertEqual(self.access(path), (0o622, os.getegid()))

    def refuse(self, code, text, *options):
        before = self.contents()
        done = self.serve("--create", *options)
        self.assertEqual((done.returncode, done.stdout), (code, ""))
        self.assertIn(text, done.stderr)
        self.assertEqual(self.contents(), before)

    def test_wrong_access_is_refused(self):
        self.refuse(2, "--socket-mode is an octal mode that lets the owner read and write, like "
                       "660, not '440'", "--socket-mode", "440")
        self.refuse(3, "there is no group 'nobody-has-this'", "--socket-group", "nobody-has-this")
        done = run("cache_serve", *self.devices(), "--port", "10809", "--foreground",
                   "--socket-mode", "660")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--socket-group and --socket-mode are those of --socket and --control: "
                      "give one", done.stderr)


class PassedOn(ServedCacheTest):
    def refuse(self, text, *words):
        done = self.serve("--create", "--", *words)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn(f"cache_serve: {text}\n", done.stderr)

    def test_a_filter_and_its_parameters(self):
        log = self.folder / "requests"
        self.must_serve("--create", "--", "--filter=log", f"logfile={log}", "--filter", "nozero")
        nbdcopy(self.image(), self.uri)
        self.assertIn(" Write ", log.read_text())
        server = self.server_pid()
        self.kill_server()
        wait_until(lambda: self.server_pid() not in (None, server) and
                   self.ctl("status").returncode == 0)
        log.write_text("")
        nbdcopy(self.uri, "null:")
        self.assertIn(" Read ", log.read_text())
        self.must_ctl("stop")

    def test_options_that_cache_serve_sets_are_refused(self):
        for option, instead in (("--port=1", "--port"), ("-U", "--socket"), ("-r", "--read-only"),
                                ("--run", "--run"), ("--log=null", "--log"),
                                ("--foreground", "--foreground")):
            name = option.partition("=")[0]
            self.refuse(f"{name} is not passed on to nbdkit: give {instead} before the --", option)
        for word in ("--threads", "--exit-with-parent", "--user", "--dump-plugin", "--fil", "-fv",
                     "memory", "=1", "", "--"):
            self.refuse(f"'{word}' is not passed on to nbdkit: --filter, --debug, -D, --verbose, -v, "
                        "--swap, --no-sr, --mask-handshake, --selinux-label, --ipv4-only, -4, "
                        "--ipv6-only, -6, and KEY=VALUE for filters are", word)
        self.refuse("nbdkit's --filter takes a value", "--filter")
        self.refuse("nbdkit's --verbose takes no value", "--verbose=1")

    def test_parameters_of_the_plugin_are_refused(self):
        before = self.contents()
        for word in ("mode=writethrough", "metadata=/dev/null", "complete=false", "nothing=1"):
            done = self.serve("--create", "--", "--filter=log", "logfile=/dev/null", word)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"no filter takes the parameter '{word.partition('=')[0]}'", done.stderr)
        self.assertEqual(self.contents(), before)


if __name__ == "__main__":
    unittest.main()
