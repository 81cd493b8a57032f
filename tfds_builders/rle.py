"""COCO's run-length encoding of masks, with checked reading.

pycocotools checks nothing. It reads past the end of a string whose last run is
incomplete, and leaves pixels that no run covers uninitialized. It never returns from
merging masks whose runs cover different numbers of pixels.
"""

import numpy as np
from pycocotools import mask as mask_util

from tfds_builders.fields import plain

# Maximum characters of one run; 7 hold 34 bits and a sign, enough for any image.
_LONGEST = 7


def encode_mask(mask: np.ndarray) -> str:
    """Encodes a boolean mask [H, W] as COCO's compressed RLE."""
    coded = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return coded["counts"].decode("ascii")


def read_runs(counts, height: int, width: int) -> np.ndarray:
    """Reads the lengths of alternating runs of zeros and ones, column by column.

    Args:
        counts: a list of whole numbers, or COCO's compressed string or bytes.
        height: of the mask, pixels.
        width: of the mask, pixels.

    Returns:
        int64 [runs].

    Raises:
        ValueError: if they are in another format, or do not cover the mask exactly.
    """
    if isinstance(counts, list):
        runs = [plain(run, (int,)) for run in counts]
        if not runs or not all(type(run) is int for run in runs):
            raise ValueError("its counts are not whole numbers")
    elif isinstance(counts, str | bytes) and counts:
        runs = _uncompress(counts.encode() if isinstance(counts, str) else counts)
    else:
        raise ValueError("its counts are neither a list of numbers nor text")
    least, total = min(runs), sum(runs) if isinstance(runs, list) else runs.sum()
    if least < 0 or total != height * width:
        raise ValueError(f"its runs cover {total} pixels, not {height * width}")
    return np.asarray(runs, np.int64)


def _uncompress(counts: bytes) -> np.ndarray:
    """Decodes COCO's string of run lengths: 5 bits a character, low bits first."""
    bits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if bits.min() < 0 or bits.max() > 63:
        wrong = counts[int(np.argmax((bits < 0) | (bits > 63)))]
        raise ValueError(f"{chr(wrong)!r} is not a character of a compressed RLE")
    ends = np.flatnonzero(bits & 32 == 0)  # Bit 32 marks that more bits follow.
    if not ends.size or ends[-1] != bits.size - 1:
        raise ValueError("its compressed RLE is truncated")
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > _LONGEST:
        raise ValueError("a run of its compressed RLE is too long")
    starts = ends + 1 - lengths
    shifts = 5 * (np.arange(bits.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((bits & 31) << shifts, starts)
    runs -= np.where(bits[ends] & 16, 1 << (5 * lengths), 0)  # Negative.
    # From the fourth run on, a run is stored as the difference to the last but one.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def to_mask(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Turns the result of `read_runs` into a boolean mask [H, W]."""
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return flat.reshape(width, height).T
