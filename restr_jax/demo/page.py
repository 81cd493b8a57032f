"""The page: an image, expressions, and masks that follow the typing."""

import functools
import json
import os
import pathlib
import tempfile
import threading
from collections.abc import Iterator

# Gradio reads this on import; it must not report any usage.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

try:
    import gradio as gr
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "The page needs Gradio; install it with `pip install 'restr-jax[demo]'`, or "
        "`pip install '.[demo]'` in a checkout."
    ) from error

from restr_jax import shipped
from restr_jax.data import photograph
from restr_jax.data.data_sets import listed
from restr_jax.demo import answers, markup
from restr_jax.inference.segmenter import Segmenter

# Screen readers read new answers aloud.
ON_LOAD = "() => document.querySelector('#told')?.setAttribute('aria-live', 'polite')"
_CLOSE_MESSAGES = (
    "() => document.querySelectorAll('.toast-close').forEach(x => x.click())"
)

_KEEP_SECONDS = 3600  # lifetime of uploaded files on disk
_PRIVATE = {"api_visibility": "private"}  # Programs use restr_jax.load.
_NO_IMAGE = "Choose an image."
_NO_TEXT = "Describe an object; its mask follows the words. One expression per line."
_COMPILING = "Compiling the model: the first masks take some seconds."


def build(model: Segmenter, ready: threading.Event) -> gr.Blocks:
    """Lays out the page of a model.

    Args:
        model: the segmenter.
        ready: set as soon as the model is compiled; answers wait for it.
    """
    examples = find_examples(model)
    with gr.Blocks(
        title="ReSTR",
        analytics_enabled=False,
        delete_cache=(_KEEP_SECONDS, _KEEP_SECONDS),
    ) as page:
        photo = gr.State(_NO_IMAGE)
        gr.HTML(markup.TITLE)
        with gr.Row():
            # On a phone, the second column comes below the first.
            with gr.Column(scale=3, min_width=340):
                drawn, text, told = _place_answers(examples)
            with gr.Column(scale=2, min_width=300):
                image, buttons = _place_images(examples)
                threshold = gr.Slider(
                    0.01,
                    0.99,
                    model.threshold,
                    step=0.01,
                    label="Threshold: lowest probability in a mask",
                    elem_id="threshold",
                )
                save = gr.Button("Save masks, overlays and JSON", elem_id="save")
                saved = gr.Files(
                    label="Files", visible=False, interactive=False, elem_id="saved"
                )
                _place_model(model)
        given = [photo, text, threshold]
        masks = _connect_masks(model, given, [drawn, told, saved])
        save.click(functools.partial(save_files, model), given, saved, **_PRIVATE)

        def tell_start():
            return gr.skip() if ready.is_set() else markup.write_note(_COMPILING)

        def tell_ready():
            ready.wait()
            return markup.write_note(_NO_IMAGE)

        quiet = {"show_progress": "hidden", "concurrency_limit": None, **_PRIVATE}
        start = page.load(tell_start, None, told, **quiet)
        picked = [(button.click, index) for index, button in enumerate(buttons)]
        if examples:
            picked.append((start.then, 0))
        else:
            start.then(tell_ready, None, told, **quiet)
        openers = _connect_images(model, ready, examples, image, picked, photo, text)
        for opened in openers:
            shown = opened.then(**masks, trigger_mode="multiple")
            shown.then(js=_CLOSE_MESSAGES)
    return page


def _connect_masks(model: Segmenter, given: list, shown: list) -> dict:
    """Connects the text and the threshold; returns the arguments of their event."""

    def read(photo, text, threshold):
        drawn, told = show_masks(model, photo, text, threshold)
        return drawn, told, gr.Files(None, visible=False)  # Old files do not fit.

    masks = {"fn": read, "inputs": given, "outputs": shown}
    masks |= {"show_progress": "hidden", **_PRIVATE}
    _, text, threshold = given
    # Not `input`: Gradio does not fire it for pasted, cut or deleted text. Of the texts
    # typed during a prediction, only the last counts.
    text.change(**masks, trigger_mode="always_last")
    threshold.change(**masks, trigger_mode="always_last")
    return masks


def _connect_images(
    model: Segmenter,
    ready: threading.Event,
    examples: list[list[str]],
    image: gr.Image,
    picked: list,
    photo: gr.State,
    text: gr.Textbox,
) -> list:
    """Connects the events that open an uploaded file or an example."""

    def open_file(file):
        ready.wait()
        # The file becomes the picture with the masks; there is room for another one.
        return None, open_image(model, file["path"])

    def open_example(index):
        ready.wait()
        path, expressions = examples[index]
        return expressions, open_image(model, path)

    # An image opened right after another one is not dropped. One at a time: more would
    # gain nothing on few cores, and the last request has to win.
    each = {"trigger_mode": "multiple", "concurrency_id": "open", **_PRIVATE}
    # No preprocessing: gr.Image does not show why it cannot read a file.
    opened = [image.upload(open_file, image, [image, photo], preprocess=False, **each)]
    each["show_progress"] = "hidden"
    for event, index in picked:
        pick = functools.partial(open_example, index)
        opened.append(event(pick, None, [text, photo], **each))
    return opened


def _place_answers(examples: list) -> tuple[gr.HTML, gr.Textbox, gr.HTML]:
    """Places the picture, the text below it, and the legend."""
    first, expressions = "", ""
    if examples:  # The image is there before its masks.
        path, expressions = examples[0]
        first = markup.write_picture(answers.fit_screen(photograph.to_pixels(path)))
    drawn = gr.HTML(first, elem_id="drawn")
    text = gr.Textbox(
        expressions,
        label="Expressions, one a line",
        placeholder=_NO_TEXT,
        lines=2,
        max_lines=answers.MAX_EXPRESSIONS,
        elem_id="text",
    )
    told = gr.HTML("" if examples else markup.write_note(_NO_IMAGE), elem_id="told")
    return drawn, text, told


def _place_images(examples: list[list[str]]) -> tuple[gr.Image, list[gr.Button]]:
    """Places the choice of a file, and the examples with their first expressions."""
    image = gr.Image(
        label="Choose an image",
        sources=["upload", "clipboard"],
        height=150,
        buttons=[],
        elem_id="image",
    )
    with gr.Row(elem_id="examples"):
        buttons = [
            gr.Button(expressions.split("\n")[0], icon=path)
            for path, expressions in examples
        ]
    return image, buttons


def _place_model(model: Segmenter) -> None:
    """Places the name, domain and words of the model."""
    vocabulary = model.trained.vocabulary
    words = sorted(vocabulary.words[len(vocabulary.special) :])
    gr.HTML(markup.write_model(model.name, model.domain))
    with gr.Accordion(f"Its {len(words):,} words", open=False):
        beginning = gr.Textbox(label="Words that begin with", elem_id="beginning")
        found = gr.HTML(markup.write_words(words), elem_id="words")
    beginning.change(
        functools.partial(markup.write_words, words),
        beginning,
        found,
        show_progress="hidden",
        trigger_mode="always_last",
        **_PRIVATE,
    )


def open_image(model: Segmenter, path: str) -> answers.Photo | str:
    """Opens an image; returns it, or an error."""
    try:
        return answers.open_photo(model, path)
    except ValueError as error:
        return str(error)


def show_masks(
    model: Segmenter, photo: answers.Photo | str, text: str | None, threshold: float
) -> tuple[str, str]:
    """Segments the typed text; returns the drawn masks and their legend, as HTML."""
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
    found = answers.answer(model, photo, expressions, threshold)
    drawn = markup.write_picture(answers.draw(photo, found), markup.describe(found))
    return drawn, markup.write_answers(photo, found)


def save_files(
    model: Segmenter, photo: answers.Photo | str, text: str | None, threshold: float
) -> Iterator[gr.Files]:
    """Yields the files of `answers.save`, which Gradio copies meanwhile."""
    try:
        if isinstance(photo, str):
            raise ValueError(photo)
        found = answers.answer(
            model, photo, answers.read_expressions(text or ""), threshold
        )
        with tempfile.TemporaryDirectory() as folder:
            files = answers.save(model, photo, found, threshold, pathlib.Path(folder))
            yield gr.Files([str(file) for file in files], visible=True)
    except (OSError, ValueError) as error:
        raise gr.Error(str(error), print_exception=False) from error


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
