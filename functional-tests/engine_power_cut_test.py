"""The engine's power is cut in the middle of its work, again and again; each time its metadata are
sound, and what was made durable is there, for the engine and for the tools."""

import pathlib
import random
import tempfile
import unittest

from fixture_images import run

SEED = 1


class EnginePowerCutTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def path(self, name):
        return self.folder / name

    def lay_out(self, block_size, cache_blocks):
        for name, sectors in (("metadata", 1024), ("fast", cache_blocks * block_size),
                              ("origin", 3 * cache_blocks * block_size + 24)):
            with open(self.path(name), "wb") as image:
                image.truncate(sectors * 512)
        self.path("model").unlink(missing_ok=True)
        self.succeed("exerciser", f"device={self.path('origin')}", *self.model(), "fill")

    def model(self):
        return [f"model={self.path('model')}"]

    def succeed(self, command, *words):
        self.did.append(f"{command} {' '.join(map(str, words))}")
        done = run(command, *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""), "\n".join(self.did))
        return done.stdout

    def engine(self, chance, mode, version, *commands):
        return self.succeed("exerciser", *(f"{name}={self.path(name)}"
                                           for name in ("metadata", "fast", "origin", "model")),
                            f"mode={mode}", f"version={version}", f"block_size={self.block_size}",
                            f"seed={chance.randrange(1 << 32)}", *commands)

    def test_what_was_durable_is_there_after_a_power_cut(self):
        chance = random.Random(SEED)
        for mode in ("writeback", "writethrough"):
            for version in (1, 2):
                with self.subTest(mode=mode, version=version):
                    self.did = []
                    self.block_size = 64 * chance.randrange(1, 4)
                    self.lay_out(self.block_size, chance.randrange(8, 100))
                    self.cut_again_and_again(chance, mode, version)

    def cut_again_and_again(self, chance, mode, version):
        for _ in range(4):
            said = self.engine(chance, mode, version, "recover", f"cut={chance.randrange(1500)}",
                               "use=1000")
            self.assertTrue(said.endswith("cut\n"), said)
            self.succeed("cache_check", self.path("metadata"))
        self.engine(chance, mode, version, "recover", "use=50", "close")
        self.engine(chance, mode, version, "verify", f"cut={chance.randrange(500)}", "use=1000")
        self.succeed("cache_writeback", "--metadata-device", self.path("metadata"),
                     "--fast-device", self.path("fast"), "--origin-device", self.path("origin"))
        self.succeed("exerciser", f"device={self.path('origin')}", *self.model(), "recover")
        self.engine(chance, mode, version, "verify", "close")


if __name__ == "__main__":
    unittest.main()
