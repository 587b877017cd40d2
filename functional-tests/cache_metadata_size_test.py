"""cache_metadata_size."""

import unittest

from fixture_images import run


class MetadataSize(unittest.TestCase):
    def expect(self, answer, *arguments):
        done = run("cache_metadata_size", *arguments)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, answer + "\n", ""))

    def refuse(self, text, *arguments):
        done = run("cache_metadata_size", *arguments)
        self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
        self.assertIn(text, done.stderr)

    def test_number_of_blocks(self):
        self.expect("8752 sectors", "--nr-blocks", 10240)

    def test_sizes(self):
        self.expect("9088 sectors", "--block-size", "64k", "--device-size", "1g")
        self.expect("9088 sectors", "--block-size=128", "--device-size=2097152")
        self.expect("9088 sectors", "--block-size", "64.00 KiB", "--device-size", "1.00G")
        self.expect("9088 sectors", "--block-size", "65536b", "--device-size", "1024MiB")

    def test_hint_width(self):
        self.expect("8199 sectors", "--nr-blocks", 100, "--max-hint-width", 16)

    def test_units(self):
        for unit, answer in (("b", "4481024 bytes"), ("s", "8752 sectors"),
                             ("k", "4376 kibibytes"), ("K", "4481.02 kilobytes"),
                             ("m", "4.27 mebibytes"), ("M", "4.48 megabytes"),
                             ("g", "0.00 gibibytes"), ("G", "0.00 gigabytes"),
                             ("KiB", "4376 kibibytes"), ("MiB", "4.27 mebibytes"),
                             ("mebibytes", "4.27 mebibytes"), ("kilobyte", "4481.02 kilobytes")):
            self.expect(answer, "--nr-blocks", 10240, "-u", unit)

    def test_numeric_only(self):
        for option, answer in (("-n", "8752"), ("--numeric-only", "8752"), ("-nshort", "8752s"),
                               ("-n=short", "8752s"), ("--numeric-only=long", "8752sectors")):
            self.expect(answer, "--nr-blocks", 10240, option)

    def test_is_at_most_what_the_format_can_use(self):
        self.expect("33292800 sectors", "--nr-blocks", 1 << 40)

    def test_what_does_not_go_together_is_refused(self):
        text = "give either --nr-blocks, or --block-size and --device-size"
        self.refuse(text)
        self.refuse(text, "--nr-blocks", 1, "--block-size", "64k")
        self.refuse("go together", "--block-size", "64k")

    def test_block_sizes_that_no_cache_can_have_are_refused(self):
        for size in ("0", "31k", "33k", "1048608k"):
            self.refuse("is not a multiple of 32 KiB", "--block-size", size, "--device-size", "10g")

    def test_nonsense_is_refused(self):
        self.refuse("is no number of blocks", "--nr-blocks", "many")
        self.refuse("is no number of blocks", "--nr-blocks=-1")
        self.refuse("is no size", "--block-size", "64q", "--device-size", "1g")
        self.refuse("is no size", "--block-size", "64k", "--device-size", "<1.00g")
        self.refuse("means different sizes", "--block-size", "64kB", "--device-size", "1g")
        self.refuse("is no unit", "--nr-blocks", 1, "-u", "x")
        self.refuse("is no unit", "--nr-blocks", 1, "-u", "MB")
        self.refuse("neither short nor long", "--nr-blocks", 1, "-n=wide")
        self.refuse("smaller than one block", "--block-size", "64k", "--device-size", "1k")


if __name__ == "__main__":
    unittest.main()
