import pathlib

import pytest
from fuzz.targets import TARGETS

CORPUS = sorted((pathlib.Path(__file__).parent / "corpus").iterdir())


def target_of(path):
    return path.name.rpartition("-")[0]  # Files are named TARGET-WHAT.


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_raise_documented_errors_only(name):
    for content in TARGETS[name].seeds:
        TARGETS[name].run(content)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_inputs_that_once_found_a_bug_are_accepted_or_refused(path):
    TARGETS[target_of(path)].run(path.read_bytes())


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in CORPUS) < 200_000
    assert len(CORPUS) > 20


def test_a_target_lets_no_other_error_pass():
    # If every error passed, fuzzing could find nothing.
    from fuzz.contract import documented

    for wrong in (KeyError("x"), MemoryError(), RecursionError(), TypeError("x")):
        with pytest.raises(type(wrong)), documented("a.json"):
            raise wrong
    with pytest.raises(AssertionError, match="names no file"), documented("a.json"):
        raise ValueError("it is damaged")
    with documented("a.json"):
        raise ValueError("a.json is damaged")
