import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted(ROOT.glob("requirements*.txt"))


def requirements(path):
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [line for line in lines if line]


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0].lower().replace("-", "_")


BASE = {name_of(line) for line in requirements(ROOT / "requirements.txt")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_version_has_an_upper_bound(path):
    found = requirements(path)
    assert found
    if path.name != "requirements.txt":  # An extra comes with the base.
        found = [line for line in found if name_of(line) not in BASE]
    assert [line for line in found if not re.search(r"<\d|==\d", line)] == []


def test_the_extras_are_the_requirements_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    assert list(extras) == ["demo", "onnx", "hub", "cuda", "tpu", "docs", "dev"]
    for name, extra in extras.items():
        assert extra["file"][0] == f"requirements-{name}.txt"
        for file in extra["file"]:
            # setuptools reads no options, such as -r.
            assert all(line[0].isalpha() for line in requirements(ROOT / file))
    # Its package exists for few versions of Python.
    unlisted = {path.name for path in FILES} - {
        file for extra in extras.values() for file in extra["file"]
    }
    assert unlisted == {"requirements.txt", "requirements-fuzz.txt"}


def test_the_licences_of_all_dependencies_are_listed():
    listed = (ROOT / "docs" / "dependencies.md").read_text().lower().replace("-", "_")
    assert [name for name in BASE if f"| {name} |" not in listed] == []
