"""What stands on the fast device and the origin of a fixture's cache."""

import gzip
import hashlib

from fixture_images import FIXTURES

CRASHED = ("v1-crash", "v1-crash-again", "v2-crash")  # those whose data the kernel left


def unpack_data(fixture, fast, origin):
    """The data that the kernel wrote until the power went; the hash of what it would read."""
    for name, path in (("cache", fast), ("origin", origin)):
        packed = (FIXTURES / fixture / f"{name}.img.gz").read_bytes()
        path.write_bytes(gzip.decompress(packed))
    return (FIXTURES / fixture / "logical.sha256").read_text().strip()


def make_data(truth, fast, origin, origin_blocks=1024):
    """Data for a cache that was shut down: only where it is dirty do the two differ. The hash of
    what is to be read."""
    size = truth["block_size"] * 512
    logical = bytearray(b"".join(b"%8d" % block * (size // 8) for block in range(origin_blocks)))
    origin.write_bytes(logical)
    cached = bytearray(truth["cache_blocks"] * size)
    for block, at, dirty in truth["mappings"]:
        if dirty:
            logical[at * size:(at + 1) * size] = b"%8d" % (block + 1000000) * (size // 8)
        cached[block * size:(block + 1) * size] = logical[at * size:(at + 1) * size]
    fast.write_bytes(cached)
    return hashlib.sha256(logical).hexdigest()
