"""Checks that docstrings, comments, messages and documentation use plain terms."""

import ast
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SKIPPED = ("tests/testdata/", "restr_jax/shipped/", "tests/prose_test.py")

# Only words and phrases without another use in this project, with their replacements.
FORBIDDEN = {
    r"mend(s|ed|ing)?": "fix",
    r"dealt out|deals? out": "shuffled",
    r"le(ave|aves|ft) out": "skip or exclude",
    r"leaving out": "skip or exclude",
    r"told to stop": "received SIGTERM",
    r"no number": "NaN or non-finite",
    r"go(es)? on (from|where|with|after)": "resume or continue",
    r"foreign (weights?|arrays?|models?)": "pretrained or third-party",
    r"not (in|with) a trace": "traceback",
    r"lest": "so that ... not",
    r"that it may": "so that it can",
    r"for nothing": "unnecessarily",
    r"at hand": "available",
    r"own accord": "itself",
    r"so deep": "too deeply",
}
PATTERN = re.compile(rf"\b(?:{'|'.join(FORBIDDEN)})\b", re.IGNORECASE)
OPENING = re.compile(r"(What|Whether|Which|Where|How)\b")


@pytest.fixture(scope="module")
def texts():
    """Returns the text of the tracked Python and Markdown files by path."""
    command = ["git", "ls-files", "*.py", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    names = [n for n in listed.stdout.splitlines() if not n.startswith(SKIPPED)]
    paths = {name: ROOT / name for name in names}
    return {n: p.read_text("utf-8") for n, p in paths.items() if p.is_file()}


def one_line(text):
    """Joins string literals and lines, so that a line break hides no phrase."""
    text = re.sub(r"\"\s*\n\s*f?\"", "", text)
    return re.sub(r"\s*\n[\s#]*", " ", text)


def test_text_across_lines_is_searched():
    assert PATTERN.search(one_line("    # The run is told\n    # to stop."))
    assert PATTERN.search(one_line('"Images are "\n    f"left out."'))
    assert not PATTERN.search("recommend; the rest is left outside; lesson")


def test_forbidden_words_do_not_occur(texts):
    found = {}
    for name, text in texts.items():
        for match in PATTERN.finditer(one_line(text)):
            found.setdefault(name, []).append(match[0])
    assert found == {}


def test_docstrings_open_with_a_verb_or_a_noun(texts):
    found = []
    for name in (n for n in texts if n.endswith(".py")):
        for node in ast.walk(ast.parse(texts[name])):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                if OPENING.match(ast.get_docstring(node) or ""):
                    found.append((name, getattr(node, "name", "module")))
    assert found == []
