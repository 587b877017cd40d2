"""Every fixture with each used block in turn changed in one byte, and zeroed: found by check,
and what dump and repair make of the rest is true. How much of v2-large repair recovers is printed
by kind of block.

DMCACHE_SAMPLE=N looks only at N blocks of each kind of a fixture, each with one kind of damage; the
seed chooses."""

import collections
import concurrent.futures
import os
import random
import tempfile
import unittest

from fixture_images import BLOCK, NAMES, Image, run, truth_of

SEED = int(os.environ.get("DMCACHE_SEED", random.randrange(1 << 32)))
SAMPLE = int(os.environ.get("DMCACHE_SAMPLE", 0))
START = "    <mapping "


def line_of(cache_block, origin, dirty):
    return (f'{START}cache_block="{cache_block}" origin_block="{origin}" '
            f'dirty="{"true" if dirty else "false"}"/>')


def mapping_lines(document):
    return [line for line in document.split("\n") if line.startswith(START)]


def flipped(image, block, rng):
    image.flip(block, rng.randrange(BLOCK))


def zeroed(image, block, _):
    image.zero(block)


def average_by_kind(recovered):
    """Prints a line a kind of block; the average over all blocks."""
    kinds = collections.defaultdict(list)
    for kind, share in recovered + [("all", share) for _, share in recovered]:
        kinds[kind].append(share)
    for kind, shares in kinds.items():
        print(f"{kind:16} {len(shares):4} blocks  recovered: {sum(shares) / len(shares):8.3%} on "
              f"average, {min(shares):8.3%} at least")
    return sum(kinds["all"]) / len(kinds["all"])


def chosen(used, damage):
    if not SAMPLE:
        return used
    of_kind = collections.defaultdict(list)
    for block, kind in used.items():
        of_kind[kind].append(block)
    return {block: kind for kind, blocks in of_kind.items()
            for block in random.Random(SEED).sample(blocks, min(SAMPLE, len(blocks)))
            if random.Random(SEED + block).choice((flipped, zeroed)) == damage}


class DamageSweep(unittest.TestCase):
    def sweep(self, name, damage):
        """[(kind of block, share of the mappings that repair recovers without it)]"""
        truth = truth_of(name)
        true_lines = {line_of(c, o, d or not truth["clean_shutdown"])
                      for c, o, d in truth["mappings"]}
        # What is unknown may be dirty, and nothing else.
        allowed = true_lines | {line_of(c, o, True) for c, o, _ in truth["mappings"]}
        pristine = Image(name)
        used = chosen(pristine.used_blocks(), damage)
        with tempfile.TemporaryDirectory() as folder, \
                concurrent.futures.ThreadPoolExecutor(3 * os.cpu_count()) as pool:
            jobs = [pool.submit(self.look_at, pristine, block, damage, folder, allowed, true_lines)
                    for block in used]
            shares = [job.result() / len(true_lines) if true_lines else 1 for job in jobs]
            return list(zip(used.values(), shares))

    def look_at(self, pristine, block, damage, folder, allowed, true_lines):
        """How many mappings repair recovers."""
        image = Image.__new__(Image)
        image.data = bytearray(pristine.data)
        damage(image, block, random.Random(SEED + block))
        path = image.write(folder, f"{block}.img")
        where = f"seed {SEED}, block {block}"

        checked = run("cache_check", path)
        self.assertEqual(checked.returncode, 1, where)
        self.assertIn(f" block {block}: ", checked.stderr, where)

        repaired = run("cache_dump", "--repair", path)
        self.assertEqual(repaired.returncode, 1 if block == 0 else 0, where)
        self.assertEqual(set(mapping_lines(repaired.stdout)) - allowed, set(), where)
        at_stake = {line for line in true_lines if 'dirty="true"' in line}
        recovered = self.repair(path, pristine, allowed, at_stake, block, where)
        path.unlink()
        return recovered

    def repair(self, path, pristine, allowed, at_stake, block, where):
        output = path.with_suffix(".out")
        output.write_bytes(bytes(path.stat().st_size))
        facts = ["--block-size", pristine.field("data_block_size"),
                 "--nr-cache-blocks", pristine.field("cache_blocks")] if block == 0 else []
        repaired = run("cache_repair", "-i", path, "-o", output, *facts)
        self.assertIn(repaired.returncode, (0, 1), where)
        self.assertEqual(run("cache_check", "-q", output).returncode, 0, where)
        found = mapping_lines(run("cache_dump", output).stdout)
        self.assertEqual(set(found) - allowed, set(), where)
        # The exit status is 0 only if nothing is lost that was dirty.
        if repaired.returncode == 0:
            self.assertEqual(at_stake - set(found), set(), where)
        else:
            self.assertIn("still on the fast device", repaired.stderr, where)
        output.unlink()
        return len(found)

    def test_a_changed_byte_is_found_and_costs_nothing_else(self):
        for name in NAMES:
            with self.subTest(name, seed=SEED):
                self.sweep(name, flipped)

    def test_a_zeroed_block_is_found_and_costs_nothing_else(self):
        for name in NAMES:
            with self.subTest(name):
                recovered = self.sweep(name, zeroed)
                if name == "v2-large" and not SAMPLE:
                    self.assertGreaterEqual(average_by_kind(recovered), 0.99)


if __name__ == "__main__":
    print(f"seed {SEED}: DMCACHE_SEED={SEED} repeats this run")
    unittest.main()
