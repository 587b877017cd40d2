"""Replays block traces through policies and compares what they find and copy with a table of what
is expected: policies.py BIN TRACES EXPECTED. Exits with 1 if misses, promotions or bytes written to
the fast device differ by more than 1 %.

TRACES is a folder with NAME.csv.gz for each trace. EXPECTED has the columns trace, policy (its name,
and KEY=VALUE for each setting), KiB (of a block), cache_percent, miss, promotions and MiB_to_fast.
"""

import csv
import itertools
import pathlib
import subprocess
import sys

ALLOWED = 0.01
ROUNDED = {"miss": 0.0001, "promotions": 0, "MiB_to_fast": 0.1}  # as far as they are printed


def replay(folder, trace, policy, rows):
    """What the replayer says, by KiB of a block and percents of the footprint."""
    name, *settings = policy.split()
    sizes = sorted({int(row["KiB"]) for row in rows})
    percents = sorted({int(row["cache_percent"]) for row in rows})
    done = subprocess.run(
        [BIN / "replay", "--policy", name, *(f"--policy-setting={each}" for each in settings),
         "--block-size", ",".join(f"{size}k" for size in sizes),
         "--cache-percent", ",".join(map(str, percents)), folder / f"{trace}.csv.gz"],
        check=True, capture_output=True, text=True)
    found = {}
    for line in done.stdout.splitlines()[2:]:
        size, percent, _, _, _, miss, promotions, _, _, written = line.split()
        found[int(size.rstrip("k")), int(percent.rstrip("%"))] = {
            "miss": float(miss), "promotions": float(promotions), "MiB_to_fast": float(written)}
    return found


def differing(row, found):
    """The columns of a row that differ, in words."""
    for column, rounded in ROUNDED.items():
        wanted = float(row[column])
        if abs(found[column] - wanted) > ALLOWED * wanted + rounded:
            yield f"{column} {found[column]} instead of {wanted}"


def main(folder, expected):
    with open(expected, encoding="utf-8", newline="") as table:
        rows = sorted(csv.DictReader(table), key=lambda row: (row["trace"], row["policy"]))
    nr_wrong = 0
    for (trace, policy), group in itertools.groupby(
            rows, key=lambda row: (row["trace"], row["policy"])):
        group = list(group)
        found = replay(folder, trace, policy, group)
        for row in group:
            size, percent = int(row["KiB"]), int(row["cache_percent"])
            wrong = list(differing(row, found[size, percent]))
            nr_wrong += bool(wrong)
            if wrong:
                print(f"{trace} {policy}, {size} KiB, {percent} %: {', '.join(wrong)}")
    print(f"{len(rows) - nr_wrong} of {len(rows)} as expected")
    return 1 if nr_wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    BIN = pathlib.Path(sys.argv[1])
    sys.exit(main(pathlib.Path(sys.argv[2]), sys.argv[3]))
