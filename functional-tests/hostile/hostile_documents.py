"""Documents that no dump is, and packs that nothing packed."""

import struct
import zlib

from fixture_images import checksum

NUMBERS = ["0", "-1", "4294967295", "4294967296", "18446744073709551615", "18446744073709551616",
           "1e9", "0x10", " 1", "", "1" * 5000]
FRAGMENTS = ["<mapping", "/>", "</mappings>", "<hints>", "<!--", "-->", "<!-- dmcache:", "<![CDATA[",
             "]]>", "&#0;", "&lt;", "&x;", "<!DOCTYPE x [<!ENTITY x 'y'>]>", "<?xml version='1.0'?>",
             "\0", "\xff", "\ufeff", '"', "'", "\n", " " * 9000, "<a>" * 100]


def hostile_document(rng, document):
    """A dump with one to six changes."""
    for _ in range(rng.randint(1, 6)):
        lines = document.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            lines[at] = ""
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif kind == 2:
            lines[at:at + 20] = reversed(lines[at:at + 20])
        elif kind == 3:
            parts = lines[at].split('"')
            if len(parts) > 2:
                parts[rng.randrange(1, len(parts), 2)] = rng.choice(NUMBERS)
            lines[at] = '"'.join(parts)
        elif kind == 4:
            column = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:column] + rng.choice(FRAGMENTS) + lines[at][column:]
        else:
            del lines[rng.randrange(len(lines)):]
        document = "".join(lines) or "<"
    return document.encode("utf-8", "surrogateescape")


def chunks_of(pack):
    """(number of blocks, payload) of each chunk."""
    at, chunks = 32, []
    while at < len(pack):
        _, _, nr_blocks, size = struct.unpack_from("<IIII", pack, at)
        payload = pack[at + 16:at + 16 + size]
        chunks.append((nr_blocks, zlib.decompress(payload) if nr_blocks else b""))
        at += 16 + size
    return chunks


def sealed(fields):
    return struct.pack("<I", checksum(bytes(4) + fields, 0)) + fields


def hostile_pack(rng, pack):
    """A pack that says something else, and whose checksums are right."""
    version, nr_blocks = struct.unpack_from("<IQ", pack, 20)
    if rng.random() < 0.5:
        nr_blocks = rng.choice((0, 1, 20, 4161600, 4161601, 1 << 32, 1 << 52, (1 << 64) - 1))
    header = pack[:16] + sealed(struct.pack("<IQ", version if rng.random() < 0.9 else 2, nr_blocks))
    made = [header]
    for ordinal, (count, payload) in enumerate(chunks_of(pack)):
        payload = bytearray(payload)
        kind = rng.randrange(6)
        if kind == 0 and payload:
            where = 8 * rng.randrange(count)
            struct.pack_into("<Q", payload, where, rng.choice((0, 1, 1 << 22, 1 << 52, 1 << 63)))
        elif kind == 1 and payload:
            payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            count = rng.choice((0, 1, 127, 128, 129, 1 << 31))
        elif kind == 3:
            payload = payload * rng.choice((0, 2, 50))
        packed = zlib.compress(bytes(payload)) if payload else b""
        size = len(packed) if rng.random() < 0.9 else rng.getrandbits(32)
        made.append(sealed(struct.pack("<III", ordinal, count, size) + packed))
    return b"".join(made)[:rng.choice((None, None, None, rng.randrange(1, len(pack))))]
