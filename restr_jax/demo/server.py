"""Serves the page: an image, expressions, and masks that follow the typing."""

import json
import os
import pathlib
import socket
from typing import Any

# Gradio reads this on import; it must not report any usage.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

try:
    import gradio as gr
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "The page needs Gradio; install it with `pip install -r "
        "requirements-demo.txt`, or `pip install 'gradio>=6.31,<7'`."
    ) from error

from restr_jax import shipped
from restr_jax.data.data_sets import listed
from restr_jax.demo import answers, markup
from restr_jax.inference.segmenter import Segmenter

_MAX_FILE_SIZE = "64mb"  # of an upload
_MAX_SESSIONS = 100  # sessions whose encoded images are kept, some megabytes each
_KEEP_SECONDS = 3600  # lifetime of uploaded files on disk
_SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif")
_PRIVATE = {"api_visibility": "private"}  # Programs use restr_jax.load.

_NO_IMAGE = "Upload an image, or pick an example."
_NO_TEXT = "Describe an object; its mask follows the words. One expression per line."


def check_port(host: str, port: int) -> None:
    """Checks that the page can be served there, before a model is loaded.

    Raises:
        OSError: if the port is in use, or the address is not one of this machine.
        ValueError: if the port number is out of range.
    """
    if not 0 < port < 65536:
        raise ValueError(
            f"--port={port} is out of range; choose a port from 1 to 65535."
        )
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
    except socket.gaierror as error:
        raise OSError(
            f"Cannot resolve --host={host}; choose an address of this machine."
        ) from error
    with socket.socket(family, kind) as probe:
        # As the server does: a port that was just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise OSError(
                f"Cannot listen on port {port} of {host} ({error.strerror}); choose "
                f"another one, such as --port={port + 1 if port < 65535 else 7860}."
            ) from error


def serve(model: Segmenter, host: str, port: int) -> None:
    """Serves the page until it is interrupted.

    Args:
        model: the segmenter.
        host: address to listen on.
        port: see `check_port`.
    """
    model.warm_up()  # The first visitor does not wait for compilation.
    # Gradio calls its own address once, which must not go through a proxy.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    name = f"[{host}]" if ":" in host else host
    page = build(model)
    page.launch(
        server_name=name,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=_MAX_FILE_SIZE,
        state_session_capacity=_MAX_SESSIONS,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        css=markup.CSS,
    )
    nearest = "127.0.0.1" if host in ("0.0.0.0", "::") else name
    print(f"Open http://{nearest}:{port}", flush=True)
    page.block_thread()


def build(model: Segmenter) -> gr.Blocks:
    """Lays out the page of a model."""
    with gr.Blocks(
        title="ReSTR",
        analytics_enabled=False,
        delete_cache=(_KEEP_SECONDS, _KEEP_SECONDS),
    ) as page:
        gr.Markdown("# ReSTR\nDescribe an object in the image and see its mask.")
        with gr.Row():
            with gr.Column(scale=2):
                image, text, events = _place_inputs(model)
            with gr.Column(scale=3):
                drawn = gr.HTML(
                    label="Masks", show_label=True, container=True, elem_id="drawn"
                )
                told = gr.HTML(elem_id="told")
        _connect(model, [page.load, *events], image, text, [drawn, told])
    return page


def _place_inputs(model: Segmenter) -> tuple[gr.Image, gr.Textbox, list]:
    """Places image, text and examples; also returns the events that open an image."""
    examples = find_examples(model)
    first = examples[0] if examples else [None, ""]
    image = gr.Image(
        first[0],
        label="Image",
        sources=["upload", "clipboard"],
        format="jpeg",
        height=340,
        buttons=[],
        alt_text="The image",
        elem_id="image",
    )
    text = gr.Textbox(
        first[1],
        label="Expressions, one a line",
        placeholder=_NO_TEXT,
        lines=3,
        max_lines=answers.MAX_EXPRESSIONS,
        autofocus=True,
        elem_id="text",
    )
    vocabulary = model.trained.vocabulary
    known = sorted(vocabulary.words[len(vocabulary.special) :])
    gr.HTML(markup.write_vocabulary(known))
    events = [image.upload]
    if examples:
        shown = gr.Examples(examples, [image, text], visible_columns=[0], **_PRIVATE)
        events.append(shown.load_input_event.then)
    return image, text, events


def _connect(
    model: Segmenter, events: list, image: gr.Image, text: gr.Textbox, shown: list
) -> None:
    """Connects the events: opening encodes an image once, typing predicts masks only.

    Each of the two handlers serves one visitor at a time, in the order of the requests.
    More at a time would gain nothing on few cores, and the last request has to win.
    """
    photo = gr.State(_NO_IMAGE)

    def read_image(file=None):
        return show_image(model, file and file["path"])

    def read_text(photo, text):
        return show_masks(model, photo, text)

    masks = {"fn": read_text, "inputs": [photo, text], "outputs": shown}
    masks |= {"show_progress": "hidden", **_PRIVATE}
    # An image opened right after another one is not dropped.
    each = {"trigger_mode": "multiple"}
    for event in events:
        # No preprocessing: gr.Image does not show why it cannot read a file.
        opened = event(
            read_image, [image], [image, photo], preprocess=False, **each, **_PRIVATE
        )
        opened.then(**masks, **each)
    removed = image.clear(read_image, None, [image, photo], **each, **_PRIVATE)
    removed.then(**masks, **each)
    # Not `input`: Gradio does not fire it for pasted, cut or deleted text. Of the texts
    # typed during a prediction, only the last counts.
    text.change(**masks, trigger_mode="always_last")


def show_image(model: Segmenter, path: str | None) -> tuple[Any, answers.Photo | str]:
    """Opens an image; returns the displayed pixels and the photo, or an error."""
    if path is None:
        return None, _NO_IMAGE
    try:
        photo = answers.open_photo(model, path)
    except ValueError as error:
        return None, str(error)
    # The browser shows the uploaded file itself, if it can.
    seen = pathlib.Path(path).suffix.lower() in _SHOWN_BY_BROWSERS
    return gr.skip() if seen else photo.image.pixels, photo


def show_masks(
    model: Segmenter, photo: answers.Photo | str, text: str | None
) -> tuple[str, str]:
    """Segments the typed text; returns the drawn masks and their table, as HTML."""
    if isinstance(photo, str):
        tell = markup.write_note if photo == _NO_IMAGE else markup.write_error
        return "", tell(photo)
    plain = markup.write_picture(photo.image.pixels)
    try:
        expressions = answers.read_expressions(text or "")
    except ValueError as error:
        return plain, markup.write_error(str(error))
    if not expressions:
        return plain, markup.write_note(_NO_TEXT)
    found = answers.answer(model, photo, expressions)
    drawn = answers.draw(photo, found)
    return markup.write_picture(drawn), markup.write_answers(photo, found)


def find_examples(model: Segmenter) -> list[list[str]]:
    """Returns [file, text] of each example from data sets that the model learned."""
    learned = set(listed(model.trained.config.data.dataset or ""))
    for name in shipped.NAMES:
        folder = shipped.folder(name)
        index = folder / "examples" / "examples.jsonl"
        if not index.is_file():
            continue
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if learned & set(listed(config["data"]["dataset"])):
            return [
                [str(index.parent / row["image"]), "\n".join(row["expressions"][:3])]
                for row in map(json.loads, index.read_text("utf-8").splitlines())
            ]
    return []
