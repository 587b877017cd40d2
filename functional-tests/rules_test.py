"""The rules of the code that no compiler holds."""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

from fixture_images import BIN, SOURCE, run

# What each layer may include besides itself, and what that includes.
LAYERS = {
    "base": [],
    "persistent-data": ["base"],
    "caching/metadata": ["persistent-data"],
    "caching/tools": ["caching/metadata"],
    "caching/policy": ["base"],
    "caching/replay": ["caching/policy"],
    "caching/sizing": ["caching/policy"],
    "caching/online-metadata": ["caching/metadata"],
    "caching/engine": ["caching/online-metadata", "caching/sizing"],
    "caching/runtime": ["caching/engine"],
    "caching/simulation": ["caching/engine", "caching/tools"],
    "bin/control": ["caching/runtime"],
    "bin/lvm": ["base"],
    "bin/plugin": ["bin/control"],
    "bin/serve": ["bin/control"],
    "bin": ["bin/control", "bin/lvm", "bin/serve", "caching/replay", "caching/tools"],
}
# Nothing of these is in a state machine without I/O.
OUTSIDE_OF_THE_ENGINE = re.compile(
    r"<(thread|mutex|shared_mutex|condition_variable|semaphore|stop_token|future|fstream|cstdio|"
    r"filesystem|fcntl\.h|unistd\.h|sys/.*|pthread\.h|csignal|signal\.h|ctime|time\.h|liburing\.h|"
    r"libaio\.h)>|\"base/(.*file.*|.*queue|progress|report)\.h\"|_clock\b")
LONGEST = 500  # lines of a file
SOURCE_SUFFIXES = {".cc", ".h", ".py", ".sh", ".txt"}
MARKS = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
COMMANDS = sorted(each.name for each in BIN.iterdir() if each.name.startswith("cache_")
                  and each.is_symlink()) + ["dmcache"]


def sources():
    for folder, below, names in os.walk(SOURCE):
        below[:] = [each for each in below if each not in ("build", "fixtures", "corpus")
                    and (not each.startswith(".") or each == ".ci")]
        for name in names:
            path = pathlib.Path(folder) / name
            if path.suffix in SOURCE_SUFFIXES or path.parent.name in ("scripts", ".ci"):
                yield path


def layer_of(path):
    return next((str(each) for each in pathlib.PurePath(path).parents if str(each) in LAYERS), None)


def below(layer):
    found = {layer}
    for each in LAYERS[layer]:
        found |= below(each)
    return found


def is_for_tests(path):
    return path.stem.endswith("_test") or path.parent.name in ("testing", "simulation")


class Code(unittest.TestCase):
    def test_includes_point_one_way(self):
        checked = 0
        for path in sources():
            own = layer_of(path.relative_to(SOURCE))
            if path.suffix not in (".cc", ".h") or own is None:
                continue
            for included in re.findall(r'^#include "(.*)"', path.read_text(), re.M):
                layer = layer_of(included)
                checked += 1
                self.assertIn(layer, below(own), f"{path} may not include {included}")
                self.assertTrue(not included.split("/")[-2] == "testing" or is_for_tests(path),
                                f"{path} is no test, and includes {included}")
        self.assertGreater(checked, 100)

    def test_no_layer_is_below_itself(self):
        for layer in LAYERS:
            for each in LAYERS[layer]:
                self.assertNotIn(layer, below(each))

    def test_the_engine_has_no_thread_file_or_clock(self):
        paths = [path for path in sources() if path.suffix in (".cc", ".h")
                 and layer_of(path.relative_to(SOURCE)) == "caching/engine"]
        self.assertGreater(len(paths), 10)
        for path in paths:
            for line in path.read_text().splitlines():
                self.assertNotRegex(line, OUTSIDE_OF_THE_ENGINE, path)

    def test_a_file_includes_its_own_header_first(self):
        """So it shows that the header compiles alone; those without a file, the build compiles."""
        checked = 0
        for path in sources():
            own = path.with_suffix(".h")
            if path.suffix == ".cc" and own.exists():
                first = re.search(r"^#include (.*)", path.read_text(), re.M)
                self.assertEqual(first and first[1], f'"{own.relative_to(SOURCE)}"', path)
                checked += 1
        self.assertGreater(checked, 20)

    def test_no_file_is_too_long(self):
        for path in sources():
            lines = len(path.read_text().splitlines())
            self.assertLessEqual(lines, LONGEST, path)

    def test_nothing_is_left_to_do(self):
        for path in sources():
            for mark in MARKS:
                self.assertNotRegex(path.read_text(), rf"\b{mark}\b", path)


class Commands(unittest.TestCase):
    def page(self, command):
        return SOURCE / "man8" / f"{command}.8"

    def options(self, text):
        return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text.replace("\\-", "-")))

    def test_there_are_some(self):
        self.assertIn("cache_check", COMMANDS)

    def test_page_and_help_name_the_same_options(self):
        for command in COMMANDS:
            with self.subTest(command):
                text = run(command, "--help").stdout
                # Neither in comments, nor of another program.
                described = "".join(line for line in self.page(command).read_text().splitlines(True)
                                    if not line.startswith((".\\\"", "$ nbdcopy ")))
                own = re.split(r"\.SH (?:DIFFERENCES|WHEN)", described)[0]
                self.assertEqual(self.options(own), self.options(text))

    def test_help_fits_a_screen_and_has_an_example(self):
        for command in COMMANDS:
            with self.subTest(command):
                text = run(command, "--help").stdout
                self.assertLessEqual(len(text.splitlines()), 34)
                self.assertIn("Example: ", text)

    def test_pages_are_well_formed(self):
        self.assertTrue(shutil.which("mandoc"), "mandoc is needed")
        for page in sorted((SOURCE / "man8").iterdir()):
            done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True,
                                  text=True)
            self.assertEqual(done.stdout, "", page)


if __name__ == "__main__":
    unittest.main()
