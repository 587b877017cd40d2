"""Commands of all kinds on small files, and what is true of these files however a command ends."""

import re
import shutil

from fixture_data import make_data
from fixture_images import BITMAP, Image, run, truth_of

SECTORS = 64  # of 512 bytes a cache block, so that the devices stay small
BYTES = SECTORS * 512
MAPPING = re.compile(r'<mapping cache_block="(\d+)" origin_block="(\d+)" dirty="(\w+)"/>')
NEW = "new"  # an output that isn't there before
OLD = "old.img"  # one that holds metadata already


def make_files(folder):
    """What the commands read and change, of which each trial has a copy."""
    sound = Image("v2-writeback")
    sound.write(folder, "sound.img")
    for name, zeroed in (("hintless.img", "hint_root"), ("flagless.img", "dirty_root")):
        image = Image("v2-writeback")
        image.zero(image.array_blocks(zeroed)[0])
        image.write(folder, name)
    headless = Image("v2-writeback")
    headless.zero(0)
    headless.write(folder, "headless.img")
    leaky = Image("v2-writeback")
    bitmap = leaky.get(leaky.field("bitmap_root"), 16, "Q")
    free = max(leaky.used_blocks()) + 1
    leaky.set(bitmap, 16 + free // 4, "B", leaky.get(bitmap, 16 + free // 4, "B") | 3, BITMAP)
    leaky.write(folder, "leaky.img")
    Image("v1-writeback").write(folder, OLD)
    run("cache_dump", "-o", folder / "document.xml", folder / "sound.img")
    run("cache_metadata_pack", "-i", folder / "sound.img", "-o", folder / "pack")
    sound.set_field("data_block_size", SECTORS)
    sound.write(folder, "metadata")
    truth = truth_of("v2-writeback") | {"block_size": SECTORS}
    make_data(truth, folder / "fast", folder / "origin",
              1 + max(at for _, at, _ in truth["mappings"]))


class Command:
    """A command line, in which the names of files stand in braces. `changes` is the file that it
    makes or changes; of a new file, only its name is known before."""

    def __init__(self, line, changes=None):
        self.line = line
        self.changes = changes

    def arguments(self, folder):
        command, *words = self.line.split()
        return command, [re.sub(r"\{(.*)\}", lambda found: str(folder / found[1]), word)
                         for word in words]

    def copy_files(self, template, folder):
        """Those that it names and that are there."""
        for name in re.findall(r"\{(.*?)\}", self.line):
            if (template / name).exists():
                shutil.copyfile(template / name, folder / name)

    def problem(self, folder, template, usual, done):
        """What is wrong with what the command leaves that ended as `done` says, or None. `usual` is
        the folder in which it ended as it should."""
        if self.changes is None or not (folder / self.changes).exists():
            return "no output" if self.changes and done.returncode == 0 else None
        return self.problem_of_output(folder, template, usual, done)

    def problem_of_output(self, folder, template, usual, done):
        """An output is as it was, as it should be, or nothing that could be taken for one."""
        found = (folder / self.changes).read_bytes()
        good = (usual / self.changes).read_bytes()
        if found == good:
            return None
        if done.returncode == 0:
            return (None if self.is_as_good(folder, usual) else
                    "another output than usual is called good")
        before = template / self.changes
        if before.exists() and found == before.read_bytes():
            return None
        if not before.exists() and not self.changes.endswith(".img"):
            return "a part of an output is left"
        return self.problem_of_metadata(folder, template, usual)

    def is_as_good(self, folder, usual):
        """Metadata that say the same may stand elsewhere: where none were seen before, there was
        more room for them."""
        if (not self.changes.endswith(".img") or
                run("cache_check", "-q", folder / self.changes).returncode != 0):
            return False
        found, good = (run("cache_dump", "--format", "extended", each / self.changes).stdout
                       for each in (folder, usual))
        return found == good

    def problem_of_metadata(self, folder, template, usual):
        """Metadata that cache_check finds sound are the old ones or the new ones."""
        if run("cache_check", "-q", folder / self.changes).returncode != 0:
            return None
        possible = [run("cache_dump", each / self.changes).stdout for each in (template, usual)
                    if (each / self.changes).exists()]
        if run("cache_dump", folder / self.changes).stdout not in possible:
            return "other metadata than the old ones or the new ones count as sound"
        return None


class Pack(Command):
    """A pack without blocks that can't be read is whole in itself, and it is told what it lacks."""

    def problem_of_output(self, folder, template, usual, done):
        if done.returncode == 3 and b"the pack is written, but for " in done.stderr:
            unpacked = run("cache_metadata_unpack", "-i", folder / self.changes, "-o",
                           folder / "unpacked")
            return None if unpacked.returncode == 0 else unpacked.stderr
        return super().problem_of_output(folder, template, usual, done)


class Repair(Command):
    """What can't be read is lost, which leaves other outputs than usual."""

    def problem_of_output(self, folder, template, usual, done):
        output = folder / self.changes
        if run("cache_check", "-q", output).returncode != 0:
            return None if done.returncode == 3 else "the output is not sound"
        dumped = run("cache_dump", output).stdout
        if done.returncode == 3 and dumped == run("cache_dump", template / OLD).stdout:
            return None  # what was there is still in force
        found, known = (mappings(each) for each in
                        (dumped, run("cache_dump", usual / self.changes).stdout))
        for block, (origin, dirty) in found.items():
            if block not in known or known[block][0] != origin:
                return f"cache block {block} is mapped to {origin}"
            if known[block][1] and not dirty:
                return f"cache block {block} is clean"
        if done.returncode == 0 and any(dirty and block not in found
                                        for block, (_, dirty) in known.items()):
            return "dirty blocks are lost, and not a word"
        return None


class Cleaning(Command):
    """Whatever it has copied, all that is to be read from the cache stays."""

    def problem_of_output(self, folder, template, usual, done):
        if run("cache_check", "-q", folder / "metadata").returncode != 0:
            return "the metadata are not sound"
        if contents(folder) != contents(template):
            return "something else is read from the cache"
        left = sum(dirty for _, dirty in mapped_in(folder).values())
        if done.returncode == 0 and left != sum(dirty for _, dirty in mapped_in(usual).values()):
            return f"{left} blocks are dirty"
        return None


def mappings(dump):
    return {int(block): (int(at), dirty == "true") for block, at, dirty in MAPPING.findall(dump)}


def mapped_in(folder):
    return mappings(run("cache_dump", folder / "metadata").stdout)


def contents(folder):
    """What is to be read from the cache."""
    logical = bytearray((folder / "origin").read_bytes())
    fast = (folder / "fast").read_bytes()
    for block, (at, dirty) in mapped_in(folder).items():
        if dirty:
            logical[at * BYTES:(at + 1) * BYTES] = fast[block * BYTES:(block + 1) * BYTES]
    return logical


DEVICES = "--metadata-device {metadata} --fast-device {fast} --origin-device {origin}"
COMMANDS = [
    Command("cache_check {sound.img}"), Command("cache_check {flagless.img}"),
    Command("cache_check --auto-repair {leaky.img}", "leaky.img"),
    Command("cache_dump {sound.img}"), Command("cache_dump --repair {flagless.img}"),
    Command("cache_dump -o {new} {sound.img}", NEW),
    Repair("cache_repair -i {hintless.img} -o {new.img}", "new.img"),
    Repair("cache_repair -i {flagless.img} -o {old.img}", OLD),
    Repair("cache_repair -i {headless.img} --block-size 64k --nr-cache-blocks 256 -o {new.img}",
           "new.img"),
    Command("cache_repair -i {sound.img} --list-roots"),
    Command("cache_restore -i {document.xml} -o {new.img}", "new.img"),
    Command("cache_restore -i {document.xml} -o {old.img}", OLD),
    Pack("cache_metadata_pack -i {sound.img} -o {new}", NEW),
    Command("cache_metadata_unpack -i {pack} -o {new.img}", "new.img"),
    Command("cache_metadata_unpack -i {pack} -o {old.img}", OLD),
    Command("cache_metadata_size --nr-blocks 1000"),
    Command(f"cache_verify {DEVICES}"), Cleaning(f"cache_writeback {DEVICES}", "metadata"),
]
