import os

import pytest

from restr_jax.inference import photographs


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Returns a function that makes empty files in the current folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")

    return make


def find(given):
    return [path.as_posix() for path in photographs.find(given)]


def test_a_folder_has_images_of_all_usual_suffixes(make, caplog):
    names = "a.JPG b.jpeg c.jfif d.avif e.webp f.tiff g.jp2 h.pgm i.bmp j.gif k.png"
    make(*(f"p/{name}" for name in names.split()), "p/l.heic", "p/m.ps", "p/n")
    assert find("p") == [f"p/{name}" for name in names.split()]
    listed = "(no image: .heic): p/l.heic", "(no image: .ps): p/m.ps"
    for said in (*listed, "(no image: without a suffix): p/n"):
        assert f"p: skipped 1 {said}" in caplog.text


def test_linked_folders_are_searched_once_and_without_end(make, caplog):
    make("p/own.jpg", "p/z/in.jpg", "elsewhere/far.jpg", "elsewhere/deep/far.jpg")
    os.symlink("../elsewhere", "p/linked")
    os.symlink("../p", "p/same")
    os.symlink("z", "p/another")  # The folder counts once, by its own name.
    os.symlink("../../p", "elsewhere/deep/back")
    os.symlink("../..", "p/z/above")
    os.symlink("gone.jpg", "p/broken.jpg")
    os.symlink("loop.jpg", "p/loop.jpg")
    found = ["p/linked/deep/far.jpg", "p/linked/far.jpg", "p/own.jpg", "p/z/in.jpg"]
    assert find("p") == found
    assert "skipped 1 (links to a folder above): p/z/above" in caplog.text
    assert "(a broken link, or not a file): p/broken.jpg, p/loop.jpg" in caplog.text
    assert find("p/same") == [name.replace("p/", "p/same/", 1) for name in found]
    os.remove("p/own.jpg")
    assert "p/linked/far.jpg" in find("p")


def test_files_of_the_system_are_no_photographs(make, caplog):
    make("p/a.jpg", "p/._a.jpg", "p/__MACOSX/._a.jpg", "p/@eaDir/a.jpg/THUMB.jpg")
    make("p/.thumbnails/a.jpg", "p/sub/__MACOSX/b.jpg", "p/sub/b.jpg")
    assert find("p") == find("p*") == ["p/a.jpg", "p/sub/b.jpg"]
    assert find("p/*") == ["p/a.jpg", "p/sub/b.jpg"]
    hidden = "p/._a.jpg, p/.thumbnails, p/@eaDir, p/__MACOSX, p/sub/__MACOSX"
    assert f"p: skipped 5 (hidden, or of the system): {hidden}" in caplog.text
    caplog.clear()
    # As a shell expands p/*; all other files are to be predicted.
    assert find("p/__MACOSX") == []
    assert "skipped p/__MACOSX" in caplog.text


def test_a_pattern_may_add_a_suffix(make, caplog):
    make("p/a.jpg", "p/b.psd", "p/c.txt")
    assert find("p/*.psd") == ["p/b.psd"] and find("p/c.txt") == ["p/c.txt"]
    assert find("p/*") == ["p/a.jpg"]
    assert "p/*: skipped 1 (no image: .txt): p/c.txt" in caplog.text
    for none in ("p/*.gif", "p/*t", "q"):
        with pytest.raises(FileNotFoundError, match="There is no image"):
            find(none)


def test_unreadable_folders_and_many_files_are_listed(make, caplog, monkeypatch):
    make("p/a.jpg", "p/shut/b.jpg", *(f"p/{n:02}.txt" for n in range(12)))
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find("p") == ["p/a.jpg"]
    assert "skipped 1 (not readable: Permission denied): p/shut" in caplog.text
    assert "skipped 12 (no image: .txt): p/00.txt, " in caplog.text
    assert "p/09.txt and 2 more" in caplog.text and "p/10.txt" not in caplog.text


def test_a_url_is_not_searched():
    with pytest.raises(ValueError, match="a.jpg is a URL; download the image, then"):
        find("https://example.org/a.jpg")
