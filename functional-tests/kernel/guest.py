"""A Linux kernel that is handed disks: what it says of them."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading

from qemu import Qemu, disk_name
from user_mode_linux import UserModeLinux

HERE = pathlib.Path(__file__).parent
CACHE_MODULES = ("dm-mod", "dm-cache", "dm-cache-smq")


def kernel_tree():
    """The folder of unpacked packages, a kernel's and LVM's, as scripts/test-kernel makes it ready."""
    return pathlib.Path(os.environ["DMCACHE_KERNEL"])


def copy_program(root, program):
    """Copies it, ours if there is one, with the shared libraries that it needs."""
    tree = kernel_tree() / "lvm"
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


def add_modules(root, folder, modules):
    """Copies them from that folder, with what they depend on, and lists them in the order of loading."""
    base = folder.parent.parent.parent
    needed = {}
    for module in modules:
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


def initial_ram_disk(folder, script, programs, folder_of_modules, modules):
    """It is not compressed, since to unpack it would take the guest longer than to be handed it."""
    root = pathlib.Path(folder) / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin" / "busybox")
    shutil.copy(HERE / "init", root / "init")
    (root / "init").chmod(0o755)
    (root / "script").write_text(script)
    for program in ("dmsetup", *programs):
        copy_program(root, program)
    add_modules(root, folder_of_modules, modules)
    names = "\n".join(str(each.relative_to(root)) for each in root.rglob("*"))
    archive = pathlib.Path(folder) / "initrd"
    with open(archive, "wb") as output:
        subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root,
                       input=names.encode(), stdout=output, check=True)
    return archive


def sayings(lines):
    """{label: {key: [value, ...]}} of lines "LABEL KEY VALUE"."""
    said = {}
    for line in lines:
        label, key, value = (line.strip().split(" ", 2) + ["", ""])[:3]
        said.setdefault(label, {}).setdefault(key, []).append(value)
    return said


def merged(several):
    """All that sayings() returned of each."""
    together = {}
    for label, of_label in (pair for said in several for pair in said.items()):
        for key, values in of_label.items():
            together.setdefault(label, {}).setdefault(key, []).extend(values)
    return together


def usual_machine():
    """DMCACHE_MACHINE says which: scripts/test-kernel finds out what runs here."""
    kinds = {"qemu": Qemu, "user-mode": UserModeLinux}
    return kinds[os.environ.get("DMCACHE_MACHINE", "user-mode")]


class Guest:
    """Disks and a script for init; then what it says."""

    def __init__(self, *programs, modules=CACHE_MODULES, machine=None):
        self.programs = programs
        self.modules = modules
        self.machine = (machine or usual_machine())(kernel_tree())
        self.disks = []
        self.lines = []

    def disk(self, path):
        """Its name in the guest."""
        self.disks.append(path)
        return disk_name(len(self.disks) - 1)

    def add(self, *words):
        self.lines.append(" ".join(map(str, words)))

    def boot(self, timeout=1800, end="all done", listen=lambda line, process: None):
        """What it says until it ends, `end` among it. When it says a line, `listen` hears it, with
        the machine's process: to answer, or to cut the power."""
        said = []
        with tempfile.TemporaryDirectory() as folder:
            initial = initial_ram_disk(folder, "".join(line + "\n" for line in self.lines),
                                       self.programs, self.machine.folder_of_modules(),
                                       self.machine.modules + self.modules)
            with self.machine.command(initial, self.disks, folder) as command, subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, text=True, errors="replace",
                    start_new_session=True) as process:
                late = threading.Timer(timeout, cut_power, [process])
                late.start()
                try:
                    for line in process.stdout:
                        said.append(line)
                        listen(line, process)
                finally:
                    late.cancel()
                    cut_power(process)
        if not any(end in line for line in said):
            raise RuntimeError("the guest ended early:\n" + "".join(said))
        return sayings(said)


def cut_power(process):
    """Of a machine, which may have other processes of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def cut_power_at(words):
    """For boot(), to listen to a guest that says them, and then waits."""
    def listen(line, process):
        if line == words + "\n":
            cut_power(process)
    return listen


def answer(process):
    """To the guest, which waits for it."""
    process.stdin.write("\n")
    process.stdin.flush()
