"""A Linux kernel in QEMU that is handed disks: what it says of them."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

HERE = pathlib.Path(__file__).parent
DISK_MODULES = ("virtio_pci", "virtio_blk")
CACHE_MODULES = ("dm-mod", "dm-cache", "dm-cache-smq")


def kernel_tree():
    """The unpacked packages of a kernel and of LVM, as scripts/test-kernel makes them ready."""
    return pathlib.Path(os.environ["DMCACHE_KERNEL"])


def copy_program(root, program):
    """Copies it, ours if there is one, with the shared libraries that it needs."""
    tree = kernel_tree()
    folders = (os.environ["DMCACHE_BIN"], os.environ["PATH"], "/sbin", "/usr/sbin",
               tree / "sbin", tree / "usr/sbin")
    path = pathlib.Path(shutil.which(program, path=":".join(map(str, folders))))
    (root / "sbin").mkdir(exist_ok=True)
    shutil.copy(path, root / "sbin" / program)
    libraries = ":".join(map(str, tree.glob("**/lib/*-linux-gnu")))
    for word in subprocess.run(["ldd", path], capture_output=True, text=True,
                               env=os.environ | {"LD_LIBRARY_PATH": libraries}).stdout.split():
        if word.startswith("/"):
            target = root / word.removeprefix(str(tree)).removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)


def add_modules(root, modules):
    """Copies them with what they depend on, and lists them in the order of loading."""
    tree = kernel_tree()
    folder = next(iter(tree.glob("lib/modules/*")), None) or next(
        iter(tree.glob("usr/lib/modules/*")))
    base = folder.parent.parent.parent
    needed = {}
    for module in DISK_MODULES + modules:
        listed = subprocess.run(["modprobe", "-d", base, "-S", folder.name, "--show-depends",
                                 module], capture_output=True, text=True, check=True).stdout
        needed |= {line.split()[1]: None for line in listed.splitlines()
                   if line.startswith("insmod ")}
    with open(root / "modules.list", "w") as names:
        for number, path in enumerate(map(pathlib.Path, needed)):
            target = root / f"{number}-{path.name}"
            shutil.copy(path, target)
            if target.suffix in (".xz", ".zst"):
                tool = {".xz": "xz", ".zst": "zstd"}[target.suffix]
                subprocess.run([tool, "-q", "-d", "--rm" if tool == "zstd" else "-f", target],
                               check=True)
                target = target.with_suffix("")
            names.write(f"/{target.name}\n")


def initial_ram_disk(folder, script, programs, modules):
    """It is not compressed, since to unpack it would take the guest longer than to be handed it."""
    root = pathlib.Path(folder) / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin" / "busybox")
    shutil.copy(HERE / "init", root / "init")
    (root / "init").chmod(0o755)
    (root / "script").write_text(script)
    for program in ("dmsetup", *programs):
        copy_program(root, program)
    add_modules(root, modules)
    names = "\n".join(str(each.relative_to(root)) for each in root.rglob("*"))
    archive = pathlib.Path(folder) / "initrd"
    with open(archive, "wb") as output:
        subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root,
                       input=names.encode(), stdout=output, check=True)
    return archive


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


def sayings(lines):
    """{label: {key: [value, ...]}} of lines "LABEL KEY VALUE"."""
    said = {}
    for line in lines:
        label, key, value = (line.strip().split(" ", 2) + ["", ""])[:3]
        said.setdefault(label, {}).setdefault(key, []).append(value)
    return said


class Guest:
    """Disks and a script for init; then what it says."""

    def __init__(self, *programs, modules=CACHE_MODULES):
        self.programs = programs
        self.modules = modules
        self.disks = []
        self.lines = []

    def disk(self, path):
        """Of a file, or of what is served at an NBD URI; its name in the guest."""
        self.disks.append(path)
        first, second = divmod(len(self.disks) - 1, 26)
        return "vd" + ("" if first == 0 else chr(ord("a") + first - 1)) + chr(ord("a") + second)

    def add(self, *words):
        self.lines.append(" ".join(map(str, words)))

    def command(self, folder):
        """With one processor: for each there would be a thread, and those that run together here
        have to share the machine. Nor is a guest worth the kernel's protection from its own programs."""
        script = "".join(line + "\n" for line in self.lines)
        return [*machine_arguments(nr_processors=1), "-kernel", kernel_tree() / "boot/vmlinux",
                "-initrd", initial_ram_disk(folder, script, self.programs, self.modules), "-append",
                "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check mitigations=off nokaslr",
                *disk_arguments(self.disks)]

    def boot(self, timeout=1800, end="all done", listen=lambda line, machine: None):
        """What it says until it ends, `end` among it. When it says a line, `listen` hears it, with
        the machine's process: to answer, or to cut the power."""
        said = []
        with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
                self.command(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace") as machine:
            late = threading.Timer(timeout, machine.kill)
            late.start()
            try:
                for line in machine.stdout:
                    said.append(line)
                    listen(line, machine)
            finally:
                late.cancel()
                machine.kill()
        if not any(end in line for line in said):
            raise RuntimeError("the guest ended early:\n" + "".join(said))
        return sayings(said)


def answer(machine):
    """To the guest, which waits for it."""
    machine.stdin.write("\n")
    machine.stdin.flush()
