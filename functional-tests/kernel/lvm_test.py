"""LVM itself uses caches of its own making, and calls this project's cache_check and cache_repair
for it: when a cache is activated, after it was shut down or the power failed, with NEEDS_CHECK set
or with damage, and when it is told to repair. All that was written is there afterwards, but for the
dirty blocks that are reported as lost."""

import concurrent.futures
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from guest import HERE, Guest, cut_power_at, merged
from lvm_metadata import MIB, Metadata, places_of

CACHE_BLOCK = 32 * 1024
ORIGIN_BLOCKS = 768
METADATA_SIZE = 5 * MIB
NEEDS_CHECK = 2  # a flag of the superblock
DISK_SIZES = {"slow": 32 * MIB, "fast": 44 * MIB, "model": 2 * MIB}
ENDS = {  # of each case: what becomes of it after all
    "sound": "uncache", "flagged": "splitcache", "repaired": "uncache", "mapping": "splitcache",
    "hint": "uncache", "dirty": "splitcache", "cut": "splitcache", "volume": "uncache"}
DAMAGED = ("mapping", "hint", "dirty")  # an array block of that name
CUT = ("cut", "volume")
ACCEPT_LOSS = """--config 'global/cache_repair_options=["--accept-loss"]'"""


class Case:
    def __init__(self, folder, name):
        self.name = name
        self.kind = "vol" if name == "volume" else "pool"
        self.files = {disk: folder / f"{name}.{disk}" for disk in DISK_SIZES}
        for disk, size in DISK_SIZES.items():
            with open(self.files[disk], "wb") as image:
                image.truncate(size)

    def plug_into(self, machine):
        self.machine = machine
        self.disks = {disk: machine.disk(path) for disk, path in self.files.items()}

    def take(self, step, *command):
        self.machine.add("run", f"{self.name}:{step}", *command)

    def exercise(self, step, *commands):
        self.take(step, "exerciser", f"device=/dev/{self.name}/data",
                  "model=/dev/" + self.disks["model"], *commands)

    def make(self):
        self.take("made", "make_cache", self.name,
                  *(self.disks[disk] for disk in ("slow", "fast", "model")), self.kind,
                  # All that is lost is to be known, and where it was discarded it would not be.
                  "fill" if self.name == "mapping" else "use=60")
        self.take("places", "say_places", self.name)
        if self.name not in CUT:
            self.take("closed", "lvm vgchange -an", self.name)

    def activate(self, step):
        self.take(step, "lvm vgchange -ay", self.name)

    def repair(self, step, *options):
        self.take(step, "lvm lvconvert -y --repair", self.name + "/fast_cpool", *options)

    def end(self):
        """Repairs it if that is the case, and has its data in the origin alone at last."""
        if self.name in DAMAGED:
            self.activate("refused")
        if self.name == "mapping":
            self.repair("repair-refused")
            self.repair("repaired", ACCEPT_LOSS)
        elif self.name in (*DAMAGED, "cut", "repaired"):
            self.repair("repaired")
        self.activate("activated")
        if self.name != "mapping":
            self.exercise("read", "recover" if self.name in CUT else "verify")
        self.take("ended", f"lvm lvconvert -y --{ENDS[self.name]} {self.name}/data")
        if self.name != "mapping":
            self.exercise("read-from-origin", "verify")

    def take_places(self, said):
        """Where its parts are, from what LVM and the kernel said."""
        extents = places_of(said["volume"])
        self.origin = extents["data_corig"]
        if self.kind == "pool":
            self.metadata, self.fast = extents["fast_cpool_cmeta"], extents["fast_cpool_cdata"]
            return
        starts = {}
        for line in said["part"]:
            name, _, _, _, _, start = line.split()
            starts[name] = int(start) * 512
        self.metadata, self.fast = (extents["fast_cvol"] + starts[part]
                                    for part in ("cmeta", "cdata"))

    def stored(self):
        return Metadata(self.files["fast"], self.metadata, METADATA_SIZE)

    def origin_blocks(self):
        with open(self.files["slow"], "rb") as disk:
            disk.seek(self.origin)
            return [disk.read(CACHE_BLOCK) for _ in range(ORIGIN_BLOCKS)]

    def look_at(self):
        """What the cache holds while it isn't in use."""
        metadata = self.stored()
        self.mappings, self.dirty = metadata.mappings(), metadata.dirty()
        self.blocks = self.origin_blocks()
        with open(self.files["fast"], "rb") as disk:
            for cache_block, (_, origin_block) in self.mappings.items():
                disk.seek(self.fast + cache_block * CACHE_BLOCK)
                self.blocks[origin_block] = disk.read(CACHE_BLOCK)

    def damage(self):
        metadata = self.stored()
        if self.name == "flagged":
            metadata.set_field("flags", metadata.field("flags") | NEEDS_CHECK)
        elif self.name in DAMAGED:
            self.damaged_block = metadata.array_blocks(self.name + "_root")[0]
            metadata.zero(self.damaged_block)
        metadata.store()


class LvmTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.cases = {name: Case(pathlib.Path(folder.name), name) for name in ENDS}
        cls.made = cls.in_two_guests(cls.boot_until_the_cut)
        for case in cls.cases.values():
            case.take_places(cls.made[case.name + ":places"])
            if case.name not in CUT:
                case.look_at()
                case.damage()
        cls.said = cls.in_two_guests(cls.boot_again)

    @classmethod
    def in_two_guests(cls, boot):
        """Each has half of the cases, as it has to wait for much."""
        cases = list(cls.cases.values())
        with concurrent.futures.ThreadPoolExecutor() as guests:
            return merged(guests.map(boot, (cases[::2], cases[1::2])))

    @staticmethod
    def guest(cases):
        machine = Guest("exerciser", "lvm", "cache_check", "cache_dump", "cache_repair",
                        "cache_restore")
        machine.add((HERE / "use_lvm.sh").read_text())
        machine.add("prepare_lvm")
        for case in cases:
            case.plug_into(machine)
        return machine

    @classmethod
    def boot_until_the_cut(cls, cases):
        machine = cls.guest(cases)
        for case in cases:
            case.make()
        for case in cases:
            if case.name in CUT:
                case.exercise("used", "use=1000000", "&")
                case.take("in-use", "wait_for_writes", case.name + "-data", 200)
        machine.add("wait_for_answer in use")
        return machine.boot(end="in use", listen=cut_power_at("in use"))

    @classmethod
    def boot_again(cls, cases):
        machine = cls.guest(cases)
        for case in cases:
            case.end()
        return machine.boot()

    def text(self, name, step):
        return "\n".join(f"{key} {value}" for key, values in self.said[f"{name}:{step}"].items()
                         for value in values)

    def status(self, name, step):
        return int(self.said[f"{name}:{step}"]["exit"][0])

    def calls(self, name, command):
        """The exit status of each that LVM made for this case; it names devices in one way or the other."""
        return [int(call.rsplit(": ", 1)[1]) for call in self.said["called"][command]
                if f"/dev/mapper/{name}-" in call or f"/dev/{name}/" in call]

    def test_a_cache_has_something_dirty_and_something_clean(self):
        for case in self.cases.values():
            self.assertEqual(self.made[case.name + ":made"]["exit"], ["0"], case.name)
            if case.name not in CUT:
                self.assertGreater(len(case.dirty), 10)
                if case.name != "mapping":
                    self.assertLess(len(case.dirty), len(case.mappings) - 10)

    def test_cache_check_is_called_for_each_activation(self):
        for name, case in self.cases.items():
            refused = [1] if name in DAMAGED else []
            with self.subTest(name):
                self.assertEqual(self.status(name, "activated"), 0, self.text(name, "activated"))
                self.assertEqual(self.calls(name, "cache_check")[:len(refused) + 1],
                                 refused + [0])
                command = self.said["called"]["cache_check"]
                cmeta = "fast_cpool_cmeta" if case.kind == "pool" else "fast_cvol-cmeta"
                self.assertIn(f"-q --clear-needs-check-flag /dev/mapper/{name}-{cmeta}: 0", command)

    def test_damage_is_not_activated(self):
        for name in DAMAGED:
            self.assertNotEqual(self.status(name, "refused"), 0)
            self.assertIn(f"Check of pool {name}/fast_cpool failed", self.text(name, "refused"))
            self.assertIn("Manual repair required!", self.text(name, "refused"))

    def test_a_repair_is_ours(self):
        for name in (*DAMAGED, "cut", "repaired"):
            with self.subTest(name):
                self.assertEqual(self.status(name, "repaired"), 0, self.text(name, "repaired"))
                self.assertEqual(self.calls(name, "cache_repair"),
                                 [1, 0] if name == "mapping" else [0])
        for name in DAMAGED:
            self.assertIn(f"cache_repair: block {self.cases[name].damaged_block}: bad checksum",
                          self.text(name, "repaired"))

    def test_a_repair_keeps_what_is_dirty(self):
        for name in ("repaired", "hint", "dirty"):
            case = self.cases[name]
            dirty = len(case.mappings if name == "dirty" else case.dirty)
            self.assertIn(f"{len(case.mappings)} mapped, {dirty} dirty, 0 lost",
                          self.text(name, "repaired"))
        self.assertRegex(self.text("cut", "repaired"), r" (\d+) mapped, \1 dirty, 0 lost")

    def test_what_was_written_is_there(self):
        for name in ENDS:
            if name != "mapping":
                for step in ("read", "ended", "read-from-origin"):
                    self.assertEqual(self.status(name, step), 0, self.text(name, step))

    def test_a_loss_is_refused_unless_it_is_accepted(self):
        case = self.cases["mapping"]
        self.assertEqual(len(case.dirty), len(case.mappings))
        lost = {number: origin_block for number, (block, origin_block) in case.mappings.items()
                if block == case.damaged_block}
        self.assertGreater(len(lost), 10)
        left = len(case.mappings) - len(lost)
        self.assertNotEqual(self.status("mapping", "repair-refused"), 0)
        for step in ("repair-refused", "repaired"):
            self.assertIn(f"{left} mapped, {left} dirty, {len(lost)} lost",
                          self.text("mapping", step))
        self.assertEqual({number for number, block in enumerate(case.origin_blocks())
                          if block != case.blocks[number]}, set(lost.values()))


if __name__ == "__main__":
    unittest.main()
