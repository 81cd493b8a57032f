import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted(ROOT.glob("requirements*.txt"))


def requirements(path):
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("-r")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_version_has_an_upper_bound(path):
    found = requirements(path)
    assert found
    assert [line for line in found if not re.search(r"<\d|==\d", line)] == []


def test_the_licences_of_all_dependencies_are_listed():
    listed = (ROOT / "docs" / "dependencies.md").read_text().lower().replace("-", "_")
    for line in requirements(ROOT / "requirements.txt"):
        name = re.match(r"[\w-]+", line)[0].lower().replace("-", "_")
        assert f"| {name} |" in listed, name
