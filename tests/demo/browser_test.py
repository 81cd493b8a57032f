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
from restr_jax import demo, shipped
from restr_jax.demo import answers

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EXAMPLES = shipped.folder("shapes") / "examples"
SECONDS = 60  # Generous, for busy machines.
DESKTOP, PHONE = (1280, 900), (390, 844)
KEYBOARD = 0.4  # share of a phone's height that its keyboard covers

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


@pytest.fixture(scope="module")
def photos_address():
    with serving() as address:
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
        yield lambda *how: visitors.enter_context(visiting(browser, address, *how))


@contextlib.contextmanager
def visiting(browser, address, size=DESKTOP, colors="light", words="encoded once"):
    """Yields one visitor's page; it may contact no other host."""
    asked = []
    viewport = dict(zip(("width", "height"), size, strict=True))
    context = browser.new_context(viewport=viewport, color_scheme=colors)
    context.set_default_timeout(1000 * SECONDS)
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(address)
    wait_for_words(page, words)  # By default, those of the first example.
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


def squares(pixels):
    """Returns the means of squares of 8 x 8 pixels."""
    height, width = (side // 8 for side in pixels.shape[:2])
    cut = pixels[: 8 * height, : 8 * width].reshape(height, 8, width, 8, 3)
    return cut.mean(axis=(1, 3), dtype=np.float32)


def wait_for_picture(page, expected):
    """Waits until the page shows these pixels, up to JPEG artefacts.

    JPEG codes squares of 8 pixels, whose means it keeps.
    """
    until, seen = time.monotonic() + SECONDS, None
    while time.monotonic() < until:
        seen = picture(page)
        if seen is not None and seen.shape == expected.shape:
            if np.abs(squares(seen) - squares(expected)).mean() < 1.6:
                return
        page.wait_for_timeout(50)
    pytest.fail("the page shows no picture" if seen is None else "a wrong picture")


def masks_of(model, path, expressions, threshold=0.5):
    """Returns the picture that the page must show."""
    photo = answers.open_photo(model, str(path))
    found = answers.answer(model, photo, expressions, threshold)
    return answers.draw(photo, found)


def press_until(page, key, selector):
    """Presses a key until it focuses an element."""
    for _ in range(40):
        page.keyboard.press(key)
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"{key} never focuses {selector}")


def choose_by_keyboard(page, path):
    """Uploads a file; a component that is redrawn meanwhile loses the focus."""
    for _ in range(5):
        press_until(page, "Tab", "#image button[aria-dropeffect]")
        with contextlib.suppress(playwright.TimeoutError):
            with page.expect_file_chooser(timeout=5000) as chooser:
                page.keyboard.press("Enter")
            return chooser.value.set_files(path)
    pytest.fail("Enter opens no choice of files")


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
    wait_for_words(page, "The model does not know: zebra.")
    entries = page.locator("#told li")
    assert entries.count() == len(lines * 2)
    assert entries.locator("img").count() == len(lines * 2)
    assert lines[2] in entries.nth(2).inner_text()
    assert "% of the image, score 0." in entries.nth(2).inner_text()
    colors = "e => getComputedStyle(e.querySelector('.swatch')).backgroundColor"
    assert len({entry.evaluate(colors) for entry in entries.all()}) == 6
    described = page.locator("#drawn img").get_attribute("alt")
    assert described.startswith("the image with masks: square, ")


def test_an_example_is_picked(visit, model):
    page = visit()
    page.locator("#examples button").nth(1).click()
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
    # No error stays.
    playwright.expect(page.locator(".toast-body")).to_have_count(0)
    assert page.locator(".error").count() == 0


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


def test_the_threshold_moves_the_mask_and_the_files_follow(visit, model):
    page, scene = visit(), EXAMPLES / "scene-1.png"
    upload(page, scene)
    type_text(page, "large circle")
    wait_for_picture(page, masks_of(model, scene, ["large circle"]))
    page.locator("#save").click()
    page.locator("#saved a").first.wait_for()
    page.locator("#threshold input[type=number]").fill("0.05")
    page.keyboard.press("Tab")
    wait_for_picture(page, masks_of(model, scene, ["large circle"], 0.05))
    # The files of the other threshold are gone.
    playwright.expect(page.locator("#saved a")).to_have_count(0)
    page.locator("#save").click()
    files = {}
    page.locator("#saved a").nth(2).wait_for()
    for link in page.locator("#saved a").all():
        with page.expect_download() as download:
            link.click()
        file = download.value
        files[file.suggested_filename] = pathlib.Path(file.path()).read_bytes()
    assert set(files) == {"scene-1-1.png", "scene-1-1-overlay.png", "predictions.jsonl"}
    expected = model.encode(scene).segment("large circle", threshold=0.05)
    mask = np.asarray(Image.open(io.BytesIO(files["scene-1-1.png"])))
    np.testing.assert_array_equal(mask > 0, expected.mask)
    row = json.loads(files["predictions.jsonl"])
    assert row["area"] == expected.mask.sum() and row["threshold"] == 0.05


def test_words_are_searched(visit):
    page = visit()
    page.get_by_text("Its 20 words").click()
    playwright.expect(page.locator("#words")).to_contain_text("circle")
    page.locator("#beginning textarea, #beginning input").fill("tri")
    playwright.expect(page.locator("#words")).to_have_text("triangle.")


def test_on_a_phone_text_and_mask_are_above_the_keyboard(visit, tmp_path):
    Image.new("RGB", (400, 900), "red").save(tmp_path / "tall.png")
    page, lines = visit(PHONE), "square\ncircle\ntriangle"
    type_text(page, lines)
    wait_for_words(page, "triangle ")
    for path in (None, tmp_path / "tall.png"):
        if path:
            upload(page, path)
            wait_for_words(page, "400 × 900 pixels")
        page.evaluate("scrollTo(0, 0)")
        image = page.locator("#drawn img").bounding_box()
        text = page.locator("#text textarea").bounding_box()
        assert image["height"] >= 150 and image["width"] >= 300
        assert image["y"] >= 0 and text["y"] >= image["y"] + image["height"]
        assert text["y"] + text["height"] <= (1 - KEYBOARD) * PHONE[1]
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_keyboard_is_enough(visit, model, size):
    page, scene = visit(size), EXAMPLES / "scene-2.png"
    press_until(page, "Tab", "#text textarea")
    page.keyboard.press("Control+A")
    page.keyboard.type("square")
    wait_for_picture(page, masks_of(model, EXAMPLES / "scene-1.png", ["square"]))
    choose_by_keyboard(page, scene)
    wait_for_picture(page, masks_of(model, scene, ["square"]))
    press_until(page, "Tab", "#threshold input[type=range]")
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    wait_for_picture(page, masks_of(model, scene, ["square"], 0.2))
    press_until(page, "Tab", "#save")
    page.keyboard.press("Enter")
    page.locator("#saved a").first.wait_for()
    press_until(page, "Tab", "#saved a")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "predictions.jsonl"
    press_until(page, "Shift+Tab", "#examples button:last-child")
    page.keyboard.press("Space")
    rows = (EXAMPLES / "examples.jsonl").read_text().splitlines()
    wait_for_words(page, json.loads(rows[-1])["expressions"][0])


def test_screen_readers_find_names_and_new_answers(visit):
    page = visit()
    rows = map(json.loads, (EXAMPLES / "examples.jsonl").read_text().splitlines())
    for row in rows:
        page.get_by_role("button", name=row["expressions"][0]).wait_for()
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("#told").get_attribute("aria-live") == "polite"
    for role, name in (
        ("textbox", "Expressions"),
        ("slider", "Threshold"),
        ("button", "Drop an image file here to upload"),
        ("link", "your image"),
    ):
        assert page.get_by_role(role, name=name).count() == 1


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_text_is_readable_in_both_themes(visit, colors):
    page = visit(DESKTOP, colors)
    background, *texts = page.evaluate(
        """() => [getComputedStyle(document.body)
          .backgroundColor, ...['h1', '#told b', '#told .note'].map(
          s => getComputedStyle(document.querySelector(s)).color)]"""
    )

    def luminance(color):
        numbers = [float(x) for x in color.strip("rgba()").split(",")[:3]]
        linear = [(x / 255) ** 2.2 for x in numbers]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    assert (luminance(background) > 0.5) == (colors == "light")
    for text in texts:
        low, high = sorted((luminance(text), luminance(background)))
        assert (high + 0.05) / (low + 0.05) > 7, text


def test_compilation_is_announced_until_the_model_is_ready(browser, monkeypatch):
    model, compiled = restr_jax.load("shapes"), threading.Event()
    monkeypatch.setattr(model, "warm_up", lambda: compiled.wait(2 * SECONDS))
    served = demo.launch(model, inline=False)
    address, words = served.local_url.rstrip("/"), "Compiling the model"
    try:
        with visiting(browser, address, DESKTOP, "light", words) as page:
            assert page.locator("#drawn img").count() == 1
            compiled.set()
            wait_for_words(page, "encoded once")
    finally:
        compiled.set()
        served.close()


def test_a_model_without_examples_asks_for_an_image_once_compiled(browser, tmp_path):
    folder = shutil.copytree(shipped.folder("shapes"), tmp_path / "own")
    stored = json.loads((folder / "config.json").read_text())
    stored["data"]["dataset"] = "custom"  # There are no examples of it.
    (folder / "config.json").write_text(json.dumps(stored))
    words = "Choose an image."
    with (
        serving(f"--model={folder}") as address,
        visiting(browser, address, words=words) as page,
    ):
        assert "Compiling" not in page.locator("#told").inner_text()


@pytest.mark.parametrize(("name", "size"), [("demo", DESKTOP), ("demo_phone", PHONE)])
def test_the_page_shows_photographs_and_their_model(
    browser, photos_address, tmp_path, name, size
):
    """Writes the pictures of the documentation into the folder DEMO_SCREENSHOTS."""
    model, folder = restr_jax.load(), shipped.folder(shipped.DEFAULT) / "examples"
    rows = list(map(json.loads, (folder / "examples.jsonl").read_text().splitlines()))
    lines = ["the cup", "a spoon", "zebra"]
    with visiting(browser, photos_address, size) as page:
        first = rows[0]["expressions"][:3]
        wait_for_picture(page, masks_of(model, folder / rows[0]["image"], first))
        page.locator("#examples button").nth(3).click()
        # Words that are typed before the example's own arrive would be replaced.
        text = playwright.expect(page.locator("#text textarea"))
        own = "\n".join(rows[3]["expressions"][:3])
        text.to_have_value(own, timeout=1000 * SECONDS)
        type_text(page, "\n".join(lines))
        wait_for_picture(page, masks_of(model, folder / "coffee.jpg", lines))
        wait_for_words(page, "Nothing found: the highest probability is 0.0")
        assert model.name in page.inner_text("body")
        assert model.domain in page.inner_text("body")
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.wait_for_timeout(500)  # until Gradio's borders have faded
        taken = Image.open(io.BytesIO(page.screenshot()))
    assert taken.size == size
    path = pathlib.Path(os.environ.get("DEMO_SCREENSHOTS", tmp_path)) / f"{name}.png"
    # Two bits less of each colour make the file a third smaller.
    few = [value & 252 | value >> 6 for value in range(256)]
    taken.convert("RGB").point(few * 3).save(path, optimize=True)
    assert path.stat().st_size < 500_000
