"""Fixtures for the tests: a real kernel's images, unpacked, read and damaged.

The reader here is independent of the program under test: it follows persistent-data/format.md.
"""

import functools
import gzip
import json
import os
import pathlib
import struct
import subprocess

SOURCE = pathlib.Path(os.environ["DMCACHE_SOURCE"])
BIN = pathlib.Path(os.environ["DMCACHE_BIN"])
FIXTURES = SOURCE / "functional-tests" / "fixtures"
NAMES = sorted(each.name for each in FIXTURES.iterdir() if each.is_dir())
BLOCK = 4096

# What is folded into the checksum of each type of block, and where its own number stands.
SUPERBLOCK, NODE, ARRAY, INDEX, BITMAP = (
    (9031977, 8), (121107, 8), (595846735, 16), (160478, 8), (240779, 8))

FIELDS = {  # of the superblock: offset and format
    "flags": (4, "I"), "magic": (32, "Q"), "version": (40, "I"), "policy_name": (44, "16s"),
    "policy_hint_size": (60, "I"), "nr_blocks": (64, "Q"), "nr_allocated": (72, "Q"),
    "bitmap_root": (80, "Q"), "ref_count_root": (88, "Q"), "mapping_root": (192, "Q"),
    "hint_root": (200, "Q"), "discard_root": (208, "Q"), "discard_block_size": (216, "Q"),
    "discard_nr_blocks": (224, "Q"), "data_block_size": (232, "I"),
    "metadata_block_size": (236, "I"), "cache_blocks": (240, "I"), "compat_ro_flags": (248, "I"),
    "incompat_flags": (252, "I"), "read_hits": (256, "I"), "policy_version_major": (272, "I"),
    "dirty_root": (284, "Q")}

_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = _n >> 1 ^ (0x82F63B78 if _n & 1 else 0)
    _TABLE.append(_n)


def checksum(block, xor):
    crc = 0xFFFFFFFF
    for byte in block[4:]:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ xor


@functools.cache
def truth_of(name):
    """Not to be changed: it is made once."""
    return json.loads(gzip.decompress((FIXTURES / name / "truth.json.gz").read_bytes()))


def run(command, *arguments, **keywords):
    """The command's CompletedProcess, its output as text."""
    return subprocess.run([BIN / command, *map(str, arguments)], capture_output=True, text=True,
                          timeout=600, **keywords)


@functools.cache
def stored_metadata(name):
    return gzip.decompress((FIXTURES / name / "metadata.img.gz").read_bytes())


def is_zero(path):
    data = path.read_bytes()
    return data == bytes(len(data))


class Image:
    """The metadata of a fixture, in memory, to be changed and written to a file."""

    def __init__(self, name):
        self.data = bytearray(stored_metadata(name))

    def write(self, folder, name="metadata.img"):
        path = pathlib.Path(folder) / name
        path.write_bytes(self.data)
        return path

    def get(self, block, offset, form):
        return struct.unpack_from("<" + form, self.data, block * BLOCK + offset)[0]

    def set(self, block, offset, form, value, sealed_as):
        """Changes a field and mends the block's checksum and number."""
        struct.pack_into("<" + form, self.data, block * BLOCK + offset, value)
        self.seal(block, sealed_as)

    def seal(self, block, sealed_as):
        xor, number_at = sealed_as
        struct.pack_into("<Q", self.data, block * BLOCK + number_at, block)
        crc = checksum(self.data[block * BLOCK:(block + 1) * BLOCK], xor)
        struct.pack_into("<I", self.data, block * BLOCK, crc)

    def field(self, name):
        offset, form = FIELDS[name]
        return self.get(0, offset, form)

    def set_field(self, name, value):
        offset, form = FIELDS[name]
        self.set(0, offset, form, value, SUPERBLOCK)

    def copy_block(self, source, target, sealed_as):
        self.data[target * BLOCK:(target + 1) * BLOCK] = (
            self.data[source * BLOCK:(source + 1) * BLOCK])
        self.seal(target, sealed_as)

    def zero(self, block):
        self.data[block * BLOCK:(block + 1) * BLOCK] = bytes(BLOCK)

    def flip(self, block, offset):
        self.data[block * BLOCK + offset] ^= 0x10

    def tree(self, root, value_size):
        """(nodes, values) of a B-tree; values are (key, value)."""
        flags, nr, most = (self.get(root, at, "I") for at in (4, 16, 20))
        values_at = 32 + 8 * most
        if flags & 2:
            form = {4: "I", 8: "Q"}[value_size]
            return [root], [(self.get(root, 32 + 8 * i, "Q"),
                             self.get(root, values_at + value_size * i, form)) for i in range(nr)]
        nodes, values = [root], []
        for i in range(nr):
            below = self.tree(self.get(root, values_at + 8 * i, "Q"), value_size)
            nodes += below[0]
            values += below[1]
        return nodes, values

    def array_blocks(self, root_field):
        return [value for _, value in self.tree(self.field(root_field), 8)[1]]

    def used_blocks(self):
        """{block: what it is} of all blocks that the superblock leads to."""
        used = {0: "superblock", self.field("bitmap_root"): "index"}
        for i in range(-(-self.field("nr_blocks") // 16320)):
            used[self.get(self.field("bitmap_root"), 16 + 16 * i, "Q")] = "bitmap"
        for node in self.tree(self.field("ref_count_root"), 4)[0]:
            used[node] = "ref_count node"
        arrays = ["mapping", "discard"] + (["dirty"] if self.field("version") == 2 else [])
        arrays += ["hint"] if self.field("hint_root") else []
        for name in arrays:
            nodes, values = self.tree(self.field(name + "_root"), 8)
            used |= {node: name + " node" for node in nodes}
            used |= {block: name + " array" for _, block in values}
        return used
