"""A cache that the kernel and the engine use in turn, and a model of what it must hold."""

import shutil
import subprocess

from fixture_images import BIN
from guest import merged, sayings

FAST_BLOCKS = 96
ORIGIN_BLOCKS = 240
PARTIAL_BLOCK = 72  # sectors at the origin's end, which are never cached

# Of a status line, up to the features.
FIELDS = ("start", "length", "target", "metadata block size", "metadata blocks", "block size",
          "cache blocks", "read hits", "read misses", "write hits", "write misses", "demotions",
          "promotions", "dirty")


def fields(status):
    words = status.split()
    return dict(zip(FIELDS, words)) | {"rest": " ".join(words[len(FIELDS):])}


class TravellingCache:
    """Each step has a label, under which is what was said of it: in `heard` if it was taken here,
    and in what boot() returns if it was put down for the guest that the cache is plugged into."""

    def __init__(self, folder, name, version=2, mode="writeback", block_size=128):
        self.name, self.version, self.mode, self.block_size = name, version, mode, block_size
        self.folder = folder
        self.machine = None
        self.heard = {}
        self.seed = 0
        self.files = {disk: folder / f"{name}.{disk}"
                      for disk in ("metadata", "fast", "origin", "model")}
        sizes = {"metadata": 1024 * 8, "fast": FAST_BLOCKS * block_size,
                 "origin": ORIGIN_BLOCKS * block_size + PARTIAL_BLOCK, "model": 1024 * 8}
        for disk, sectors in sizes.items():
            with open(self.files[disk], "wb") as image:
                image.truncate(sectors * 512)
        self.exercise("filled", "fill", device=self.files["origin"])

    def copy(self, name):
        """Another one, as this one is now."""
        made = TravellingCache(self.folder, name, self.version, self.mode, self.block_size)
        for disk, path in self.files.items():
            shutil.copy(path, made.files[disk])
        return made

    def plug_into(self, machine):
        self.machine = machine
        self.names = {disk: machine.disk(path) for disk, path in self.files.items()}

    def unplug(self):
        self.machine = None

    def path(self, disk):
        return self.files[disk] if self.machine is None else "/dev/" + self.names[disk]

    def take(self, step, program, *arguments, behind=""):
        label = f"{self.name}:{step}"
        if self.machine is not None:
            self.machine.add("run", label, program, *arguments, behind)
            return
        done = subprocess.run([BIN / program, *map(str, arguments)], capture_output=True,
                              text=True, timeout=300)
        lines = (done.stdout + done.stderr).splitlines() + [f"exit {done.returncode}"]
        self.heard = merged([self.heard, sayings(f"{label} {line}" for line in lines)])

    def exercise(self, step, *commands, behind="", **options):
        self.seed += 1
        options |= {"model": self.path("model"), "block_size": self.block_size, "seed": self.seed}
        self.take(step, "exerciser", *(f"{key}={value}" for key, value in options.items()),
                  *commands, behind=behind)

    # The engine's part.

    def engine(self, step, *commands, **options):
        disks = {disk: self.path(disk) for disk in ("metadata", "fast", "origin")}
        self.exercise(step, *commands, mode=self.mode, version=self.version, threshold=0, **disks,
                      **options)

    def check(self, step):
        self.take(step, "cache_check", self.path("metadata"))

    def say_hints(self, step):
        self.take(step, "say_hints", self.path("metadata"))

    # The kernel's, in a guest.

    def kernel_opens(self, step, policy="smq"):
        self.take(step, "open_cache", self.name,
                  *(self.names[disk] for disk in ("metadata", "fast", "origin")), self.block_size,
                  policy, *["metadata2"] * (self.version == 2), self.mode)

    def kernel(self, step, *commands, behind=""):
        self.exercise(step, *commands, device=f"/dev/mapper/{self.name}", behind=behind)

    def kernel_closes(self, step):
        self.take(step, "close_cache", self.name)

    def kernel_uses(self, step, *commands):
        self.kernel_opens(step)
        self.kernel(step, *commands)
        self.kernel_closes(step)
        self.check(step)

    def kernel_waits(self, step):
        """It has the cache for longer than a second, which is its tick."""
        self.kernel_opens(step)
        self.take(step, "sleep", 2)
        self.kernel_closes(step)
        self.check(step)

    def kernel_is_cut_off(self, step):
        """When the guest loses its power, it is writing."""
        self.kernel_opens(step)
        self.kernel(step, "use=1000000", behind="&")
        self.take(step, "wait_for_writes", self.name, 200)

    def kernel_writes_all_back(self, step):
        """After a power cut, all that counts as dirty; then the origin has everything."""
        self.kernel_opens(step)
        self.kernel(step, "recover")
        self.kernel_closes(step)
        self.kernel_opens(step, "cleaner")
        self.take(step, "write_all_back", self.name)
        self.kernel(step, "verify")
        self.take(step, "hash_of", f"/dev/mapper/{self.name}")
        self.kernel_closes(step)
        self.take(step, "hash_of", self.path("origin"))
        self.exercise(step, "verify", device=self.path("origin"))
        self.check(step)
