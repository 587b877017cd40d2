"""Metadata that an enemy, or a program gone wrong, could have written: their checksums are right."""

from fixture_images import ARRAY, BITMAP, BLOCK, FIELDS, INDEX, NODE, SUPERBLOCK, Image

FIXTURES = ("v1-crash", "v1-writeback", "v2-block-32k", "v2-discards", "v2-grown", "v2-writeback")
TYPE_OF = {"superblock": SUPERBLOCK, "index": INDEX, "bitmap": BITMAP, "node": NODE, "array": ARRAY}
EXTREMES = [0, 1, 2, 3, 127, 128, 508, 509, 510, 1018, 1 << 14, 1 << 16, 400_000_000, (1 << 31) - 1,
            1 << 31, (1 << 32) - 1, 1 << 32, (1 << 48) - 1, 1 << 48, 1 << 52, 1 << 63, (1 << 64) - 1]
NODE_FIELDS = ((4, "I"), (16, "I"), (20, "I"), (24, "I"))  # flags, entries, most entries, value size
ARRAY_FIELDS = ((4, "I"), (8, "I"), (12, "I"))  # most entries, entries, value size


def number(rng, form, likely):
    """A number for a field: a plausible one, an extreme one, or any."""
    bits = {"I": 32, "Q": 64}[form]
    chosen = rng.choice((rng.randrange(likely), rng.choice(EXTREMES), rng.getrandbits(bits)))
    return chosen & ((1 << bits) - 1)


class HostileImage:
    """A fixture's metadata with one to six changes, as the random numbers decide. `changes` tells
    them."""

    def __init__(self, rng):
        self.rng = rng
        self.name = rng.choice(FIXTURES)
        self.image = Image(self.name)
        self.used = sorted((block, TYPE_OF[kind.split()[-1]])
                           for block, kind in self.image.used_blocks().items())
        self.nr_blocks = len(self.image.data) // BLOCK
        self.changes = []
        kinds = (self.change_superblock, self.change_node, self.change_array, self.change_bytes,
                 self.move_block, self.zero_block, self.change_size)
        chosen = rng.choices(kinds, weights=(4, 4, 3, 3, 2, 1, 1), k=rng.randint(1, 6))
        for change in sorted(chosen, key=lambda each: each == self.change_size):  # which comes last
            change()

    def write(self, folder):
        path = folder / "hostile.img"
        path.write_bytes(self.image.data)
        return path

    def some_block(self, kinds=None):
        return self.rng.choice([each for each in self.used if kinds is None or each[1] in kinds])

    def change(self, block, offset, form, sealed_as):
        value = number(self.rng, form, self.nr_blocks)
        self.image.set(block, offset, form, value, sealed_as)
        self.changes.append(f"block {block}, byte {offset}: {value}")

    def change_superblock(self):
        offset, form = self.rng.choice([each for each in FIELDS.values() if each[1] in "IQ"])
        self.change(0, offset, form, SUPERBLOCK)

    def change_node(self):
        block, sealed_as = self.some_block((NODE,))
        values_at = 32 + 8 * self.image.get(block, 20, "I") % (BLOCK - 40)
        keys = (32 + 8 * self.rng.randrange(4), "Q")
        values = (min(values_at + 8 * self.rng.randrange(4), BLOCK - 8), "Q")
        self.change(block, *self.rng.choice((*NODE_FIELDS, keys, values)), sealed_as)

    def change_array(self):
        block, sealed_as = self.some_block((ARRAY,))
        entry = (24 + 8 * self.rng.randrange(500), "Q")
        self.change(block, *self.rng.choice((*ARRAY_FIELDS, entry, entry)), sealed_as)

    def change_bytes(self):
        block, sealed_as = self.some_block()
        for _ in range(self.rng.randint(1, 8)):
            self.image.data[block * BLOCK + self.rng.randrange(BLOCK)] = self.rng.getrandbits(8)
        self.image.seal(block, sealed_as)
        self.changes.append(f"block {block}: bytes")

    def move_block(self):
        source, sealed_as = self.some_block()
        target = self.rng.randrange(1, self.nr_blocks)
        self.image.copy_block(source, target, sealed_as)
        self.changes.append(f"block {source} to {target}")

    def zero_block(self):
        block, _ = self.some_block()
        self.image.zero(block)
        self.changes.append(f"block {block}: zeroes")

    def change_size(self):
        size = self.rng.choice((self.rng.randrange(len(self.image.data) + 1),
                                self.rng.randrange(1, self.nr_blocks) * BLOCK))
        del self.image.data[max(size, BLOCK):]
        self.changes.append(f"{len(self.image.data)} bytes long")
