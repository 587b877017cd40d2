"""cache_serve: who can connect to a cache that is served, and where."""

import os
import shutil
import socket
import stat
import subprocess
import unittest

from cache_files import ORIGIN_SIZE, PATIENCE, wait_until
from fixture_images import BIN, run
from served_cache import NEW_CACHE, ServedCacheTest, nbdcopy

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

    @unittest.skipUnless(IS_ROOT, "only root can become another user")
    def test_everybody_can_ask_for_the_status_and_nothing_else(self):
        self.folder.chmod(0o711)
        status = self.folder / "status"
        self.must_serve("--create", "--status-socket", status)
        for _ in range(2):
            for form in ([], ["--human"], ["--json"], ["--metrics"]):
                done = self.ctl_as(OTHERS, status, "status", *form)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
            for request in (["stop"], ["clean"], ["set", "mode", "writethrough"],
                            ["message", "migration_threshold", "0"]):
                done = self.ctl_as(OTHERS, status, *request)
                self.assertEqual(done.returncode, 2)
                self.assertIn("this socket tells the status and nothing else", done.stderr)
            self.assertEqual(self.ctl_as(OTHERS, self.control, "status").returncode, 3)
            server = self.server_pid()
            self.kill_server()
            wait_until(lambda: self.server_pid() not in (None, server) and
                       self.ctl("status").returncode == 0 and
                       self.ctl_as(OTHERS, status, "status").returncode == 0)
        self.must_ctl("stop")
        self.assertFalse(status.exists())

    def ctl_as(self, user, path, *request):
        """By a copy of the program that others can get to."""
        program = self.folder / "cache_ctl"
        if not program.exists():
            shutil.copy((BIN / "cache_ctl").resolve(), program)
        return subprocess.run([program, "--control", path, *request], user=user, group=user,
                              extra_groups=[], capture_output=True, text=True, timeout=PATIENCE,
                              check=False)

    def test_sockets_differ(self):
        for other in (self.socket, self.control):
            self.refuse(2, f"{other} can't be two sockets: choose another --status-socket",
                        "--status-socket", other)

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


class Listening(ServedCacheTest):
    def setUp(self):
        super().setUp()
        with socket.socket() as probe:
            probe.bind(("", 0))
            self.port = probe.getsockname()[1]

    def addresses(self):
        return ["--port", self.port, "--control", self.control]

    def must_serve_at(self, uri, *options):
        done = self.serve("--create", *options)
        self.assertEqual((done.returncode, done.stdout, NEW_CACHE.sub("", done.stderr)),
                         (0, uri + "\n", ""))

    def refuse(self, code, text, *options):
        before = self.contents()
        done = self.serve("--create", *options)
        self.assertEqual((done.returncode, done.stdout), (code, ""))
        self.assertIn(text, done.stderr)
        self.assertEqual(self.contents(), before)

    def is_served(self, uri):
        done = subprocess.run(["nbdinfo", "--size", uri], capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
        return done.stdout == f"{ORIGIN_SIZE}\n"

    def keys(self):
        path = self.folder / "keys"
        path.write_text("alice:" + "5a" * 32 + "\nbob:" + "6b" * 32 + "\n")
        return path

    def certify(self, folder, name, *options):
        """Makes a key, and a certificate for it."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", folder / f"{name}-key.pem", "-out", folder / f"{name}-cert.pem",
             "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             *options], check=True, capture_output=True)

    def certificates(self):
        """A folder with those of the server, and of a client that it can trust."""
        folder = self.folder / "pki"
        folder.mkdir()
        self.certify(folder, "ca")
        signed = ["-CA", folder / "ca-cert.pem", "-CAkey", folder / "ca-key.pem"]
        self.certify(folder, "server", *signed)
        self.certify(folder, "client", *signed)
        return folder

    def test_at_an_address_of_this_host_alone(self):
        self.must_serve_at(f"nbd://127.0.0.2:{self.port}", "--listen", "127.0.0.2")
        self.assertTrue(self.is_served(f"nbd://127.0.0.2:{self.port}"))
        self.assertFalse(self.is_served(f"nbd://127.0.0.1:{self.port}"))

    def test_at_all_addresses_only_if_insisted_on(self):
        for host in ("0.0.0.0", "::", "cache.example"):
            self.refuse(2, f"at {host}, whoever can connect could read and write all of the disk: "
                           "give --tls-certificates or --tls-psk, or else --insecure",
                        "--listen", host)
        self.must_serve_at(f"nbd://localhost:{self.port}", "--listen", "0.0.0.0", "--insecure")
        self.assertTrue(self.is_served(f"nbd://127.0.0.2:{self.port}"))

    def test_keys_let_their_owners_in(self):
        keys = self.keys()
        self.must_serve_at(f"nbds://localhost:{self.port}", "--listen", "0.0.0.0", "--tls-psk",
                           keys)
        others = self.folder / "others"
        others.write_text("alice:" + "00" * 32 + "\n")
        address = f"alice@localhost:{self.port}"
        for _ in range(2):
            self.assertTrue(self.is_served(f"nbds://{address}/?tls-psk-file={keys}"))
            self.assertFalse(self.is_served(f"nbds://{address}/?tls-psk-file={others}"))
            self.assertFalse(self.is_served(f"nbd://{address}"))
            server = self.server_pid()
            self.kill_server()
            wait_until(lambda: self.server_pid() not in (None, server) and
                       self.ctl("status").returncode == 0)

    def test_certificates_let_in_whom_the_authority_has_signed(self):
        pki = self.certificates()
        self.must_serve_at(f"nbds://localhost:{self.port}", "--listen", "0.0.0.0",
                           "--tls-certificates", pki)
        self.assertTrue(self.is_served(f"nbds://localhost:{self.port}/?tls-certificates={pki}"))
        self.assertFalse(self.is_served(f"nbd://localhost:{self.port}"))
        stranger = self.folder / "stranger"
        stranger.mkdir()
        self.certify(stranger, "client")
        (stranger / "ca-cert.pem").write_bytes((pki / "ca-cert.pem").read_bytes())
        self.assertFalse(
            self.is_served(f"nbds://localhost:{self.port}/?tls-certificates={stranger}"))

    def test_keys_protect_a_socket_as_well(self):
        keys = self.keys()
        done = run("cache_serve", *self.devices(), "--create", "--socket", self.socket, "--control",
                   self.control, "--tls-psk", keys)
        self.assertEqual((done.returncode, done.stdout), (0, f"nbds+unix:///?socket={self.socket}\n"))
        self.assertTrue(self.is_served(
            f"nbds+unix://alice@/?socket={self.socket}&tls-psk-file={keys}"))
        self.assertFalse(self.is_served(self.uri))

    def test_what_contradicts_itself_is_refused(self):
        keys = self.keys()
        for options in (["--insecure"], ["--listen", "127.0.0.1", "--insecure"],
                        ["--listen", "0.0.0.0", "--insecure", "--tls-psk", keys]):
            self.refuse(2, "--insecure is for a --listen that other hosts can connect to, without "
                           "TLS", *options)
        self.refuse(2, "give either --tls-certificates or --tls-psk", "--tls-psk", keys,
                    "--tls-certificates", self.folder)
        self.refuse(2, "give either --socket or --port", "--socket", self.socket)
        self.refuse(2, "--listen is empty", "--listen", "")

    def test_what_is_not_there_is_refused(self):
        none = self.folder / "none"
        for option in ("--tls-psk", "--tls-certificates"):
            self.refuse(3, f"cannot read {none}: No such file or directory", option, none)
        # There are no credentials in it.
        self.refuse(1, "nbdkit could not serve the cache", "--tls-certificates", self.folder)
        self.refuse(3, "cannot listen at 192.0.2.1: Cannot assign requested address", "--listen",
                    "192.0.2.1", "--insecure")
        self.refuse(3, "cannot listen at no.such.host.invalid: ", "--listen", "no.such.host.invalid",
                    "--insecure")


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
