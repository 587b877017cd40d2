"""cache_serve: a cache goes through it to clients and back, and what can't be served is refused."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import unittest

from cache_files import FAST_SIZE, INCOMPLETE, METADATA_SIZE, ORIGIN_SIZE, PATIENCE, wait_until
from fixture_images import BIN, Image, run
from served_cache import NEW_CACHE, ServedCacheTest, nbdcopy, parent_of


class Serving(ServedCacheTest):
    def test_what_is_written_is_read_after_a_restart(self):
        image = self.image()
        self.must_serve("--create")
        nbdcopy(image, self.uri)
        self.must_ctl("stop")
        self.assertFalse(self.control.exists())
        self.assertIn("cleanly shut down: sound", self.check())
        self.must_serve()
        nbdcopy(self.uri, self.folder / "back")
        self.assertEqual((self.folder / "back").read_bytes(), image.read_bytes())

    def test_the_origin_is_complete_after_writeback(self):
        image = self.image()
        self.must_serve("--create")
        nbdcopy(image, self.uri)
        self.must_ctl("stop")
        done = run("cache_writeback", *self.devices())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.origin.read_bytes(), image.read_bytes())

    def test_only_its_user_can_connect(self):
        self.must_serve("--create")
        self.assertEqual(stat.S_IMODE(self.control.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.socket.stat().st_mode) & 0o022, 0)

    def test_goes_on_after_the_server_was_killed(self):
        image = self.image()
        self.must_serve("--create")
        nbdcopy("--flush", image, self.uri)
        self.kill_all_servers()
        self.assertTrue(self.socket.exists() and self.control.exists())
        self.assertIn("124 mapped, 124 dirty", self.check())
        self.must_serve()
        nbdcopy(self.uri, self.folder / "back")
        self.assertEqual((self.folder / "back").read_bytes(), image.read_bytes())

    def test_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        done = run("cache_serve", *self.devices(), "--control", self.control, "--create", "--port",
                   port)
        self.assertEqual((done.returncode, done.stdout), (0, f"nbd://localhost:{port}\n"),
                         done.stderr)
        size = subprocess.run(["nbdinfo", "--size", f"nbd://localhost:{port}"], check=True,
                              capture_output=True, text=True).stdout
        self.assertEqual(int(size), ORIGIN_SIZE)
        self.refuse_in_use(f"port {port} is in use: choose another --port", "--port", port)

    def test_a_port_in_use_is_refused_even_if_nobody_listens(self):
        self.make_cache()
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as other:
                try:
                    other.bind((address, 0))
                except OSError:
                    continue  # there is no such protocol here
                port = other.getsockname()[1]
                self.refuse_in_use(f"port {port} is in use: choose another --port", "--port", port)

    def refuse_in_use(self, text, *options):
        devices = []
        for name in ("metadata", "fast", "origin"):
            copy = self.folder / f"other-{name}"
            shutil.copy(getattr(self, name), copy)
            devices += [f"--{name}-device", copy]
        done = run("cache_serve", *devices, *options)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn(text, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)

    def test_a_socket_in_use_is_refused(self):
        self.must_serve("--create")
        self.refuse_in_use("a server is running there", "--socket", self.socket)
        self.refuse_in_use("a server is running there", "--socket", self.folder / "other",
                           "--control", self.control)

    def test_read_only(self):
        self.make_cache()
        before = self.contents()
        self.must_serve("--read-only")
        about = subprocess.run(["nbdinfo", "--no-content", self.uri], capture_output=True,
                               text=True, timeout=PATIENCE)
        self.assertIn("is_read_only: true", about.stdout)
        nbdcopy(self.uri, "null:")
        self.must_ctl("stop")
        self.assertEqual(self.contents(), before)

    def test_names_may_hold_anything(self):
        odd = self.folder / "a b=c,'d\"%é"
        odd.mkdir()
        for name in ("metadata", "fast", "origin"):
            setattr(self, name, getattr(self, name).rename(odd / name))
        self.socket, self.control = odd / "nbd", odd / "control"
        done = self.serve("--create")
        self.assertEqual(done.returncode, 0, done.stderr)
        uri = done.stdout.strip()
        self.assertNotIn(" ", uri)
        nbdcopy(self.image(), uri)
        self.must_ctl("stop")

    def test_names_may_be_relative(self):
        names = ["--metadata-device", "meta", "--fast-device", "fast", "--origin-device", "origin",
                 "--socket", "nbd", "--control", "control"]
        done = run("cache_serve", *names, "--create", cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout), (0, self.uri + "\n"), done.stderr)

    def test_says_how_large_a_new_cache_is_and_what_it_takes(self):
        done = self.serve("--create")
        self.assertEqual(done.stderr, "cache_serve: a new cache of 8 MiB: 128 blocks of 64 KiB; when it is "
                                      "full it takes up to 4 KiB of memory, and 131.5 KiB of the metadata "
                                      "device\n")
        self.must_ctl("stop")
        wait_until(lambda: not self.socket.exists())
        self.must_serve()  # which says nothing

    def test_the_blocks_of_a_new_cache_grow_with_the_fast_device(self):
        self.metadata = self.make("large meta", 128 << 20)
        self.fast = self.make("large fast", 300 << 30)
        self.origin = self.make("large origin", 400 << 30)
        self.must_serve("--create")
        said = json.loads(self.must_ctl("status", "--json"))
        self.assertEqual((said["block_size_sectors"], said["cache_blocks_total"]), (256, 300 << 13))

    def test_options_reach_the_cache(self):
        self.must_serve("--create", "--block-size", "32k", "--metadata-version", "1", "--mode",
                        "writethrough", "--policy", "cleaner", "--migration-threshold", "3m",
                        "--no-discard-passdown", "--cleaning", "on-request", "--max-dirty", "1m")
        said = json.loads(self.must_ctl("status", "--json"))
        self.assertEqual((said["cleaning"], said["cache_blocks_dirty_max"]), ("on-request", 32))
        line = self.must_ctl("status")
        self.assertIn(" 64 0/256 ", line)
        self.assertIn(" 2 writethrough no_discard_passdown 2 migration_threshold 6144 cleaner 0 rw",
                      line)

    def test_the_policy_is_kept_and_a_new_cache_has_sift(self):
        for options, policy in ((["--create"], "sift"), (["--policy", "smq"], "smq"), ([], "smq"),
                                (["--policy", "sift"], "sift")):
            self.must_serve(*options)
            self.assertIn(f" {policy} ", self.must_ctl("status"))
            self.must_ctl("stop")
            # Its version is the policy's own, and so is not told.
            document = run("cache_dump", self.metadata).stdout
            self.assertIn(f'policy="{policy}"', document)
            self.assertNotIn("policy_version", document)

    def test_default_addresses(self):
        """Whoever serves in the background can stop it."""
        default = self.folder / "dmcache-meta.ctl"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = "--create"
        for uri, control, *addresses in (
                (f"nbd+unix:///?socket={self.folder}/dmcache-meta.sock", default),
                (self.uri, f"{self.socket}.ctl", "--socket", self.socket),
                (f"nbd://localhost:{port}", default, "--port", port)):
            done = run("cache_serve", *self.devices(), options, *addresses,
                       env=os.environ | {"XDG_RUNTIME_DIR": str(self.folder)})
            self.assertEqual((done.returncode, done.stdout), (0, uri + "\n"), done.stderr)
            stopped = run("cache_ctl", "--control", control, "stop")
            self.assertEqual((stopped.returncode, stopped.stderr), (0, ""))
            options = "--no-discard-passdown"

    def test_an_empty_runtime_folder_is_none(self):
        self.metadata = self.metadata.rename(self.folder / self.folder.name)
        done = run("cache_serve", *self.devices(), "--create",
                   env=os.environ | {"XDG_RUNTIME_DIR": ""})
        folder = "/run" if os.geteuid() == 0 else f"/tmp/dmcache-{os.geteuid()}"
        address = f"{folder}/dmcache-{self.folder.name}"
        self.addCleanup(pathlib.Path(f"{address}.ctl.log").unlink, missing_ok=True)
        self.assertEqual((done.returncode, done.stdout), (0, f"nbd+unix:///?socket={address}.sock\n"))
        self.assertEqual(run("cache_ctl", "--control", f"{address}.ctl", "stop").returncode, 0)


class Foreground(ServedCacheTest):
    def test_signals_are_clean_shutdowns(self):
        self.make_cache()
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            server = self.in_foreground()
            nbdcopy(self.image(), self.uri)
            server.send_signal(each)
            self.assertEqual((server.wait(PATIENCE), INCOMPLETE.sub("", server.stderr.read())), (0, ""))
            self.assertIn("cleanly shut down: sound", self.check())

    def test_has_no_control_socket_unless_it_is_asked_for(self):
        server = subprocess.Popen(
            [str(each) for each in [BIN / "cache_serve", *self.devices(), "--socket", self.socket,
                                    "--create", "--foreground"]], stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.stdout.close)
        self.assertEqual(server.stdout.readline(), self.uri + "\n")
        self.assertFalse(pathlib.Path(f"{self.socket}.ctl").exists())
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 0)

    def test_ends_when_told_to_stop(self):
        server = self.in_foreground("--create")
        self.must_ctl("stop")
        self.assertEqual(server.wait(PATIENCE), 0)

    def test_the_server_ends_with_it(self):
        server = self.in_foreground("--create")
        server.kill()
        server.wait(PATIENCE)
        self.wait_for_devices()
        self.assertIn("cleanly shut down: sound", self.check())

    def test_systemd_is_told_when_it_is_ready(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(self.folder / "notify"))
            manager.settimeout(PATIENCE)
            self.in_foreground("--create", env=os.environ | {
                "NOTIFY_SOCKET": str(self.folder / "notify")})
            self.assertEqual(manager.recv(1000).decode(), f"READY=1\nSTATUS=serving {self.uri}")

    def install(self):
        """All that is installed, below a prefix of the test's own."""
        prefix = self.folder / "prefix"
        done = subprocess.run(["cmake", "--install", BIN.parent, "--prefix", prefix],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        installed = (BIN.parent / "install_manifest.txt").read_text().splitlines()
        for path in installed:
            self.assertTrue(path.startswith(f"{prefix}/"), path)
            self.assertTrue(os.path.lexists(path), path)
        return prefix, [path.removeprefix(f"{prefix}/") for path in installed]

    def test_all_is_installed_below_the_prefix(self):
        prefix, installed = self.install()
        for path in ("sbin/cache_check", "sbin/cache_serve", "sbin/dmcache",
                     "lib/systemd/system/cache-serve@.service"):
            self.assertIn(path, installed)
        self.assertTrue([path for path in installed if path.endswith("nbdkit-dmcache-plugin.so")])
        done = subprocess.run([prefix / "sbin" / "cache_check", "-V"], capture_output=True,
                              text=True)
        self.assertRegex(done.stdout, r"^[0-9]+\.[0-9]+\.[0-9]+$")

    def test_the_unit_is_sound(self):
        prefix, _ = self.install()
        unit = prefix / "lib" / "systemd" / "system" / "cache-serve@.service"
        text = unit.read_text()
        self.assertIn(f"ExecStart={prefix}/sbin/cache_serve ", text)
        # Its limit can be reached, where systemd looks for it.
        head = text.split("[Service]")[0]
        burst = int(re.search("^StartLimitBurst=([0-9]+)$", head, re.M)[1])
        interval = 60 * int(re.search("^StartLimitIntervalSec=([0-9]+)min$", head, re.M)[1])
        pause = int(re.search("^RestartSec=([0-9]+)s$", text, re.M)[1])
        self.assertLess(10 * burst * pause, interval)
        if not shutil.which("systemd-analyze"):
            self.skipTest("without systemd-analyze")
        here = self.folder / unit.name
        here.write_text(text.replace(text.split("ExecStart=")[1].split()[0],
                                     str(BIN / "cache_serve")))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", here], capture_output=True,
                              text=True)
        self.assertNotIn(unit.name, done.stderr)


class Captive(ServedCacheTest):
    def run_with(self, command, *options):
        return run("cache_serve", *self.devices(), "--run", command, *options)

    def test_serves_while_the_command_runs(self):
        image = self.image()
        done = self.run_with(f'nbdcopy {image} "$uri" && nbdinfo --size "$uri"', "--create")
        self.assertEqual((done.returncode, done.stdout), (0, f"{ORIGIN_SIZE}\n"))
        self.assertEqual(INCOMPLETE.sub("", NEW_CACHE.sub("", done.stderr)), "")
        self.assertIn("cleanly shut down: sound", self.check())

    def test_its_exit_status_is_the_commands(self):
        self.make_cache()
        self.assertEqual(self.run_with("exit 7").returncode, 7)
        self.assertIn("cleanly shut down: sound", self.check())

    def test_a_signal_ends_the_command_and_the_cache(self):
        self.make_cache()
        done = self.run_with("kill $PPID; exec sleep 600")
        self.assertEqual((done.returncode, done.stderr), (128 + 15, ""))
        self.assertIn("cleanly shut down: sound", self.check())

    def test_the_command_finds_the_addresses(self):
        said = "echo $uri $unixsocket $port"
        done = self.run_with(said, "--create", "--socket", self.socket)
        self.assertEqual(done.stdout, f"{self.uri} {self.socket}\n")


class Refused(ServedCacheTest):
    def refuse(self, status, text, *options, **keywords):
        before = self.contents()
        done = self.serve(*options, **keywords)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertIn(text, done.stderr)
        said = NEW_CACHE.sub("", done.stderr)
        self.assertEqual(said.count("\n"), 2 if "--help" in said else 1)
        self.assertEqual(self.contents(), before)
        self.assertFalse(self.socket.exists() or self.control.exists())

    def use(self, fixture, change=lambda image: None):
        image = Image(fixture)
        change(image)
        self.metadata = image.write(self.folder)
        self.fast = self.make("fast", image.field("cache_blocks") * 65536)
        self.origin = self.make("origin", 256 << 20)

    def test_an_unformatted_device_needs_create(self):
        self.refuse(1, f"{self.metadata} holds no cache yet: --create makes a new one")
        self.refuse(1, "holds no cache yet", "--read-only")

    def test_a_new_cache_has_room(self):
        self.fast = self.make("fast", 65535)
        self.refuse(1, "less than a cache block of 128", "--create")
        self.fast = self.make("fast", FAST_SIZE)
        self.origin = self.make("origin", 0)
        self.refuse(1, "the origin is empty", "--create")

    def test_create_wants_room_for_a_cache_that_is_full(self):
        self.metadata.write_bytes(bytes(64 << 10))
        self.refuse(1, "the metadata device has 64 KiB, and a cache of 128 blocks needs 4100 KiB: make "
                       "it larger, or the cache blocks (cache_metadata_size tells the size)", "--create")
        self.assertEqual(self.metadata.read_bytes(), bytes(64 << 10))

    def test_metadata_that_are_nearly_full_are_told_of(self):
        self.make_cache()
        document = self.folder / "document.xml"
        run("cache_dump", "-o", document, self.metadata)
        self.metadata.write_bytes(bytes(11 * 4096))
        self.assertEqual(run("cache_restore", "-q", "-i", document, "-o", self.metadata).returncode, 0)
        done = self.serve()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, "^nbdkit: error: [0-9]+ of 11 metadata blocks are in use: ")
        self.assertIn("of 11 metadata blocks are in use", self.must_ctl("status", "--human"))

    def test_create_spares_what_is_there(self):
        self.make_cache()
        self.refuse(1, f"{self.metadata} holds a cache already: leave --create out", "--create")

    def zero_but_at(self, offset):
        data = bytearray(METADATA_SIZE)
        data[offset] = 1
        return data

    def test_create_spares_whatever_is_not_zero(self):
        for offset in (METADATA_SIZE - 1, 5 * 4096):
            self.metadata.write_bytes(self.zero_but_at(offset))
            said = (f"{self.metadata} has no superblock, but block {offset // 4096} holds "
                    "something: if there was a cache, cache_repair may bring it back.")
            self.refuse(1, said, "--create")
            self.refuse(1, said)
        self.metadata.write_bytes(self.zero_but_at(0))
        self.refuse(1, f"{self.metadata} is not all zero: block 0 holds something", "--create")
        remedy = self.serve("--create").stderr.split("overwrite it: ")[1].strip()
        subprocess.run(remedy, shell=True, check=True, capture_output=True)
        self.assertEqual(self.metadata.read_bytes(), bytes(METADATA_SIZE))
        self.must_serve("--create")

    def test_the_devices_differ(self):
        self.origin = self.fast
        self.refuse(2, "the fast device and the origin are the same device")
        self.metadata = self.fast
        self.refuse(2, "the metadata device and the fast device are the same device")

    def test_devices_must_be_there(self):
        self.origin.unlink()
        done = self.serve()
        self.assertEqual(done.returncode, 3)
        self.assertIn(f"Couldn't find {self.origin}", done.stderr)

    def test_a_cache_is_served_once(self):
        self.must_serve("--create")
        done = run("cache_serve", *self.devices(), "--socket", self.folder / "other")
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr, f"cache_serve: {self.metadata} is in use: by cache_serve, pid "
                         f"{parent_of(self.server_pid())}: cache_ctl --control {self.control} stop "
                         "ends it\n")

    def test_whoever_has_a_device_is_named(self):
        with subprocess.Popen(["flock", self.origin, "cat"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as other:
            other.stdin.write(b"locked")
            other.stdin.flush()
            other.stdout.read(6)
            done = self.serve("--create")
            other.stdin.close()
        self.assertEqual((done.returncode, done.stderr), (
            3, f"cache_serve: {self.origin} is in use: by flock, pid {other.pid}\n"))

    def test_needs_check(self):
        self.use("v2-needs-check")
        self.refuse(1, "NEEDS_CHECK is set")
        self.assertIn(str(self.metadata), self.serve().stderr)

    def test_damage(self):
        self.use("v2-writeback", lambda image: image.flip(0, 100))
        self.refuse(1, "bad checksum in superblock")
        self.use("v2-writeback", lambda image: image.flip(image.field("mapping_root"), 100))
        self.refuse(1, "run cache_check, and see cache_repair")

    def test_other_versions(self):
        self.use("v2-writeback", lambda image: image.set_field("version", 3))
        self.refuse(1, "version 3")

    def test_another_block_size(self):
        self.use("v2-writeback")
        self.refuse(1, "the cache has blocks of 128 sectors, and can't be used with blocks of 256",
                    "--block-size", "128k")

    def test_passthrough_needs_a_clean_cache(self):
        self.use("v2-crash")
        self.refuse(1, "was not cleanly shut down", "--mode", "passthrough")
        self.use("v2-writeback")
        self.refuse(1, "64 cache blocks are dirty", "--mode", "passthrough")

    def test_devices_that_are_too_small(self):
        self.use("v2-writeback")
        self.fast = self.make("fast", 16 * 65536)
        self.refuse(1, "dirty blocks lie beyond")
        self.use("v2-writeback")
        self.origin = self.make("origin", 16 * 65536)
        self.refuse(1, "dirty blocks are mapped to beyond its end")

    def test_policies(self):
        self.refuse(2, "'fifo'", "--create", "--policy", "fifo")
        self.refuse(2, "'taste'", "--create", "--policy-setting", "taste=sweet")
        self.refuse(2, "--policy-setting takes KEY=VALUE, not '=x'", "--policy-setting", "=x")
        self.refuse(2, "--policy-setting takes KEY=VALUE, not 'x'", "--policy-setting", "x")

    def test_wrong_usage(self):
        self.refuse(2, "is a multiple of 32k up to 1g, not 33k", "--create", "--block-size", "33k")
        self.refuse(2, "is no size", "--create", "--block-size", "big")
        self.refuse(2, "the metadata version is 1 or 2", "--create", "--metadata-version", "3")
        self.refuse(2, "it goes with --create", "--metadata-version", "1")
        self.refuse(2, "exclude each other", "--create", "--read-only")
        self.refuse(2, "cleaning is background or on-request, not 'never'", "--cleaning", "never")
        self.refuse(2, "'200%' is no share of the cache: 0% to 100% are", "--max-dirty", "200%")
        self.refuse(2, "'sideways' is no mode: writeback, writethrough and passthrough are",
                    "--mode", "sideways")
        self.refuse(2, "--migration-threshold: '100b' is no whole number of sectors",
                    "--migration-threshold", "100b")
        self.refuse(2, "--block-size: '65536' has no unit: write 65536s for sectors of 512 bytes, "
                    "65536b for bytes", "--create", "--block-size", "65536")
        self.refuse(2, "give either --socket or --port", "--port", "10809")
        self.refuse(2, "--max-connections is a number from 1 on, not '0'", "--max-connections", "0")
        uri = "nbd+unix:///?socket=nbd"
        done = run("cache_serve", *self.devices()[:4], "--origin-device", uri)
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"--origin-device is a block device or a regular file, not '{uri}': nbd-client "
                      "makes a block device of what an NBD server serves", done.stderr)
        for option in ("--socket", "--control", "--run", "--log"):
            done = run("cache_serve", *self.devices(), "--create", option, "")
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"{option} is empty", done.stderr)
        for self.control in (self.socket, f"{self.folder}/../{self.folder.name}/nbd"):
            self.control = pathlib.Path(self.control)
            self.refuse(2, f"{self.socket} can't be both sockets: choose another --control")
        done = run("cache_serve", *self.devices(), "--port", "0")
        self.assertIn("'0' is no port: a number from 1 to 65535 is", done.stderr)
        self.assertIn("No --origin-device given.",
                      run("cache_serve", *self.devices()[:4]).stderr)

    def test_paths_that_no_socket_can_have(self):
        done = run("cache_serve", *self.devices(), "--create", "--socket", self.folder / ("x" * 200))
        self.assertEqual(done.returncode, 3)
        self.assertIn("the path of a socket has 1 to 107 bytes", done.stderr)
        done = run("cache_serve", *self.devices(), "--create", "--socket", self.origin)
        self.assertEqual(done.returncode, 3)
        self.assertIn("it exists, and is no socket", done.stderr)

    def test_nbdkit_is_needed(self):
        self.refuse(3, "nbdkit is not in PATH: install it", "--create",
                    env=os.environ | {"PATH": str(self.folder)})


if __name__ == "__main__":
    unittest.main()
