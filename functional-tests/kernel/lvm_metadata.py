"""Where the parts of a cache of LVM's are on its disks, and its metadata as they are there."""

import re
import struct

from fixture_images import BLOCK, Image

MIB = 1 << 20
EXTENT = MIB
PLACE_OF_EXTENTS = MIB  # in a disk of LVM's


def places_of(lines):
    """{volume: where it begins on its disk} of what lvs says of names and devices."""
    found = {}
    for line in lines:
        if place := re.match(r"\s*(\S+)\s+/dev/\w+\((\d+)\)", line):
            found[place[1].strip("[]")] = PLACE_OF_EXTENTS + int(place[2]) * EXTENT
    return found


class Metadata(Image):
    """In the file of the disk that they are on."""

    def __init__(self, path, offset, size):
        self.path, self.offset = path, offset
        with open(path, "rb") as disk:
            disk.seek(offset)
            self.data = bytearray(disk.read(size))

    def store(self):
        with open(self.path, "r+b") as disk:
            disk.seek(self.offset)
            disk.write(self.data)

    def entries(self, name, form):
        """[(block that it is in, value)] of an array's entries."""
        found = []
        for block in self.array_blocks(name + "_root"):
            count = self.get(block, 8, "I")
            values = struct.unpack_from(f"<{count}{form}", self.data, block * BLOCK + 24)
            found += [(block, value) for value in values]
        return found

    def mappings(self):
        """{cache block: (metadata block that has the mapping, origin block)}"""
        return {number: (block, value >> 16)
                for number, (block, value) in enumerate(self.entries("mapping", "Q")) if value & 1}

    def dirty(self):
        words = [value for _, value in self.entries("dirty", "Q")]
        return {number for number in self.mappings() if words[number // 64] >> number % 64 & 1}
