"""Every fixture with each used block in turn changed in one byte, and zeroed: found by check,
and what dump and repair make of the rest is true."""

import concurrent.futures
import os
import random
import re
import tempfile
import unittest

from fixture_images import BLOCK, NAMES, Image, run, truth_of

SEED = int(os.environ.get("DMCACHE_SEED", random.randrange(1 << 32)))
MAPPING = re.compile(r'<mapping cache_block="(\d+)" origin_block="(\d+)" dirty="(true|false)"/>')


def flipped(image, block, rng):
    image.flip(block, rng.randrange(BLOCK))


def zeroed(image, block, _):
    image.zero(block)


class DamageSweep(unittest.TestCase):
    def sweep(self, name, damage):
        truth = truth_of(name)
        mapped = {c: (o, d or not truth["clean_shutdown"]) for c, o, d in truth["mappings"]}
        pristine = Image(name)
        with tempfile.TemporaryDirectory() as folder, \
                concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(self.look_at, pristine, block, damage, folder, mapped)
                    for block in pristine.used_blocks()]
            for job in jobs:
                job.result()

    def look_at(self, pristine, block, damage, folder, mapped):
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
        for cache_block, origin, dirty in MAPPING.findall(repaired.stdout):
            true_origin, true_dirty = mapped[int(cache_block)]
            self.assertEqual(int(origin), true_origin, where)
            self.assertTrue(dirty == "true" or not true_dirty, where)
        self.repair(path, mapped, block, where)
        path.unlink()

    def repair(self, path, mapped, block, where):
        output = path.with_suffix(".out")
        output.write_bytes(bytes(path.stat().st_size))
        repaired = run("cache_repair", "-i", path, "-o", output)
        self.assertEqual(repaired.returncode, 1 if block == 0 else 0, where)
        if repaired.returncode == 0:
            self.assertEqual(run("cache_check", "-q", output).returncode, 0, where)
            found = MAPPING.findall(run("cache_dump", output).stdout)
            for cache_block, origin, dirty in found:
                true_origin, true_dirty = mapped[int(cache_block)]
                self.assertEqual(int(origin), true_origin, where)
                self.assertTrue(dirty == "true" or not true_dirty, where)
        output.unlink()

    def test_a_changed_byte_is_found_and_costs_nothing_else(self):
        for name in NAMES:
            with self.subTest(name, seed=SEED):
                self.sweep(name, flipped)

    def test_a_zeroed_block_is_found_and_costs_nothing_else(self):
        for name in NAMES:
            with self.subTest(name):
                self.sweep(name, zeroed)


if __name__ == "__main__":
    print(f"seed {SEED}: DMCACHE_SEED={SEED} repeats this run")
    unittest.main()
