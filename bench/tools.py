"""Times the tools against thin-provisioning-tools, 0.9 or 1.x, in one run, on metadata of
2,097,152 mapped cache blocks, origin blocks a random choice out of 8,388,608, 30 % of them dirty, all
hints set. Prints medians, ratios and peak memory beside their bars; exits with 1 if one is missed.

The commands take turns, so that both see the same machine. cache_repair is held against a loop, too,
that reads and writes as many bytes. PEER_TOOLS names the folder of the other tools, or the program
pdata_tools, whose arguments are a tool's name and its arguments. Then cache_writeback of 1 GiB, all of it
dirty and in order, is timed against dd without the page cache, which is the faster one of dd's ways;
and cache_verify of the same against two of dd that read both devices at once.
"""

import base64
import filecmp
import mmap
import os
import pathlib
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

NR_BLOCKS = 2097152
NR_ORIGIN_BLOCKS = 8388608
OURS = pathlib.Path(sys.argv[1])
THEIRS = pathlib.Path(os.environ.get("PEER_TOOLS", "/usr/sbin"))
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
BARS = {"0": {"check": 120, "dump": 12, "restore": 25, "repair": 0},  # times faster, by release
        "1": {"check": 3, "dump": 3, "restore": 4.5, "repair": 3.5}}
REPAIR_BAR = 2  # times as long as it takes to read and write as many bytes
READING_MEMORY_BAR, WRITING_MEMORY_BAR = 32, 64  # MiB
WRITEBACK_BAR = VERIFY_BAR = 0.9  # of dd's rate
NR_DIRTY_BLOCKS = 16384  # of 64 KiB


def theirs(tool, *arguments):
    """A command line."""
    return ([THEIRS / tool] if THEIRS.is_dir() else [THEIRS, tool]) + list(arguments)


def peer_version():
    said = subprocess.run(theirs("cache_check", "--version"), capture_output=True, text=True)
    found = re.search(r"\d+\.\d+", said.stdout + said.stderr)
    if said.returncode != 0 or not found or found[0].split(".")[0] not in BARS:
        sys.exit(f"{THEIRS} has no thin-provisioning-tools 0.9 or 1.x: PEER_TOOLS names them")
    return found[0]


PEER = peer_version()
BAR = BARS[PEER.split(".")[0]]


def write_xml(path):
    chance = random.Random(1)
    origins = chance.sample(range(NR_ORIGIN_BLOCKS), NR_BLOCKS)
    hints = [base64.b64encode(struct.pack("<I", level)).decode() for level in range(64)]
    with open(path, "w") as out:
        out.write(f'<superblock uuid="" block_size="128" nr_cache_blocks="{NR_BLOCKS}" '
                  'policy="smq" hint_width="4">\n  <mappings>\n')
        for block, origin in enumerate(origins):
            dirty = "true" if chance.random() < 0.3 else "false"
            out.write(f'    <mapping cache_block="{block}" origin_block="{origin}" '
                      f'dirty="{dirty}"/>\n')
        out.write("  </mappings>\n  <hints>\n")
        for block in range(NR_BLOCKS):
            out.write(f'    <hint cache_block="{block}" data="{chance.choice(hints)}"/>\n')
        out.write("  </hints>\n</superblock>\n")


def in_a_child(work, *arguments):
    """A process inherits the peak memory of the one that forks it: ours must stay small."""
    child = os.fork()
    if child == 0:
        work(*arguments)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("making the test data failed")


def complete_superblock(path):
    """0.9 leaves hint size and policy version zero, so that the hints would count for nothing; 1.x
    makes up what the hits and misses are."""
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    with open(path, "r+b") as image:
        block = bytearray(image.read(4096))
        struct.pack_into("<I", block, 60, 4)
        block[256:272] = bytes(16)
        struct.pack_into("<I", block, 272, 2)
        crc = 0xFFFFFFFF
        for byte in block[4:]:
            crc = crc >> 8 ^ table[(crc ^ byte) & 255]
        struct.pack_into("<I", block, 0, crc ^ 9031977)
        image.seek(0)
        image.write(block)


def timed(*command):
    """(seconds, peak MiB) of a command that must succeed."""
    begin = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command} failed")
    return seconds, usage.ru_maxrss / 1024


def compare(what, ours, their_command, bar, memory_bar, before=lambda: None):
    results = {"ours": [], PEER: []}
    for run in range(RUNS + 1):  # the first warms up
        for name, command in (("ours", ours), (PEER, their_command)):
            before()
            os.sync()  # or one would wait for what the other left to be written
            result = timed(*command)
            if run > 0:
                results[name].append(result)
    mine, other = (statistics.median(seconds for seconds, _ in results[name])
                   for name in ("ours", PEER))
    memory = max(peak for _, peak in results["ours"])
    print(f"{what:13} {mine:8.3f} s  {PEER}: {other:7.3f} s  {other / mine:6.1f} times faster "
          f"(bar {bar})  peak {memory:5.1f} MiB (bar {memory_bar}), "
          f"{PEER}: {max(peak for _, peak in results[PEER]):.1f} MiB")
    return other / mine >= bar and memory <= memory_bar


def read_and_write(source, target, size):
    """Seconds that it takes to read and to write so many bytes past the page cache, and no more."""
    buffer = memoryview(mmap.mmap(-1, 1 << 20))
    begin = time.monotonic()
    for path, flags, transfer in ((source, os.O_RDONLY, os.preadv), (target, os.O_RDWR, os.pwritev)):
        file = os.open(path, flags | os.O_DIRECT)
        done = 0
        while done < size:
            done += transfer(file, [buffer[:min(len(buffer), size - done)]], done)
        if flags != os.O_RDONLY:
            os.fdatasync(file)
        os.close(file)
    return time.monotonic() - begin


def compare_repair(image, output):
    def make_output():
        pathlib.Path(output).unlink(missing_ok=True)
        with open(output, "wb") as file:
            file.truncate(64 << 20)
        os.sync()

    commands = {PEER: theirs("cache_repair", "-i", image, "-o", output),
                "ours": [OURS / "cache_repair", "-i", image, "-o", output]}
    results = {"ours": [], PEER: [], "direct": []}
    for run in range(RUNS + 1):  # the first warms up
        for name, command in commands.items():
            make_output()
            result = timed(*command)
            if run > 0:
                results[name].append(result)
        size = os.stat(output).st_blocks * 512
        make_output()
        seconds = read_and_write(image, output, size)
        if run > 0:
            results["direct"].append((seconds, 0))
    mine, other, direct = (statistics.median(seconds for seconds, _ in results[name])
                           for name in ("ours", PEER, "direct"))
    memory = max(peak for _, peak in results["ours"])
    print(f"{'cache_repair':13} {mine:8.3f} s  reading and writing {size >> 20} MiB: {direct:.3f} s, "
          f"{mine / direct:.2f} times that (bar {REPAIR_BAR})  {PEER}: {other:7.3f} s, "
          f"{other / mine:.1f} times faster (bar {BAR['repair'] or 'none'})  "
          f"peak {memory:5.1f} MiB (bar {WRITING_MEMORY_BAR})")
    return (mine / direct <= REPAIR_BAR and other / mine >= BAR["repair"]
            and memory <= WRITING_MEMORY_BAR)


def compare_data_tools(folder):
    metadata, fast, origin, xml = (os.path.join(folder, name)
                                   for name in ("cmeta", "fast", "origin", "dirty.xml"))
    with open(xml, "w") as out:
        out.write(f'<superblock uuid="" block_size="128" nr_cache_blocks="{NR_DIRTY_BLOCKS}" '
                  'policy="smq" hint_width="0">\n  <mappings>\n')
        out.writelines(f'    <mapping cache_block="{block}" origin_block="{block}" '
                       'dirty="true"/>\n' for block in range(NR_DIRTY_BLOCKS))
        out.write("  </mappings>\n</superblock>\n")
    with open(metadata, "wb") as file:
        file.truncate(4 << 20)
    timed(OURS / "cache_restore", "-i", xml, "-o", metadata)
    timed("dd", "if=/dev/urandom", f"of={fast}", "bs=1M", f"count={NR_DIRTY_BLOCKS // 16}")
    timed("dd", "if=/dev/zero", f"of={origin}", "bs=1M", f"count={NR_DIRTY_BLOCKS // 16}")
    commands = {
        "ours": (OURS / "cache_writeback", "--metadata-device", metadata, "--origin-device", origin,
                 "--fast-device", fast, "--no-metadata-update"),
        "dd": ("dd", f"if={fast}", f"of={origin}", "bs=1M", "iflag=direct", "oflag=direct",
               "conv=notrunc,fsync")}
    is_good = compare_rates("cache_writeback", "dd:", commands, WRITEBACK_BAR)
    if not filecmp.cmp(fast, origin, shallow=False):
        sys.exit("the origin differs from what was dirty")
    reading = " & ".join(f"dd if={each} of=/dev/null bs=1M iflag=direct" for each in (fast, origin))
    commands = {
        "ours": (OURS / "cache_verify", "--metadata-device", metadata, "--origin-device", origin,
                 "--fast-device", fast),
        "two dd": ("sh", "-c", f"{reading} & wait")}
    return compare_rates("cache_verify", "2 dd:", commands, VERIFY_BAR) and is_good


def compare_rates(what, others_name, commands, bar):
    """Both commands do the same I/O; the first of them is ours. A disk that others use as well is now
    fast and now slow, so that what counts is the ratio within each round, and they take turns in
    being first."""
    results = {name: [] for name in commands}
    for run in range(RUNS + 1):  # the first warms up
        in_turn = list(commands.items())
        for name, command in in_turn if run % 2 else reversed(in_turn):
            os.sync()
            seconds, _ = timed(*command)
            if run > 0:
                results[name].append(seconds)
    mine, other = results.values()
    rate = statistics.median(its / ours for ours, its in zip(mine, other))
    print(f"{what:15} {statistics.median(mine):6.3f} s  {others_name:5} "
          f"{statistics.median(other):6.3f} s ({min(other):.3f} to {max(other):.3f})  "
          f"{rate:6.2f} of its rate (bar {bar})")
    return rate >= bar


def main():
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ".")) as folder:
        xml, image, out, new_image = (os.path.join(folder, name)
                                      for name in ("in.xml", "image", "out.xml", "new_image"))
        in_a_child(write_xml, xml)
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        timed(*theirs("cache_restore", "-i", xml, "-o", image, "--metadata-version", "2"))
        complete_superblock(image)

        def remove_output():
            pathlib.Path(out).unlink(missing_ok=True)

        fine = compare("cache_check", (OURS / "cache_check", image),
                       theirs("cache_check", image), BAR["check"], READING_MEMORY_BAR)
        fine &= compare("cache_dump -o", (OURS / "cache_dump", "-o", out, image),
                        theirs("cache_dump", "-o", out, image), BAR["dump"], READING_MEMORY_BAR,
                        remove_output)
        with open(new_image, "wb") as file:
            file.truncate(64 << 20)
        fine &= compare("cache_restore", (OURS / "cache_restore", "-i", xml, "-o", new_image),
                        theirs("cache_restore", "-i", xml, "-o", new_image, "--metadata-version", "2"),
                        BAR["restore"], WRITING_MEMORY_BAR)
        fine &= compare_repair(image, new_image)
        timed(OURS / "cache_dump", "-o", out, image)
        if not filecmp.cmp(out, xml, shallow=False):
            sys.exit("the dump differs from what the metadata were made of")
        print("the dump equals the document that the metadata were made of")
        fine &= compare_data_tools(folder)
        sys.exit(0 if fine else 1)


main()
