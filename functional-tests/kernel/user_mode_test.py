"""User-mode Linux runs here: it has disks, and what it writes to them is there."""

import os
import pathlib
import tempfile
import unittest

from guest import Guest
from user_mode_linux import UserModeLinux

SIZES = {"source": 3 * 512, "target": 5 << 20}


class UserModeTest(unittest.TestCase):
    def test_what_is_written_is_there(self):
        noise = os.urandom(SIZES["source"])
        with tempfile.TemporaryDirectory() as folder:
            files = {name: pathlib.Path(folder) / name for name in SIZES}
            for name, file in files.items():
                file.write_bytes(noise.ljust(SIZES[name], b"\xff"))
            machine = Guest(modules=(), machine=UserModeLinux)
            source, target = (f"/dev/{machine.disk(files[name])}" for name in SIZES)
            machine.add("run emptied dd if=/dev/zero bs=1M count=5", f"of={target}")
            machine.add("run copied dd seek=7", f"if={source} of={target}")
            said = machine.boot(timeout=300)
            for step in ("emptied", "copied"):
                self.assertEqual(said[step]["exit"], ["0"], said)
            self.assertEqual(files["source"].read_bytes(), noise)
            self.assertEqual(files["target"].read_bytes(),
                             (bytes(7 * 512) + noise).ljust(SIZES["target"], b"\0"))


if __name__ == "__main__":
    unittest.main()
