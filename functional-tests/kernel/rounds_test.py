"""Caches that the kernel and the engine use in turn, each leaving them to the other cleanly or
because the power failed: all data are there, what counts as dirty is what has to, and both say the
same of the same state."""

import base64
import concurrent.futures
import itertools
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from guest import Guest, cut_power_at
from travelling_cache import TravellingCache, fields

FORGOTTEN = {"demotions", "promotions"}  # from one activation to the next
CUT = "the power is cut"
# Blocks that were written back are clean only once that is committed.
SETTLE = ("settle", "flush", "settle")


def fill_in_writeback(cache):
    """In writethrough, what the kernel promotes depends on how fast things go, and may be nothing.
    And dirty blocks are something that the other mode has to bear with."""
    mode, cache.mode = cache.mode, "writeback"
    cache.kernel_uses("kernel-0", "use=40", "flush")
    cache.mode = mode


def hand_over_cleanly(cache):
    """And at last by the end of the engine's process."""
    cache.kernel_uses("kernel-1", "use=60", "flush")
    cache.engine("engine-1", "status", "verify", "use=40", "idle=2", "use=20", *SETTLE, "status",
                 "close")
    cache.check("engine-1")
    cache.kernel_uses("kernel-2", "verify", "use=60", "flush")
    # Soon after it starts, the kernel evens the levels of hints out; it leaves alone what is even.
    cache.kernel_waits("kernel-3")
    cache.say_hints("kernel-3")
    cache.engine("engine-2", "status", "close")
    cache.check("engine-2")
    cache.say_hints("engine-2")
    cache.kernel_waits("kernel-4")
    cache.say_hints("kernel-4")
    cache.engine("engine-clean", "clean", *SETTLE, "status", "close")
    cache.engine("engine-3", "status", "verify", "use=3", "flush", "cut=20", "use=1000")
    cache.check("engine-3")
    cache.engine("engine-4", "status", read_only=1)
    cache.kernel_writes_all_back("kernel-last")


HANDED_OVER_CLEANLY = [  # a status, and the one that follows
    ("kernel-1", -1, "engine-1", 0), ("engine-1", -1, "kernel-2", 0),
    ("kernel-2", -1, "kernel-3", 0), ("kernel-3", -1, "engine-2", 0),
    ("engine-2", -1, "kernel-4", 0), ("engine-clean", -1, "engine-3", 0),
    ("engine-4", 0, "kernel-last", 0)]


def hand_over_with_a_policy_that_the_kernel_lacks(cache):
    cache.kernel_uses("kernel-1", "use=60", "flush")
    cache.engine("engine-1", "status", "verify", "use=200", "clean", *SETTLE, "status", "close",
                 policy="sift")
    cache.check("engine-1")
    cache.say_hints("engine-1")
    cache.kernel_waits("kernel-2")
    cache.say_hints("kernel-2")
    cache.engine("engine-2", "status", "close", policy="sift")
    cache.check("engine-2")
    cache.say_hints("engine-2")
    cache.kernel_uses("kernel-3", "verify", "use=20", "flush")
    cache.engine("engine-3", "verify", "close", policy="sift")


def pass_through(cache):
    cache.mode = "passthrough"
    cache.engine("engine-5", "status", "verify", "use=20", *SETTLE, "status", "close")
    cache.check("engine-5")
    cache.kernel_uses("kernel-5", "verify", "use=20", "flush")
    cache.engine("engine-6", "status", "verify", "close")


PASSED_THROUGH = [("engine-5", -1, "kernel-5", 0), ("kernel-5", -1, "engine-6", 0)]


class RoundsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)

        def cache(name, **options):
            return TravellingCache(pathlib.Path(folder.name), name, **options)

        cls.clean = [cache("v1", version=1), cache("v2"), cache("v2-96k", block_size=192),
                     cache("v2-through", mode="writethrough")]
        cls.other = cache("v2-sift")
        cls.cut = [cache("v1-cut", version=1), cache("v2-cut"),
                   cache("v1-through-cut", version=1, mode="writethrough")]
        cls.said = {}
        with concurrent.futures.ThreadPoolExecutor() as guests:
            for done in [guests.submit(cls.hand_over, cls.clean[:2]),
                         guests.submit(cls.hand_over, cls.clean[2:]),
                         guests.submit(cls.hand_other_over), guests.submit(cls.cut_off)]:
                done.result()
        for each in [*cls.clean, cls.other, *cls.cut]:
            cls.said |= each.heard

    @classmethod
    def hand_over(cls, caches):
        def steps():
            for each in caches:
                is_through = each.mode == "writethrough"
                if is_through:
                    fill_in_writeback(each)
                hand_over_cleanly(each)
                if is_through:
                    pass_through(each)
        cls.boot(caches, steps)

    @classmethod
    def hand_other_over(cls):
        cls.boot([cls.other], lambda: hand_over_with_a_policy_that_the_kernel_lacks(cls.other))

    @classmethod
    def cut_off(cls):
        cls.first_boot()
        cls.copies = [each.copy(each.name + "-copy") for each in cls.cut]
        for each in cls.cut:
            each.engine("engine-1", "status", read_only=1)
            each.engine("engine-2", "status", "recover", "use=60", *SETTLE, "status", "close")
            each.check("engine-2")
        cls.second_boot()
        for each in cls.cut:
            each.engine("engine-3", "status", "recover", "use=30", "cut=200", "use=1000",
                        tracking="at-shutdown")
            each.check("engine-3")
            each.engine("engine-4", "status", read_only=1)
        cls.third_boot()

    @classmethod
    def boot(cls, caches, steps, end="all done"):
        machine = Guest("exerciser", "cache_check", "cache_dump")
        for each in caches:
            each.plug_into(machine)
        steps()
        if end == CUT:
            machine.add("wait_for_answer", CUT)
        cls.said |= machine.boot(end=end, listen=cut_power_at(CUT))
        for each in caches:
            each.unplug()

    @classmethod
    def first_boot(cls):
        def steps():
            for each in cls.cut:
                if each.mode == "writethrough":
                    fill_in_writeback(each)
            for each in cls.cut:
                each.kernel_is_cut_off("kernel-1")
        cls.boot(cls.cut, steps, CUT)

    @classmethod
    def second_boot(cls):
        def steps():
            for each in cls.copies:
                each.kernel_uses("kernel")
            for each in cls.cut:
                each.kernel_uses("kernel-2", "verify")
            for each in cls.cut:
                each.kernel_is_cut_off("kernel-3")
        cls.boot(cls.cut + cls.copies, steps, CUT)

    @classmethod
    def third_boot(cls):
        def steps():
            for each in cls.cut:
                each.kernel_writes_all_back("kernel-last")
        cls.boot(cls.cut, steps)

    def of(self, cache, step):
        return self.said[f"{cache.name}:{step}"]

    def status(self, cache, step, index):
        return fields(self.of(cache, step)["status"][index])

    def dirty(self, cache, step, index):
        return int(self.status(cache, step, index)["dirty"])

    def hits(self, cache, step):
        status = self.status(cache, step, -1)
        return int(status["read hits"]) + int(status["write hits"])

    def test_all_steps_succeed_and_find_the_right_data(self):
        for each in [*self.clean, self.other, *self.cut, *self.copies]:
            said = {label: values for label, values in self.said.items()
                    if label.startswith(each.name + ":")}
            self.assertGreaterEqual(len(said), 1)
            for label, values in said.items():
                with self.subTest(label):
                    self.assertEqual((set(values["exit"]), values.get("failed")), ({"0"}, None))

    def expect_agreement(self, first, second, besides=frozenset()):
        for field in set(first) - set(besides):
            self.assertEqual(first[field], second[field], field)

    def test_kernel_and_engine_say_the_same_of_the_same_state(self):
        for cache in self.clean:
            pairs = HANDED_OVER_CLEANLY + PASSED_THROUGH * (cache.mode == "passthrough")
            for step, index, next_step, next_index in pairs:
                with self.subTest(cache.name, of=step, to=next_step):
                    self.expect_agreement(self.but_writable(cache, step, index),
                                          self.status(cache, next_step, next_index), FORGOTTEN)
        for cache, copy in zip(self.cut, self.copies):
            with self.subTest(cache.name):
                self.expect_agreement(self.but_writable(cache, "engine-1", 0),
                                      self.status(copy, "kernel", 0))
                # The first shutdown adds hints to the metadata.
                self.expect_agreement(self.status(cache, "engine-2", -1),
                                      self.status(cache, "kernel-2", 0),
                                      FORGOTTEN | {"metadata blocks"})
                self.expect_agreement(self.but_writable(cache, "engine-4", 0),
                                      self.status(cache, "kernel-last", 0))

    def but_writable(self, cache, step, index):
        """What was looked at read-only, of a cache that wasn't to be changed."""
        status = self.status(cache, step, index)
        return status | {"rest": status["rest"].replace(" ro ", " rw ")}

    def test_after_a_power_cut_what_was_written_to_is_dirty_if_that_is_tracked_exactly(self):
        for cache in self.clean:
            with self.subTest(cache.name):
                dirty = self.dirty(cache, "kernel-last", 0)
                self.assertEqual(dirty, self.dirty(cache, "engine-4", 0))
                self.assertEqual(self.dirty(cache, "engine-3", 0), 0)
                self.assertGreater(dirty, 0)
                used = self.status(cache, "kernel-last", 0)["cache blocks"].split("/")[0]
                self.assertLess(dirty, int(used) / 2)

    def test_after_a_power_cut_everything_is_dirty_else(self):
        steps = itertools.product(self.cut, ("kernel-last", "engine-2", "engine-3"))
        for cache, step in steps:
            with self.subTest(cache.name, step=step):
                self.assertEqual(self.status(cache, step, 0)["cache blocks"].split("/")[0],
                                 str(self.dirty(cache, step, 0)))
                self.assertGreater(self.dirty(cache, step, 0), 10)

    def test_the_kernel_writes_the_right_origin(self):
        for cache in self.clean + self.cut:
            with self.subTest(cache.name):
                said = self.of(cache, "kernel-last")
                self.assertEqual(said["left"], ["0"])
                self.assertEqual(len(said["hash"]), 2)
                # Where all was dirty, nothing else is on the fast device. What is clean may be, where
                # the kernel has discarded it: it passes that on, and keeps the block.
                if cache in self.cut:
                    self.assertEqual(len(set(said["hash"])), 1)

    def test_each_side_believes_the_other_s_hints(self):
        for cache in self.clean:
            with self.subTest(cache.name):
                first, second, third = (self.of(cache, step)["hints"]
                                        for step in ("kernel-3", "engine-2", "kernel-4"))
                self.assertGreater(len(first[0].split()), 10)
                self.assertEqual(second, first)
                self.assertEqual(third, first)

    def hints(self, cache, step):
        """{cache block: hint}"""
        pairs = (each.split(":") for each in self.of(cache, step)["hints"][0].split())
        return {int(block): int.from_bytes(base64.b64decode(hint), "little")
                for block, hint in pairs}

    def test_no_side_believes_hints_of_a_policy_that_the_kernel_lacks(self):
        ours, kernels, ours_again = (self.hints(self.other, step)
                                     for step in ("engine-1", "kernel-2", "engine-2"))
        self.assertGreater(len(set(ours.values())), 2)
        self.assertEqual(set(kernels), set(ours))
        # Evening levels out keeps their order.
        in_order = sorted(ours, key=lambda block: (ours[block], kernels[block]))
        self.assertNotEqual([kernels[block] for block in in_order], sorted(kernels.values()))
        # Without a hint, a block counts as hit once or not at all; the hand stands at one.
        self.assertGreater(max(kernels.values()), 9)
        self.assertLessEqual({hint & 7 for hint in ours_again.values()}, {0, 1})

    def test_there_was_something_to_hand_over(self):
        for cache in self.clean:
            with self.subTest(cache.name):
                self.assertGreater(self.hits(cache, "engine-1"), self.hits(cache, "kernel-1"))
                self.assertGreater(self.hits(cache, "kernel-2"), self.hits(cache, "engine-1"))
                if cache.mode == "writeback":
                    for step in ("kernel-1", "engine-1", "kernel-2"):
                        self.assertGreater(self.dirty(cache, step, -1), 10)
        for cache in self.clean + self.cut:
            with self.subTest(cache.name):
                uncertain = int(self.of(cache, "kernel-last")["verified"][0].split()[0])
                self.assertGreater(uncertain, 0)


if __name__ == "__main__":
    unittest.main()
