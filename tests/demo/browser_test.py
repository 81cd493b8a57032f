import base64
import contextlib
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

import restr_jax
from restr_jax import shipped
from restr_jax.demo import answers

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EXAMPLES = shipped.folder("shapes") / "examples"
SECONDS = 60  # Generous, for busy machines.

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]


@pytest.fixture(scope="module")
def model():
    return restr_jax.load("shapes")


@pytest.fixture(scope="module")
def address():
    """Yields the address of `restr serve` with the small model of drawn scenes."""
    with serving("--model=shapes") as address:
        yield address


@contextlib.contextmanager
def serving(*flags):
    """Runs `restr serve` in a process without a traceback; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "restr_jax.cli", "serve", f"--port={port}", *flags]
    process = subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    killer = threading.Timer(120, process.kill)
    killer.start()
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Open "):
            break
    killer.cancel()
    assert said and said[-1] == f"Open http://127.0.0.1:{port}\n", said
    try:
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None, "the server has ended"
    finally:
        process.terminate()
        said.append(process.communicate(timeout=SECONDS)[0])
    assert "Traceback" not in "".join(said), said


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Yields a function that opens the page for one more visitor."""
    with contextlib.ExitStack() as visitors:
        yield lambda: visitors.enter_context(visiting(browser, address))


@contextlib.contextmanager
def visiting(browser, address):
    """Yields one visitor's page; it may contact no other host."""
    asked = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * SECONDS)
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(address)
    wait_for_words(page, "encoded once")  # The first example.
    try:
        yield page
        assert "Traceback" not in page.content()
    finally:
        context.close()
    own = (f"{address}/", "data:", f"blob:{address}/")
    assert asked and [url for url in asked if not url.startswith(own)] == []


def wait_for_words(page, words):
    told = playwright.expect(page.locator("#told"))
    told.to_contain_text(words, timeout=1000 * SECONDS)


def type_text(page, text):
    page.locator("#text textarea").fill(text)


def upload(page, path):
    page.locator("#image input[type=file]").set_input_files(path)


def picture(page):
    """Returns the picture with the masks, float32 RGB; None if there is none."""
    shown = page.locator("#drawn img")
    if not shown.count():
        return None
    content = base64.b64decode(shown.get_attribute("src").split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)


def wait_for_picture(page, expected):
    """Waits until the page shows these pixels, up to JPEG artefacts."""
    until, seen = time.monotonic() + SECONDS, None
    while time.monotonic() < until:
        seen = picture(page)
        if seen is not None and seen.shape == expected.shape:
            if np.abs(seen - expected).mean() < 4.0:
                return
        page.wait_for_timeout(50)
    pytest.fail("the page shows no picture" if seen is None else "a wrong picture")


def masks_of(model, path, expressions):
    """Returns the picture that the page must show."""
    photo = answers.open_photo(model, str(path))
    return answers.draw(photo, answers.answer(model, photo, expressions))


def test_the_mask_follows_the_words_as_they_are_typed(visit, model):
    page, scene = visit(), EXAMPLES / "scene-3.png"
    type_text(page, "")
    wait_for_words(page, "Describe an object;")
    upload(page, scene)
    wait_for_picture(page, masks_of(model, scene, []))
    box, seen = page.locator("#text textarea"), set()
    box.focus()
    for word in "the small green circle".split(" "):
        for key in word:
            page.keyboard.press(key)
        wait_for_words(page, f"{word} ")
        wait_for_picture(page, masks_of(model, scene, [box.input_value()]))
        seen.add(page.locator("#drawn img").get_attribute("src"))
        page.keyboard.press("Space")
    assert len(seen) >= 3
    # Deleting and pasting count as typing.
    for _ in range(len("green circle ")):
        page.keyboard.press("Backspace")
    wait_for_picture(page, masks_of(model, scene, ["the small"]))
    page.keyboard.insert_text(" yellow triangle")
    wait_for_picture(page, masks_of(model, scene, ["the small yellow triangle"]))


def test_several_expressions_are_shown_at_once(visit, model):
    page, scene = visit(), EXAMPLES / "scene-4.png"
    upload(page, scene)
    lines = ["square", "the zebra circle below the square", "the lowest small circle"]
    type_text(page, "\n".join(lines * 2))
    wait_for_picture(page, masks_of(model, scene, lines * 2))
    rows = page.locator("#told tr")
    assert rows.count() == 1 + len(lines * 2)
    assert rows.locator("img").count() == len(lines * 2)
    wait_for_words(page, "The model does not know: zebra.")
    assert "%" in rows.nth(1).inner_text() and "ms" in rows.nth(1).inner_text()


def test_an_example_is_picked(visit, model):
    page = visit()
    page.locator("button.gallery-item").nth(1).click()
    example = json.loads((EXAMPLES / "examples.jsonl").read_text().splitlines()[1])
    shown = example["expressions"][:3]
    text = playwright.expect(page.locator("#text textarea"))
    text.to_have_value("\n".join(shown), timeout=1000 * SECONDS)
    wait_for_picture(page, masks_of(model, EXAMPLES / example["image"], shown))


def test_visitors_do_not_see_each_others_images(visit, model):
    scenes = [EXAMPLES / "scene-2.png", EXAMPLES / "scene-4.png"]
    pages = [visit(), visit()]
    for page, scene in zip(pages, scenes, strict=True):
        upload(page, scene)
    for texts in (("circle", "square"), ("red object", "lowest circle")):
        for page, text in zip(pages, texts, strict=True):
            type_text(page, text)
        for page, scene, text in zip(pages, scenes, texts, strict=True):
            wait_for_picture(page, masks_of(model, scene, [text]))


def test_a_photo_taken_sideways_is_shown_upright(visit, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # Rotated by 90 degrees.
    Image.new("RGB", (3000, 1500), "blue").save(tmp_path / "turned.jpg", exif=exif)
    page = visit()
    upload(page, tmp_path / "turned.jpg")
    wait_for_words(page, "1500 × 3000 pixels")
    assert picture(page).shape == (1024, 512, 3)


def test_an_image_is_removed(visit):
    page = visit()
    page.get_by_label("Remove Image").click()
    wait_for_words(page, "Upload an image")
    page.wait_for_function("!document.querySelector('#drawn img, #image img')")
    type_text(page, "red circle")
    wait_for_words(page, "Upload an image")


def test_bad_images_are_reported_and_the_page_keeps_working(visit, model, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    whole, scene = tmp_path / "whole.jpg", EXAMPLES / "scene-1.png"
    Image.open(scene).resize((800, 800)).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:3000])
    Image.new("L", (20_000, 20_000), 90).save(tmp_path / "vast.jpg", quality=30)
    (tmp_path / "heavy.jpg").write_bytes(whole.read_bytes() + bytes(65 << 20))
    (tmp_path / "notes.txt").write_text("no image")
    page = visit()
    for name, message in (
        ("text.png", "text.png is not a readable image; convert it to JPEG or PNG."),
        ("cut.jpg", "cut.jpg is damaged"),
        ("vast.jpg", "vast.jpg has 20000 x 20000 pixels, and at most 200,000,000 are"),
    ):
        upload(page, tmp_path / name)
        wait_for_words(page, message)
        assert picture(page) is None
    # Gradio itself reports files that are not sent or not accepted.
    for name, message in (
        ("notes.txt", "Invalid file type: notes.txt"),
        ("heavy.jpg", "exceed the maximum allowed size of 64"),
    ):
        upload(page, tmp_path / name)
        page.get_by_text(message).first.wait_for()
    upload(page, whole)
    type_text(page, "large circle")
    wait_for_picture(page, masks_of(model, whole, ["large circle"]))


def test_bad_text_is_reported_and_the_page_keeps_working(visit, model):
    page, scene = visit(), EXAMPLES / "scene-1.png"
    upload(page, scene)
    for text, message in (
        ("", "Describe an object;"),
        ("x" * 10_000, "The text has 10,000 characters, but at most 1,000 are"),
        ("circle\n" * 8, "has 8 expressions, one per line, but at most 7 are"),
        ("\N{DOG FACE}\N{SNOWMAN}", "\N{DOG FACE}"),
        ("большой круг", "knows none of the words ['большой', 'круг']"),
        ("circle <b>${7*7}</b> {{8*8}}", "does not know: <, b, >, $, {, 7, *"),
    ):
        type_text(page, text)
        wait_for_words(page, message)
    type_text(page, "large circle")
    wait_for_picture(page, masks_of(model, scene, ["large circle"]))


def test_the_page_opens_with_photographs_and_their_model(browser, tmp_path):
    """Saves the README's picture if DEMO_SCREENSHOT=docs/demo.png is set."""
    model, folder = restr_jax.load(), shipped.folder(shipped.DEFAULT) / "examples"
    rows = (folder / "examples.jsonl").read_text().splitlines()
    first, second = map(json.loads, rows[:2])
    lines = second["expressions"][:2]
    with serving() as address, visiting(browser, address) as page:
        expected = masks_of(model, folder / first["image"], first["expressions"][:3])
        wait_for_picture(page, expected)
        page.locator("button.gallery-item").nth(1).click()
        # Words that are typed before the example's own arrive would be replaced.
        text = playwright.expect(page.locator("#text textarea"))
        shown = "\n".join(second["expressions"][:3])
        text.to_have_value(shown, timeout=1000 * SECONDS)
        type_text(page, "\n".join(lines))
        wait_for_picture(page, masks_of(model, folder / second["image"], lines))
        path = pathlib.Path(os.environ.get("DEMO_SCREENSHOT", tmp_path / "demo.png"))
        page.screenshot(path=path)
    with Image.open(path) as taken:
        assert taken.size == (1280, 900)
