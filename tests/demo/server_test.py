import socket

import numpy as np
import pytest
from PIL import Image

import restr_jax
from restr_jax import cli, shipped
from restr_jax.inference import segmenter

pytest.importorskip("gradio")
from restr_jax.demo import answers, markup, server  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return restr_jax.load("shapes")


@pytest.fixture
def taken():
    """Yields a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named_before_a_model_is_loaded(taken, monkeypatch):
    monkeypatch.setattr(segmenter, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["serve", f"--port={taken}"])
    message = str(stopped.value)
    assert f"Cannot listen on port {taken} of 127.0.0.1 (Address already" in message
    assert f"--port={taken + 1}" in message and "\n" not in message


def test_a_free_port_is_accepted():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server.check_port("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_invalid_port_is_refused(port):
    with pytest.raises(ValueError, match=f"--port={port} is out of range"):
        server.check_port("127.0.0.1", port)


def test_an_address_of_another_host_is_refused():
    with pytest.raises(OSError, match="Cannot resolve --host=no such host"):
        server.check_port("no such host", 7860)
    with pytest.raises(OSError, match="Cannot listen on port 7860 of 192.0.2.1"):
        server.check_port("192.0.2.1", 7860)  # An address reserved for documentation.


def test_examples_belong_to_the_model_that_learned_them(model, tmp_path, monkeypatch):
    examples = server.find_examples(model)
    assert len(examples) == 4
    for path, text in examples:
        photo = answers.open_photo(model, path)
        found = answers.answer(model, photo, answers.read_expressions(text))
        assert len(found) == 3 and all(x.prediction.mask.any() for x in found)
        assert not any(x.prediction.unknown for x in found)
    config = model.trained.config.copy_and_resolve_references()
    config.data.dataset = "gref"
    other = segmenter.Segmenter(model.trained._replace(config=config))
    assert server.find_examples(other) == []
    monkeypatch.setattr(shipped, "folder", tmp_path.joinpath)
    assert server.find_examples(model) == []


def test_errors_are_shown_instead_of_masks(model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    for path, message in (
        (None, "Upload an image"),
        (str(tmp_path / "a.png"), "a.png is not a readable image"),
    ):
        shown, photo = server.show_image(model, path)
        assert shown is None and message in photo
        drawn, told = server.show_masks(model, photo, "red circle")
        assert drawn == "" and message in told


def test_images_that_a_browser_cannot_show_are_converted(model, tmp_path):
    for kind in ("png", "tiff", "ppm"):
        Image.new("RGB", (600, 300), "red").save(tmp_path / f"a.{kind}")
    shown, _ = server.show_image(model, str(tmp_path / "a.png"))
    assert not isinstance(shown, np.ndarray)
    for kind in ("tiff", "ppm"):
        shown, _ = server.show_image(model, str(tmp_path / f"a.{kind}"))
        assert shown.shape == (300, 600, 3)


def test_unusable_text_leaves_the_image_unchanged(model, tmp_path):
    Image.new("RGB", (600, 600), "red").save(tmp_path / "a.png")
    _, photo = server.show_image(model, str(tmp_path / "a.png"))
    for text, message in (
        ("", "Describe an object;"),
        (None, "Describe an object;"),
        (" \n ", "Describe an object;"),
        ("x" * 10_000, "The text has 10,000 characters"),
        ("x\n" * 8, "The text has 8 expressions"),
        ("\N{DOG FACE}", "knows none of the words"),
    ):
        drawn, told = server.show_masks(model, photo, text)
        assert message in told
        assert drawn == markup.write_picture(photo.image.pixels)
