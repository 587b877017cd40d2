"""Measures the nbdkit plugin against nbdkit's own file plugin and cache filter, with fio over a unix
socket: bench/nbd.py BIN [ROUNDS]. Prints medians, ours first, ratios and their bars; exits with 1 if
one is missed.

All serve the same fast file, every block of which is cached, as the page cache has it: what differs is
what each adds to a request. The servers take turns in short rounds, so that all see the same machine.
"""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

BIN = pathlib.Path(sys.argv[1]).resolve()
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 9
MIB = 1 << 20
BLOCK = 64 << 10
FAST_SIZE = 256 * MIB
ORIGIN_SIZE = 512 * MIB
DURATION = "1000ms"  # of a measurement

RANDOM = ["--rw=randread", "--bs=4k"]
SEQUENTIAL = ["--rw=read", "--bs=1m", "--iodepth=4"]


def write_data(path, size):
    data = os.urandom(MIB)
    with open(path, "wb") as out:
        for _ in range(size // MIB):
            out.write(data)


def restore_metadata(folder):
    """Every cache block is mapped: to the origin block of the same number."""
    document = folder / "cache.xml"
    blocks = FAST_SIZE // BLOCK
    mappings = "".join(f'<mapping cache_block="{i}" origin_block="{i}" dirty="false"/>\n'
                       for i in range(blocks))
    document.write_text(f'<superblock uuid="" block_size="{BLOCK // 512}" nr_cache_blocks="{blocks}" '
                        f'policy="smq" hint_width="4">\n<mappings>\n{mappings}</mappings>\n'
                        "<hints>\n</hints>\n</superblock>\n")
    metadata = folder / "metadata"
    metadata.write_bytes(bytes(4 * MIB))
    subprocess.run([BIN / "cache_restore", "-q", "-i", document, "-o", metadata], check=True)
    return metadata


@contextlib.contextmanager
def served(folder, name, *arguments):
    """The URI of what nbdkit serves."""
    socket = folder / f"{name}.socket"
    server = subprocess.Popen(["nbdkit", "-f", "-U", socket, *map(str, arguments)])
    while not socket.exists():
        if server.poll() is not None:
            sys.exit(f"nbdkit {name} ended")
        time.sleep(0.01)
    try:
        yield f"nbd+unix:///?socket={socket}"
    finally:
        server.terminate()
        if server.wait() != 0:
            sys.exit(f"nbdkit {name} failed")


def fio(uri, *options, offset=0, size=FAST_SIZE):
    """What fio says of its reads."""
    done = subprocess.run(
        ["fio", "--name=read", "--ioengine=nbd", f"--uri={uri}", f"--offset={offset}",
         f"--size={size}", "--time_based", f"--runtime={DURATION}", "--randrepeat=0",
         "--output-format=json", *options], capture_output=True, text=True, check=True)
    report = done.stdout[done.stdout.index("{"):]  # the engine has its say before
    return json.loads(report)["jobs"][0]["read"]


def iops(uri):
    return fio(uri, *RANDOM, "--iodepth=32")["iops"]


def latency(uri):
    """The median, in microseconds."""
    return fio(uri, *RANDOM, "--iodepth=1")["clat_ns"]["percentile"]["50.000000"] / 1000


def hit_rate(uri):
    return fio(uri, *SEQUENTIAL)["bw"] / 1024


def miss_rate(uri):
    return fio(uri, *SEQUENTIAL, offset=FAST_SIZE, size=ORIGIN_SIZE - FAST_SIZE)["bw"] / 1024


def medians(measure, uris):
    """Of each server, in turns. The first round only warms up."""
    measured = [[measure(uri) for uri in uris] for _ in range(ROUNDS + 1)][1:]
    return [statistics.median(of_one) for of_one in zip(*measured)]


class Report:
    missed = False

    def line(self, what, ours, theirs, unit, verdict, is_met):
        self.missed |= not is_met
        print(f"{what:<38}{ours:>9.1f} {unit:<6}{theirs:>9.1f} {unit:<6}{verdict}"
              f"{'' if is_met else '  MISSED'}", flush=True)

    def ratio(self, what, ours, theirs, unit, bar=None):
        told = f" (bar {bar})" if bar else ""
        self.line(what, ours, theirs, unit, f"{ours / theirs:.2f} times{told}",
                  not bar or ours / theirs >= bar)

    def distance(self, what, ours, theirs, unit, bar):
        self.line(what, ours, theirs, unit, f"{ours - theirs:+.1f} {unit} (bar +{bar})",
                  ours - theirs <= bar)


def main():
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = pathlib.Path(name)
        fast, origin = folder / "fast", folder / "origin"
        write_data(fast, FAST_SIZE)
        write_data(origin, ORIGIN_SIZE)
        metadata = restore_metadata(folder)
        start = lambda *arguments: running.enter_context(served(folder, *arguments))
        ours = start("dmcache", BIN / "nbdkit-dmcache-plugin.so", f"metadata={metadata}",
                     f"fast={fast}", f"origin={origin}")
        plain = start("file", "file", fast)
        plain_origin = start("origin", "file", origin)
        filtered = start("filter", "--filter=cache", "file", fast)
        keeping = start("keeping", "--filter=cache", "file", fast, "cache-on-read=true")
        report = Report()
        nothing = start("null", "null", f"size={FAST_SIZE}")
        own, file, most, *filters = medians(iops, [ours, plain, nothing, filtered, keeping])
        report.ratio("4 KiB reads, depth 32: file plugin", own, file, "IOPS", 0.95)
        report.ratio("null plugin, the most there can be", own, most, "IOPS")
        for what, each in zip(("as it comes", "that keeps what it reads"), filters):
            # Where nbdkit itself isn't twice as fast as that, nearly as fast as it can be.
            bar = min(2, 0.9 * most / each)
            report.ratio(f"cache filter {what}", own, each, "IOPS", round(bar, 2))
        own, file = medians(latency, [ours, plain])
        report.distance("4 KiB reads, depth 1: file plugin", own, file, "us", 3)
        own, file = medians(hit_rate, [ours, plain])
        report.ratio("1 MiB reads, hits: file plugin", own, file, "MiB/s", 0.9)
        own, file = medians(miss_rate, [ours, plain_origin])
        report.ratio("1 MiB reads, misses: file plugin", own, file, "MiB/s", 0.9)
    sys.exit(report.missed)


if __name__ == "__main__":
    main()
