"""The seeds of a run, as the environment says: see hostile_test.py."""

import itertools
import os
import time

SEED = int(os.environ.get("DMCACHE_SEED", 1))
MINUTES = float(os.environ.get("DMCACHE_MINUTES", 60))


def seeds(of, default, share=1.0):
    """Lists of seeds, to be tried at a time: `default` in all unless DMCACHE_TRIALS says another
    number, or until this share of the time is over. At the end it says how many `of` there were."""
    end = time.monotonic() + MINUTES * 60 * share
    trials = int(os.environ.get("DMCACHE_TRIALS", default))
    these = iter(range(SEED, SEED + trials)) if trials else itertools.takewhile(
        lambda _: time.monotonic() < end, itertools.count(SEED))
    nr_tried = 0
    while some := list(itertools.islice(these, 4 * os.cpu_count())):
        yield some
        nr_tried += len(some)
    print(f"{nr_tried} {of}")
