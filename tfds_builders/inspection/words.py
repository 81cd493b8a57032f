"""Splits expressions of any script into words, and counts those that nothing teaches.

This file depends on nothing, because `restr export` copies it into every export.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

# Scripts without spaces between words: Thai and Lao, Burmese, Khmer, Tai Le to Tai
# Tham, Chinese and Japanese.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff"
    "\uaa60-\uaadf\u3005-\u3007\u3021-\u3035\u3038-\u303c\u3041-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
# Combining marks are not \w. All of them stand for this one in the pattern.
_MARK = "\u0301"
_JOINERS = "\u200c\u200d"  # between letters of one word, in Persian and Hindi
_ASCII_WORD = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(
    rf"[{_UNSPACED}]{_MARK}*|(?:[^\W{_UNSPACED}]{_MARK}*)+|[^\w\s]{_MARK}*"
)
_LETTER = re.compile(r"\w")
# Keyboards of phones and word processors put these in place of ASCII, which is what
# data sets and word vectors have. Invisible characters are removed, but the space of
# width zero parts words.
_AS_TYPED = str.maketrans(
    {chr(0xFF00 + code - 0x20): chr(code) for code in range(0x21, 0x7F)}
    | dict.fromkeys("‘’‚‛′ʼ", "'")
    | dict.fromkeys("“”„‟″", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("。｡", ".")
    | {"…": "...", "\u200b": " "}
    | dict.fromkeys("\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff")
)


def split(sentence: str) -> list[str]:
    """Splits an expression into lower-case words and punctuation marks.

    Typographic quotes, dashes and full-width characters are read as ASCII, so that
    "the man’s hat" equals "the man's hat".
    """
    return split_as_written(sentence.translate(_AS_TYPED))


def split_as_written(sentence: str) -> list[str]:
    """Splits an expression into lower-case tokens, with its own quotes and dashes.

    Letters are composed (Unicode's NFC), and further marks stay with their letter.
    Scripts without spaces between words are split into characters.
    """
    text = sentence.lower()
    if text.isascii():
        return _ASCII_WORD.findall(text)
    text = unicodedata.normalize("NFC", text)
    outline = "".join(_MARK if _is_mark(character) else character for character in text)
    return [text[match.start() : match.end()] for match in _WORD.finditer(outline)]


def _is_mark(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character).startswith("M")


def is_word(token: str) -> bool:
    """Returns True if a token has letters or digits, and is not punctuation."""
    return _LETTER.match(token) is not None


def of(sentence: str) -> list[str]:
    """Splits an expression into lower-case words, without punctuation."""
    return [token for token in split(sentence) if is_word(token)]


def training_split(splits: Iterable[str]) -> str | None:
    """Returns the split that teaches the words, or None if there is none."""
    names = set(splits)
    return next((name for name in ("trainval", "train") if name in names), None)


def untaught(sentences: Mapping[str, list[list[str]]]) -> Iterator[str]:
    """Yields a line for each split with expressions without any word of training.

    Args:
        sentences: the expressions of every record, by split.
    """
    train = training_split(sentences)
    if not train:
        return
    taught = {w for record in sentences[train] for s in record for w in of(s)}
    for split_name, records in sentences.items():
        said = [sentence for record in records for sentence in record]
        foreign = [s for s in said if taught.isdisjoint(of(s))]
        if foreign:
            yield (
                f"{split_name}: {len(foreign):,} of {len(said):,} expressions have no "
                f"word of {train}, such as {foreign[0]!r}"
            )
