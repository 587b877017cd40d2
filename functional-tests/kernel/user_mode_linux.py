"""A Linux kernel that is a program among others, and runs a guest's programs as processes here. It has
the same dm-cache, and takes a small part of the time in which QEMU computes another processor's."""

import contextlib
import os
import pathlib
import subprocess
import time
import urllib.parse


def block_device(disk):
    """Of QEMU's storage daemon. A power cut of the guest's is none here, so that what is flushed needn't
    be on a disk."""
    address = urllib.parse.urlsplit(str(disk))
    if address.scheme == "nbd+unix":
        socket = urllib.parse.parse_qs(address.query)["socket"][0]
        return f"driver=nbd,server.type=unix,server.path={socket},export={address.path.strip('/')}"
    return f"driver=file,filename={disk},cache.no-flush=on"


@contextlib.contextmanager
def served(disks, folder):
    """The sockets at which QEMU's storage daemon has a virtio disk for each."""
    sockets = [pathlib.Path(folder) / f"disk{number}" for number in range(len(disks))]
    command = ["qemu-storage-daemon"]
    for socket, disk in zip(sockets, disks):
        command += ["--blockdev", f"{block_device(disk)},node-name={socket.name},discard=unmap",
                    "--export", f"type=vhost-user-blk,id={socket.name},node-name={socket.name},"
                    f"addr.type=unix,addr.path={socket},writable=on"]
    with subprocess.Popen(command) as daemon:
        try:
            while not all(socket.exists() for socket in sockets):
                if daemon.poll() is not None:
                    raise RuntimeError(f"the storage daemon ended: {daemon.returncode}")
                time.sleep(0.01)
            yield sockets
        finally:
            daemon.terminate()


class UserModeLinux:
    """A disk is a file, or what is served at an NBD URI."""

    modules = ("virtio_blk",)

    def __init__(self, tree):
        self.tree = tree / "user-mode"

    def folder_of_modules(self):
        return next(iter(self.tree.glob("lib/modules/*")))

    @contextlib.contextmanager
    def command(self, initial_ram_disk, disks, folder):
        with served(disks, folder) as sockets:
            yield ["env", f"TMPDIR={folder}",
                   f"LD_PRELOAD={os.environ['DMCACHE_BIN']}/whole_registers.so",
                   self.tree / "linux", "mem=512M", f"initrd={initial_ram_disk}",
                   *(f"virtio_uml.device={socket}:2" for socket in sockets),  # a block device
                   "con0=fd:0,fd:1", "con=null", "ssl=null", "quiet", "loglevel=4", "panic=-1"]
