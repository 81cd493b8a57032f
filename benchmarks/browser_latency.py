"""Measures the latency of a mask on the page, in headless Chromium.

    python -m benchmarks.browser_latency --image=photo.jpg

Measures the `shapes` model and the full one of benchmarks.latency, each served by
`restr serve`. Times run from the choice of a file, or from a typed letter, until the
page shows the picture with the mask. They are from the browser's own clock.
"""

import argparse
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

from playwright.sync_api import Page, sync_playwright

from benchmarks.latency import full_model
from restr_jax.workdir import model_files
from tfds_builders.storage.paths import typed

_MILLISECONDS = 60_000  # timeout of every wait
_ARGUMENTS = ["--no-sandbox", "--disable-gpu"]

# The model is compiled while its page is already served. One with examples shows the
# first, the other one asks for an image.
_READY = (
    "/encoded once|Choose an image/.test(document.querySelector('#told')?.innerText)"
)
# Records the time when the answer is shown and the picture beside it is drawn.
_WATCH = """() => {
  const told = document.querySelector('#told');
  new MutationObserver(async () => {
    if (!told.innerText.includes(window.word)) return;
    await new Promise(requestAnimationFrame);
    await document.querySelector('#drawn img').decode();
    window.shown = performance.now();
  }).observe(told, {subtree: true, childList: true, characterData: true});
}"""
_TYPE = """([text, word]) => {
  window.word = word;
  const box = document.querySelector('#text textarea');
  const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value');
  window.shown = 0;
  window.asked = performance.now();
  set.set.call(box, text);
  box.dispatchEvent(new Event('input', {bubbles: true}));
}"""
_CHOSEN = """() => {
  document.querySelector('#image input[type=file]').addEventListener('change',
    () => { window.shown = 0; window.asked = performance.now(); },
    {capture: true, once: true});
}"""


def _seconds(page: Page) -> float:
    """Waits for the requested mask and returns its latency."""
    page.wait_for_function("window.shown > 0")
    return page.evaluate("(window.shown - window.asked) / 1000")


def measure(address: str, image: str, times: int) -> tuple[float, float]:
    """Returns the median latency of a first mask and of a mask after a text change."""
    first, further = [], []
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=_ARGUMENTS
        )
        for _ in range(times):
            page = browser.new_page()
            page.set_default_timeout(_MILLISECONDS)
            page.goto(address)
            page.wait_for_function(_READY)
            page.locator("#text textarea").fill("circle")
            page.wait_for_timeout(1000)  # until the page has answered
            page.evaluate("window.word = 'circle'")
            page.evaluate(_WATCH)
            page.evaluate(_CHOSEN)
            page.locator("#image input[type=file]").set_input_files(image)
            first.append(_seconds(page))
            for word in ("left", "right"):
                page.evaluate(_TYPE, [f"the circle {word}", word])
                further.append(_seconds(page))
            page.close()
        browser.close()
    return statistics.median(first), statistics.median(further)


def serve_and_measure(model: str, image: str, times: int) -> tuple[float, float]:
    """Serves a model and measures its page."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "restr_jax.cli", "serve"]
    command += [f"--model={model}", f"--port={port}"]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as server:
        try:
            if not any(line.startswith("Open ") for line in server.stdout):
                raise RuntimeError("The server exited before it was ready.")
            return measure(f"http://127.0.0.1:{port}", image, times)
        finally:
            server.terminate()


def main() -> None:
    """Prints one line per model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=typed, required=True, help="a photograph")
    parser.add_argument("--times", type=int, default=10, help="number of visits")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model_files.write(full_model().trained, pathlib.Path(folder))
        for name, model in (
            ("shapes, as shipped", "shapes"),
            ("ViT-B/16, 480 x 480", folder),
        ):
            first, further = serve_and_measure(model, arguments.image, arguments.times)
            print(f"{name}: first mask {first:.3f} s, other words {further:.3f} s")


if __name__ == "__main__":
    main()
