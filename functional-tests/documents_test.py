"""What the documents say of the code and its tests, where that can be compared."""

import functools
import re
import unittest

from fixture_images import SOURCE
from rules_test import LAYERS, sources

DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "bench/README.md",
             "caching/engine/engine.md", "caching/policy/policy.md", "persistent-data/format.md",
             *(f"docs/{each.name}" for each in sorted((SOURCE / "docs").glob("*.md")))]
CITATION = re.compile(r"`([\w/-]+_test\.(?:cc|py))`:\s+(`\w+`(?:,\s+`\w+`)*)")


def text_of(document):
    return (SOURCE / document).read_text()


@functools.cache
def all_test_files():
    return [path for path in sources() if path.stem.endswith("_test")]


def test_files(cited):
    """Those that a path, or its end, names."""
    return [path for path in all_test_files()
            if f"/{path.relative_to(SOURCE)}".endswith(f"/{cited}")]


def anchors_of(text):
    """What a heading is called in a link: in small letters, without punctuation, "-" for blanks."""
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.M)]


class Documents(unittest.TestCase):
    def test_tests_that_are_cited_exist(self):
        cited = 0
        for document in DOCUMENTS:
            for file, names in CITATION.findall(text_of(document)):
                with self.subTest(document, file=file):
                    found = test_files(file)
                    self.assertEqual(len(found), 1)
                    code = found[0].read_text()
                    for name in re.findall(r"\w+", names):
                        cited += 1
                        is_there = re.search(rf"\bTEST\w*\(\s*\w+,\s*{name}\)|\bdef {name}\(", code)
                        self.assertTrue(is_there, f"{file} has no test {name}")
        self.assertGreater(cited, 50)

    def test_the_picture_has_the_arrows_of_the_layers(self):
        picture = re.search(r"```mermaid\n(.*?)```", text_of("ARCHITECTURE.md"), re.S)[1]
        names = dict(re.findall(r'\b(\w+)\["([^"<]*)', picture))
        arrows = set()
        for source, targets in re.findall(r"^ *(\w+).* --> (.*)$", picture, re.M):
            for target in targets.split(" & "):
                arrows.add((names[source], names[re.match(r"\w+", target)[0]]))
        self.assertEqual(arrows, {(layer, each) for layer in LAYERS for each in LAYERS[layer]})

    def test_documents_that_are_named_are_there(self):
        for document in DOCUMENTS:
            for named in re.findall(r"`([\w/-]+\.md)`", text_of(document)):
                if named != "engine.md" and named != "format.md":  # beside what is spoken of
                    self.assertTrue((SOURCE / named).exists()
                                    or (SOURCE / document).with_name(named).exists(),
                                    f"{document}: {named}")

    def test_links_lead_somewhere(self):
        checked = 0
        for document in DOCUMENTS:
            for target in re.findall(r"\]\(([^)]+)\)", text_of(document)):
                if "://" in target:
                    continue
                with self.subTest(document, target=target):
                    checked += 1
                    name, _, heading = target.partition("#")
                    path = (SOURCE / document).parent / name if name else SOURCE / document
                    self.assertTrue(path.exists())
                    if document.startswith("docs/"):  # which is installed without the rest
                        self.assertEqual(path.parent, SOURCE / "docs")
                    if heading:
                        self.assertIn(heading, anchors_of(path.read_text()))
        self.assertGreater(checked, 40)

    def test_each_cell_of_what_survives_names_a_test(self):
        text = text_of("docs/what-survives-what.md")
        table, tests = text.split("## The tests")
        numbers = re.findall(r"^(\d+)\. `", tests, re.M)
        self.assertEqual(numbers, [str(i + 1) for i in range(len(numbers))])
        rows = re.findall(r"^\| (?!-)(?!what happens)(.*) \|$", table, re.M)
        self.assertGreater(len(rows), 5)
        cited = set()
        for cell in [cell for row in rows for cell in row.split(" | ")[1:]]:
            with self.subTest(cell):
                found = re.findall(r"\[(\d+)\]", cell)
                self.assertTrue(found or "not tested" in cell)
                cited |= set(found)
        self.assertEqual(cited, set(numbers))

    def test_the_readme_fits_three_screens(self):
        self.assertLessEqual(len(text_of("README.md").splitlines()), 150)


if __name__ == "__main__":
    unittest.main()
