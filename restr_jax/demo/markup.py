"""HTML of the masks, of the legend below them and of the model's words."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from restr_jax.demo.answers import Answer, Photo
from restr_jax.drawing import overlay

_MAX_LISTED_WORDS = 60
_WITHOUT_MASKS = "the image without masks"

TITLE = (
    '<h1 class="restr">ReSTR <small>masks what you name in '
    '<a href="#image">your image</a></small></h1>'
)

# On a phone, the image and the text box share the part above the keyboard.
CSS = """
.html-container:has(.restr) {padding: 0}
h1.restr {font-size: 1.5rem; margin: 0}
h1.restr small {font-size: 0.85rem; font-weight: 400; opacity: 1}
h1.restr a {text-decoration: underline}
input[type=range]:focus-visible {outline: 2px solid; outline-offset: 4px}
#save {font-weight: 400; font-size: 1rem}
.restr.drawn img {width: 100%; max-height: min(440px, 50vh); object-fit: contain;
  margin: 0; border-radius: 4px}
.restr ol {list-style: none; margin: 0; padding: 0}
.restr li {display: flex; gap: 12px; align-items: center; margin: 0; padding: 8px 0;
  border-bottom: 1px solid #8884}
.restr .line {flex: 1; min-width: 0; overflow-wrap: anywhere}
.restr .swatch {display: inline-block; width: 0.8em; height: 0.8em; margin-right: 6px;
  border-radius: 3px; border: 1px solid #8888}
.restr .patches {border-radius: 4px; border: 1px solid #8886; flex: none; margin: 0}
.restr .word {border-radius: 4px; padding: 2px 5px; margin: 3px 3px 0 0;
  display: inline-block; overflow-wrap: anywhere}
.restr .unknown {text-decoration: underline wavy #d00}
h1.restr a {padding: 0; margin: 0}
.restr small, .restr .note, .restr .numbers {font-size: 0.85em; opacity: 0.75}
.restr .error {border-left: 4px solid #d00; padding-left: 10px}
#examples {display: grid; grid-template-columns: repeat(auto-fill, minmax(84px, 1fr));
  gap: 8px}
#examples button {flex-direction: column; justify-content: start; gap: 6px;
  padding: 6px; font-size: 0.8rem; font-weight: 400; line-height: 1.2; min-width: 0}
#examples img {width: 100%; height: 56px; object-fit: cover; border-radius: 4px;
  margin: 0}
#saved .label-clear-button {display: none}
footer {display: none !important}
@media (max-width: 640px) {
  .restr.drawn img {max-height: 260px}
}
"""


def write_note(text: str) -> str:
    """Formats a note."""
    return _write_line("note", text)


def write_error(text: str) -> str:
    """Formats an error message."""
    return _write_line("error", text)


def _write_line(kind: str, text: str) -> str:
    return f'<div class="restr"><p class="{kind}">{html.escape(text)}</p></div>'


def write_model(name: str, domain: str) -> str:
    """Names a model and its domain, which completes "It knows ..."."""
    return (
        f'<div class="restr"><b>{html.escape(name)}</b><br>'
        f"It knows {html.escape(domain)}.</div>"
    )


def write_words(words: Sequence[str], beginning: str = "") -> str:
    """Lists the words with this beginning, as many as fit."""
    beginning = beginning.strip().lower()
    found = [word for word in words if word.startswith(beginning)]
    if not found:
        return write_note(f"The model knows no word that begins with {beginning}.")
    more = len(found) - _MAX_LISTED_WORDS
    listed = ", ".join(found[:_MAX_LISTED_WORDS])
    return write_note(f"{listed}, and {more:,} more." if more > 0 else f"{listed}.")


def write_picture(pixels: np.ndarray, description: str = _WITHOUT_MASKS) -> str:
    """Embeds uint8 RGB [H, W, 3] in the page.

    A file would not be safe: Gradio rewrites a picture that it has written before, even
    while a request reads it.
    """
    content = _encode(pixels, "JPEG", quality=90)
    alt = html.escape(description)
    return f'<div class="restr drawn"><img alt="{alt}" src="{content}"></div>'


def describe(answers: Sequence[Answer]) -> str:
    """Returns a description of the masks for those who do not see them."""
    masks = [
        f"{found.expression}, {found.prediction.mask.mean():.1%} of the image"
        for found in answers
        if found.prediction and found.prediction.found
    ]
    return f"the image with masks: {'; '.join(masks)}" if masks else _WITHOUT_MASKS


def write_answers(photo: Photo, answers: Sequence[Answer]) -> str:
    """Formats a legend with an entry for each expression, and the timings."""
    entries = "".join(_write_entry(i, found) for i, found in enumerate(answers))
    height, width = photo.size
    total = sum(found.seconds for found in answers)
    return (
        f'<div class="restr"><ol>{entries}</ol><p class="note">'
        f"{width} × {height} pixels, encoded once in {_time(photo.seconds)}; "
        f"all masks in {_time(total)}. Beside the words is the attention to each, and "
        "at the end of a line the probability of each patch.</p></div>"
    )


def _write_entry(index: int, found: Answer) -> str:
    color = overlay.color_of(index)
    swatch = f'<span class="swatch" style="background: rgb{color}"></span>'
    title = f"{swatch}<b>{html.escape(found.expression)}</b>"
    said = found.prediction
    if said is None:
        error = html.escape(found.error)
        return (
            f'<li><div class="line">{title}<div class="error">{error}</div></div></li>'
        )
    numbers = f"{said.mask.mean():.1%} of the image, score {said.score:.2f}, "
    return (
        f'<li><div class="line">{title} <span class="numbers">'
        f"{numbers if said.found else ''}{_time(found.seconds)}</span>"
        f"<br>{_write_words(found, color)}</div>"
        f"{_draw_patches(found.patches, color)}</li>"
    )


def _write_words(found: Answer, color: tuple[int, int, int]) -> str:
    said = found.prediction
    strongest = max(said.word_attention.max(), 1e-6)
    spans = []
    for word, share in zip(said.words, said.word_attention, strict=True):
        kind = "word unknown" if word in said.unknown else "word"
        background = f"rgba{(*color, round(0.6 * float(share / strongest), 2))}"
        spans.append(
            f'<span class="{kind}" style="background: {background}">'
            f"{html.escape(word)} <small>{share:.0%}</small></span>"
        )
    notes = []
    if not said.found:
        notes.append(
            f"Nothing found: the highest probability is {said.score:.2f}, below the "
            f"threshold of {said.threshold:.2f}."
        )
    if said.unknown:
        listed = ", ".join(dict.fromkeys(said.unknown))
        notes.append(f"The model does not know: {listed}.")
    if found.unread:
        notes.append(
            f"The model reads {len(said.words)} words; the last {found.unread} are "
            "ignored."
        )
    return f'{"".join(spans)}<div class="note">{html.escape(" ".join(notes))}</div>'


def _draw_patches(patches: np.ndarray, color: tuple[int, int, int]) -> str:
    """Draws probabilities from black to the expression's colour, as an inline image."""
    pixels = (patches[..., None] * np.array(color, np.float32)).astype(np.uint8)
    return (
        f'<img class="patches" alt="probability of each patch" '
        f'src="{_encode(pixels, "PNG")}">'
    )


def _encode(pixels: np.ndarray, kind: str, **options: int) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"
