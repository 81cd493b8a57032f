import os
import pathlib
import unicodedata

import pytest

from tfds_builders import images
from tfds_builders.annotations import Problems
from tfds_builders.storage import paths

# "é" in one character, as most systems write it, and in two, as macOS does.
ONE, TWO = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


@pytest.fixture
def folder(tmp_path):
    for name in (f"{TWO}/{ONE}.jpg", "photos/1.jpg", "photos/a1b2-cup.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.typed("~/data") == f"{tmp_path}/data"
    assert paths.typed(pathlib.Path("~")) == str(tmp_path)
    for other in ("", "data", "./~/data", "/a/~", "a~b"):
        assert paths.typed(other) == other
    with pytest.raises(ValueError, match=r"'~no-one/x' starts .* or \./~no-one/x for"):
        paths.typed("~no-one/x")


def test_a_file_whose_name_starts_with_a_tilde_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("~no-one.jpg").touch()
    assert paths.typed("~no-one.jpg") == "~no-one.jpg"


def test_a_typed_path_follows_the_unicode_forms_of_the_disk(folder):
    assert paths.typed(f"{folder}/{ONE}/{TWO}.jpg") == f"{folder}/{TWO}/{ONE}.jpg"
    assert paths.typed(f"{folder}/{ONE}/new-{ONE}") == f"{folder}/{TWO}/new-{ONE}"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("photos/1.jpg", "photos/1.jpg"),
        ("./photos//1.jpg", "photos/1.jpg"),
        ("photos\\1.jpg", "photos/1.jpg"),
        (".\\photos\\1.jpg", "photos/1.jpg"),
        (f"{ONE}/{TWO}.jpg", f"{TWO}/{ONE}.jpg"),
        (f"{ONE}\\{ONE}.jpg", f"{TWO}/{ONE}.jpg"),
        # Missing files stay as they are.
        ("photos/2.jpg", "photos/2.jpg"),
        ("photos\\2.jpg", "photos\\2.jpg"),
    ],
)
def test_an_annotated_path_is_spelled_as_on_the_disk(folder, written, found):
    respelled = {}
    assert paths.ManualFolder(folder, respelled).find(written) == found
    is_same = found in (written, "photos/1.jpg") and "\\1" not in written
    assert respelled == ({} if is_same else {written: found})


def test_a_name_with_a_backslash_comes_first(folder):
    (folder / "photos\\1.jpg").touch()
    assert paths.ManualFolder(folder, {}).find("photos\\1.jpg") == "photos\\1.jpg"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/data/upload/1/a1b2-cup.jpg", "'photos/a1b2-cup.jpg' has that name"),
        ("/data/local-files/?d=mine%2Fa1b2-cup.jpg", "'photos/a1b2-cup.jpg' has that"),
        ("/data/local-files/?d=1.jpg", "'photos/1.jpg' has that name"),
        ("http://localhost:8080/data/upload/2/cd-1.jpg", "'photos/1.jpg' has that"),
        (f"/data/upload/1/{TWO}.jpg", f"'{TWO}/{ONE}.jpg' has that name"),
        ("C:\\mine\\photos\\1.jpg", "'photos/1.jpg' has that name"),
        ("C:/mine/photos/1.jpg", "'photos/1.jpg' has that name"),
        ("..\\..\\upload\\1.jpg", "'photos/1.jpg' has that name"),
        ("photos\\..\\..\\photos\\1.jpg", "'photos/1.jpg' has that name"),
        ("\\\\server\\photos\\1.jpg", "'photos/1.jpg' has that name"),
        ("../photos/1.jpg", "'photos/1.jpg' has that name"),
        ("/etc/passwd", "no file below"),
    ],
)
def test_a_path_that_leads_out_is_refused_with_the_file_meant(folder, written, meant):
    with pytest.raises(ValueError, match="leads out of the manual directory") as error:
        paths.ManualFolder(folder, {}).find(written)
    assert meant in str(error.value)


def test_two_files_of_a_name_are_both_named(folder):
    (folder / "1.jpg").touch()
    with pytest.raises(ValueError, match=r"2 files have that name.*'photos/1.jpg'"):
        paths.ManualFolder(folder, {}).find("/data/upload/1/1.jpg")


def test_plain_paths_cost_no_look_up(folder, monkeypatch):
    monkeypatch.setattr(os.path, "lexists", None)
    assert paths.ManualFolder(folder, {}).find("photos/9.jpg") == "photos/9.jpg"


def test_respelled_paths_are_counted():
    problems = Problems()
    assert problems.notes() == []
    problems.respelled = {"a\\1": "a/1", "a\\2": "a/2", ONE: TWO}
    assert problems.notes() == [
        "paths written with \\ instead of /: 2",
        "names found in another Unicode form: 1",
    ]


def test_a_missing_image_names_the_files_that_may_be_meant(tmp_path):
    for name in ("IMG_1.JPG", "img_1.png", "img_2.png"):
        (tmp_path / name).touch()
    both = "; the folder has 'IMG_1.JPG', 'img_1.png'"
    assert paths.similar(tmp_path / "img_1.jpg") == both
    assert paths.similar(tmp_path / "img_3.jpg") == ""
    # A file that appears later is seen.
    (tmp_path / "Img_3.jpg").touch()
    os.utime(tmp_path, (1, 1))
    assert paths.similar(tmp_path / "img_3.jpg") == "; the folder has 'Img_3.jpg'"
    absent = tmp_path / "photos" / "a.jpg"
    assert paths.similar(absent) == f"; there is no folder {str(absent.parent)!r}"
    with pytest.raises(ValueError, match="image is missing; the folder has 'img_2"):
        images.read_size(tmp_path / "IMG_2.jpg")
