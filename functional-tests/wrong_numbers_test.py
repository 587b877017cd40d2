"""cache_repair without a valid superblock, given right and wrong numbers: whatever it is told, it
maps nothing wrongly, and gives up nothing that can be had, where it exits with 0.

Every fixture, its superblock zeroed, with one or two bytes of it changed, or with another block
zeroed, too, is repaired with each set of numbers. The counts are printed. The seed chooses bytes and
blocks; DMCACHE_FLIPS=N makes N changes of each kind, one after the other, in each fixture."""

import collections
import concurrent.futures
import functools
import os
import random
import re
import tempfile
import unittest

from fixture_images import BLOCK, NAMES, Image, is_zero, run, stored_metadata, truth_of

SEED = int(os.environ.get("DMCACHE_SEED", 1))
SAMPLE = int(os.environ.get("DMCACHE_SAMPLE", 0)) or len(NAMES)  # of the fixtures
FLIPS = int(os.environ.get("DMCACHE_FLIPS", 1))
FIELDS_END = 292
PER_ARRAY_BLOCK = 509  # mappings
TELL_BLOCK_SIZE = (range(32, 40), range(232, 236))  # the magic number, without which nothing counts
SIZES_BEFORE = {"v2-grown": [256]}
MAPPING = re.compile(r'<mapping cache_block="(\d+)" origin_block="(\d+)" dirty="(true|false)"/>')
BLOCK_SIZE = re.compile(r' block_size="(\d+)"')


SAMPLED = random.Random(SEED).sample(NAMES, SAMPLE)


def last_block(data):
    return (len(data.rstrip(b"\0")) - 1) // BLOCK


def number_sets(name, image):
    """{what they are: options}"""
    count, size = image.field("cache_blocks"), image.field("data_block_size")
    wrong = {"N-1": count - 1, "N/2": count // 2, "N+1": count + 1, "N-2": count - 2,
             "N-16": count - 16} | {f"once {n}": n for n in SIZES_BEFORE.get(name, [])}
    sets = {each: ["--block-size", size, "--nr-cache-blocks", n] for each, n in wrong.items()}
    return sets | {
        "right": ["--block-size", size, "--nr-cache-blocks", count],
        "wrong block size": ["--block-size", 2 * size, "--nr-cache-blocks", count],
        "block size alone": ["--block-size", size],
        "count alone": ["--nr-cache-blocks", count],
        "none": []}


def changed(image, changes):
    for offset, change in changes:
        image.data[offset] ^= change


def without(image, blocks):
    for block in blocks:
        image.zero(block)


@functools.cache
def damages(name):
    """{(kind, which of them): what does it to an image}"""
    rng = random.Random(f"{SEED} {name}")
    made = {("zeroed", 0): functools.partial(without, blocks=[0])}
    written = last_block(stored_metadata(name))
    for _ in range(FLIPS):
        ends = rng.choice(((0, FIELDS_END), (FIELDS_END, BLOCK)))
        one, two = ((rng.randrange(*ends), rng.randrange(1, 256)) for _ in range(2))
        made["one byte", one] = functools.partial(changed, changes=[one])
        made["two bytes", (one, two)] = functools.partial(changed, changes=[one, two])
        block = rng.randrange(1, written + 1)
        made["zeroed with another", block] = functools.partial(without, blocks=[0, block])
    return made


class WrongNumbers(unittest.TestCase):
    def judge(self, name, damage, numbers, folder):
        """What came of it: a word for the table."""
        image = Image(name)
        true_size = image.field("data_block_size")
        options = number_sets(name, image)[numbers]
        damages(name)[damage](image)
        at = re.sub("[^a-z0-9]+", "-", f"{name}-{damage}-{numbers}-{options}", flags=re.I)
        path = image.write(folder, at)
        output = path.with_suffix(".out")
        output.touch()
        os.truncate(output, len(image.data))
        repaired = run("cache_repair", "-i", path, "-o", output, *options)
        verdict = "refused"
        if repaired.returncode not in (0, 1):
            verdict = f"exit {repaired.returncode}"
        elif not is_zero(output):
            verdict = self.compare(name, output, true_size)
            if verdict == "FEWER" and repaired.returncode == 1:
                verdict = "fewer, and says so"
        path.unlink()
        output.unlink()
        return verdict

    def compare(self, name, output, true_size):
        dump = run("cache_dump", output).stdout
        found = {(int(c), int(o)): dirty for c, o, dirty in MAPPING.findall(dump)}
        truth = {(c, o): dirty for c, o, dirty in truth_of(name)["mappings"]}
        if set(found) - set(truth):
            return "WRONG"
        if set(truth) - set(found):
            return "FEWER"
        if any(dirty and found[each] == "false" for each, dirty in truth.items()):
            return "WRONG, called clean"
        if run("cache_check", "-q", output).returncode != 0:
            return "UNSOUND"
        return "right" if f' block_size="{true_size}"' in dump else "right, but block size"

    def test_whatever_the_numbers_nothing_is_wrong(self):
        table = collections.defaultdict(collections.Counter)
        problems, refused, nr_findable = [], [], 0
        with tempfile.TemporaryDirectory() as folder, \
                concurrent.futures.ThreadPoolExecutor(2 * os.cpu_count()) as pool:
            jobs = {(name, damage, numbers):
                    pool.submit(self.judge, name, damage, numbers, folder)
                    for name in SAMPLED for damage in damages(name)
                    for numbers in number_sets(name, Image(name))}
            for (name, damage, numbers), job in jobs.items():
                verdict = job.result()
                table[damage[0], numbers][verdict] += 1
                where = f"seed {SEED}: {name}, {damage}, {numbers}: {verdict}"
                if not self.is_allowed(verdict, damage, numbers):
                    problems.append(where)
                if (damage[0], numbers) in (("zeroed", "right"), ("one byte", "right")):
                    nr_findable += 1
                    if verdict != "right":
                        refused.append(where)
        for (kind, numbers), verdicts in sorted(table.items()):
            counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items()))
            print(f"{kind:20} {numbers:18} {counts}")
        self.assertEqual(problems, [])
        self.assertGreaterEqual(30 * (nr_findable - len(refused)), 29 * nr_findable, refused)

    @staticmethod
    def is_allowed(verdict, damage, numbers):
        kind, which = damage
        if verdict == "right, but block size":  # nothing but a superblock tells it
            is_lost = kind.startswith("zeroed") or kind == "two bytes" and any(
                offset in fields for offset, _ in which for fields in TELL_BLOCK_SIZE)
            return numbers == "wrong block size" and is_lost
        return verdict in ("right", "refused") or (
            verdict == "fewer, and says so" and kind == "zeroed with another")


class AnotherBlockLost(unittest.TestCase):
    """The superblock zeroed, or a byte of it changed, and one more block of each kind."""

    def repair(self, name, damage, block, folder):
        """(exit status, the mappings that came out, those that could)"""
        image = Image(name)
        numbers = number_sets(name, image)["right"]
        lost = range(0)
        if block in image.array_blocks("mapping_root"):
            first = image.array_blocks("mapping_root").index(block) * PER_ARRAY_BLOCK
            lost = range(first, first + PER_ARRAY_BLOCK)
        damage(image)
        image.zero(block)
        path = image.write(folder, f"{name}-{block}-{damage.__name__}")
        output = path.with_suffix(".out")
        output.touch()
        os.truncate(output, len(image.data))
        status = run("cache_repair", "-q", "-i", path, "-o", output, *numbers).returncode
        if is_zero(output):
            return status, None, None
        dump = run("cache_dump", output).stdout
        truth = {(c, o): dirty for c, o, dirty in truth_of(name)["mappings"]}
        found = {(int(c), int(o)): dirty for c, o, dirty in MAPPING.findall(dump)}
        for each, dirty in found.items():
            self.assertIn(each, truth)
            self.assertTrue(dirty == "true" or not truth[each], each)
        return status, set(found), {each for each in truth if each[0] not in lost}

    def test_it_costs_no_more_than_what_it_held(self):
        def zeroed(image):
            image.zero(0)

        def with_a_byte_changed(image):
            image.flip(0, 100)

        refused = collections.Counter()
        with tempfile.TemporaryDirectory() as folder:
            for name in ("v1-writeback", "v2-block-32k", "v2-crash"):
                one_of_each = {kind: block for block, kind in Image(name).used_blocks().items()}
                del one_of_each["superblock"]
                for kind, block in one_of_each.items():
                    for damage in (zeroed, with_a_byte_changed):
                        with self.subTest(name, kind=kind, block=block, damage=damage.__name__):
                            status, found, had = self.repair(name, damage, block, folder)
                            if found is None:
                                self.assertEqual(status, 1)
                                refused[damage.__name__, kind] += 1
                                continue
                            self.assertLessEqual(had, found)
                            if kind != "mapping array":
                                self.assertEqual(status, 0)
        # Without superblock, these are what tells which mappings were in force, or these themselves.
        told_by = {("zeroed", kind): 3
                   for kind in ("index", "bitmap", "mapping node", "mapping array")}
        told_by["zeroed", "dirty array"] = 1  # one of the states maps nothing yet
        self.assertEqual({each: n for each, n in refused.items() if n > told_by.get(each, 0)}, {})


if __name__ == "__main__":
    print(f"seed {SEED}: DMCACHE_SEED={SEED} repeats this run")
    unittest.main()
