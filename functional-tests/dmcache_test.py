"""One executable under many names."""

import unittest

from fixture_images import run


class MultiCall(unittest.TestCase):
    def test_a_command_by_link_and_by_word_is_the_same(self):
        by_link = run("cache_check", "--help").stdout
        self.assertEqual(run("dmcache", "check", "--help").stdout, by_link)
        self.assertEqual(run("dmcache", "cache_check", "--help").stdout, by_link)

    def test_lists_its_commands(self):
        done = run("dmcache")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(run("dmcache", "--help").stdout, done.stderr)
        self.assertIn("cache_dump", done.stderr)

    def test_an_unknown_command_is_refused(self):
        done = run("dmcache", "frobnicate")
        self.assertEqual(done.returncode, 2)
        self.assertIn("'frobnicate' is no command", done.stderr)

    def test_version(self):
        self.assertEqual(run("dmcache", "--version").stdout, run("cache_dump", "-V").stdout)


if __name__ == "__main__":
    unittest.main()
