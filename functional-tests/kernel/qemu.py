"""A Linux kernel as it is released, on a computer that QEMU computes."""

import contextlib
import os


def disk_arguments(disks):
    """Eight to a slot, in the order in which the guest will name them."""
    for number, disk in enumerate(disks):
        yield from ("-drive", f"if=none,id=d{number},file={disk},format=raw,cache=writeback,"
                    "discard=unmap")
        yield from ("-device", f"virtio-blk-pci,drive=d{number},bus=pcie.0,multifunction=on,"
                    f"addr={3 + number // 8:#x}.{number % 8}")


def machine_arguments(nr_processors=2):
    """With the serial line as its input and output. Where KVM works, DMCACHE_ACCELERATOR=kvm is
    much faster; that it is there doesn't tell, as it can hang in a virtual machine. Without KVM,
    the kernel's instructions that move bytes are slow; without erms and fsrm it moves words."""
    return ["qemu-system-x86_64", "-machine", "q35",
            "-accel", os.environ.get("DMCACHE_ACCELERATOR", "tcg,thread=multi"),
            "-cpu", "max,erms=off,fsrm=off", "-m", "1024", "-smp", str(nr_processors),
            "-no-reboot", "-display", "none", "-monitor", "none", "-nodefaults", "-serial", "stdio"]


def disk_name(number):
    """Of a guest's virtio disk."""
    first, second = divmod(number, 26)
    return "vd" + ("" if first == 0 else chr(ord("a") + first - 1)) + chr(ord("a") + second)


class Qemu:
    """A disk is a file, or what is served at an NBD URI."""

    modules = ("virtio_pci", "virtio_blk")

    def __init__(self, tree):
        self.tree = tree / "released"

    def folder_of_modules(self):
        return next(iter(self.tree.glob("lib/modules/*")), None) or next(
            iter(self.tree.glob("usr/lib/modules/*")))

    @contextlib.contextmanager
    def command(self, initial_ram_disk, disks, _folder):
        """With one processor: for each there would be a thread, and those that run together here
        have to share the machine. Nor is a guest worth the kernel's protection from its own programs."""
        yield [*machine_arguments(nr_processors=1), "-kernel", self.tree / "boot/vmlinux",
               "-initrd", initial_ram_disk, "-append",
               "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check mitigations=off nokaslr",
               *disk_arguments(disks)]
