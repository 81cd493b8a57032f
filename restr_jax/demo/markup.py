"""HTML of the masks and of the text and table below them."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from restr_jax.demo.answers import Answer, Photo
from restr_jax.drawing import overlay

_MAX_LISTED_WORDS = 60

_HEADINGS = """<tr>
<th title="each patch's probability to be part of the mask">patches</th>
<th>words, and the attention to each</th>
<th class="number" title="mean probability of the mask's pixels; the highest of the
image, if nothing is found">score</th>
<th class="number" title="the mask's share of the image">area</th>
<th class="number" title="from the words to the mask">time</th>
</tr>"""

CSS = """
.restr table {width: 100%; border-collapse: collapse; border: 0}
.restr tr {border: 0; border-bottom: 1px solid #8884}
.restr td, .restr th {padding: 6px 10px 6px 0; vertical-align: middle; border: 0}
.restr th {text-align: left; font-weight: 400; font-size: 0.85em; opacity: 0.7}
.restr td:first-child {width: 1px}
.restr td.number, .restr th.number {text-align: right; white-space: nowrap}
.restr img {margin: 0}
.restr .patches {border: 3px solid; border-radius: 4px; max-width: none}
.restr.drawn {height: 400px}
.restr.drawn img {width: 100%; height: 100%; object-fit: contain}
.restr .word {border-radius: 4px; padding: 2px 5px; margin-right: 3px;
  display: inline-block; overflow-wrap: anywhere}
.restr .unknown {text-decoration: underline wavy #d00}
.restr small, .restr .note {font-size: 0.85em; opacity: 0.7}
.restr .line {overflow-wrap: anywhere}
#image img {width: 100%; height: 100%; object-fit: contain}
.restr .error {border-left: 4px solid #d00; padding-left: 10px}
"""


def write_note(text: str) -> str:
    """Formats a note."""
    return _write_line("note", text)


def write_error(text: str) -> str:
    """Formats an error message."""
    return _write_line("error", text)


def _write_line(kind: str, text: str) -> str:
    return f'<div class="restr"><p class="{kind}">{html.escape(text)}</p></div>'


def write_vocabulary(words: Sequence[str]) -> str:
    """Describes the vocabulary; lists its words if they are few."""
    if len(words) > _MAX_LISTED_WORDS:
        return write_note(f"The model knows {len(words):,} words.")
    return write_note(f"The model knows {len(words)} words: {', '.join(words)}.")


def write_picture(pixels: np.ndarray) -> str:
    """Embeds uint8 RGB [H, W, 3] in the page.

    A file would not be safe: Gradio rewrites a picture that it has written before, even
    while a request reads it.
    """
    content = _encode(pixels, "JPEG", quality=90)
    return f'<div class="restr drawn"><img alt="the masks" src="{content}"></div>'


def write_answers(photo: Photo, answers: Sequence[Answer]) -> str:
    """Formats a row for each expression, and the timings."""
    rows = "".join(_write_row(index, found) for index, found in enumerate(answers))
    height, width = photo.size
    total = sum(found.seconds for found in answers)
    return (
        f'<div class="restr"><table>{_HEADINGS}{rows}</table><p class="note">'
        f"{width} × {height} pixels, encoded once in {_time(photo.seconds)}; "
        f"all masks in {_time(total)}.</p></div>"
    )


def _write_row(index: int, found: Answer) -> str:
    color = overlay.color_of(index)
    said = found.prediction
    if said is None:
        return (
            f'<tr><td></td><td class="line note" colspan="4">{html.escape(found.error)}'
            "</td></tr>"
        )
    return (
        f"<tr><td>{_draw_patches(found.patches, color)}</td>"
        f'<td class="line">{_write_words(found, color)}</td>'
        f'<td class="number">{said.score:.2f}</td>'
        f'<td class="number">{said.mask.mean():.1%}</td>'
        f'<td class="number">{_time(found.seconds)}</td></tr>'
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
            f"Nothing found: the highest probability is {said.score:.2f}, below "
            f"{said.threshold:.2f}."
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
        f'<img class="patches" alt="patch map" style="border-color: rgb{color}" '
        f'src="{_encode(pixels, "PNG")}">'
    )


def _encode(pixels: np.ndarray, kind: str, **options: int) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"
