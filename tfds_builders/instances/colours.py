"""Dominant colours of objects, if the pixels are clear.

Pixels are counted in the mask without its rim, which mixes with the background. An
object has a colour if most pixels show it, and lacks a colour if hardly any pixel does.
No claim is made about cases in between.
"""

import dataclasses

import numpy as np
from scipy import ndimage

COLOURS = (
    "black",
    "white",
    "gray",
    "red",
    "orange",
    "brown",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "tan",
)
# Between brown, orange and white. People disagree on it, so it is never named.
_NAMELESS = "tan"
# Shares of pixels: the minimum of a colour that an object has, the maximum of a
# contrasting colour beside it, and the maximum of a colour that an object lacks.
HAS, BESIDE, LACKS = 0.55, 0.15, 0.12
# Above this share of a colour, its near colours are not lacked either.
_MUCH = 0.3
# Images below this mean saturation count as monochrome.
_MONOCHROME = 0.06
# Colours so close that a pixel may count as either.
_NEAR = {
    "black": ("gray", "brown"),
    "white": ("gray", "tan"),
    "gray": ("black", "white", "blue", "tan"),
    "red": ("orange", "pink", "brown"),
    "orange": ("red", "brown", "yellow", "tan"),
    "brown": ("orange", "red", "black", "tan"),
    "yellow": ("orange", "tan"),
    "green": (),
    "blue": ("purple", "gray"),
    "purple": ("blue", "pink"),
    "pink": ("red", "purple", "tan"),
    "tan": ("brown", "orange", "white", "yellow", "pink", "gray"),
}
WORDS = {"gray": ("gray", "grey")}
# Of coats and feathers. Strong colours there come from light, not from the animal.
ANIMAL = frozenset({"black", "white", "brown", "orange", "gray"})
CLOTHES = frozenset({"white", "red", "yellow", "green", "blue", "purple", "pink"})
_BODIES = frozenset("cat dog horse sheep cow elephant bear bird".split())
_PAINTED = frozenset(
    """bicycle|car|motorcycle|bus|truck|boat|bench|backpack|umbrella|handbag|suitcase|
tie|frisbee|snowboard|kite|skateboard|surfboard|bottle|cup|bowl|apple|chair|couch|bed|
book|vase|teddy bear|toothbrush|train|keyboard|mouse|remote|cell phone|refrigerator|
fire hydrant|sports ball|laptop""".replace("\n", "").split("|")
)
# White in the light and gray in the shade.
_WHITE = frozenset({"sheep", "cup", "bowl", "refrigerator"})
_LEAST_PIXELS = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Colours:
    """Measured colours of an object.

    Attributes:
        has: the colour that it clearly has, or "".
        lacks: colours that it clearly lacks.
        clothes: the clear colour of a person's clothes, or "".
    """

    has: str = ""
    lacks: frozenset[str] = frozenset()
    clothes: str = ""


UNKNOWN = Colours()


def near(one: str, other: str) -> bool:
    """Returns whether two colours are the same or easily confused."""
    return one == other or other in _NEAR[one] or one in _NEAR[other]


def classify(pixels: np.ndarray) -> np.ndarray:
    """Returns the indices in COLOURS, int [N], of RGB pixels, uint8 [N, 3]."""
    rgb = pixels.astype(np.float32) / 255
    value, least = rgb.max(-1), rgb.min(-1)
    spread = np.maximum(value - least, 1e-6)
    saturation = spread / np.maximum(value, 1e-6)
    red, green, blue = rgb.T
    hue = np.where(
        value == red,
        (green - blue) / spread % 6,
        np.where(value == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    hue *= 60
    names = np.select(
        [
            value < 0.2,
            (saturation < 0.16) & (value > 0.72),
            (saturation < 0.16) & (value < 0.3),
            saturation < 0.16,
            (hue < 12) | (hue >= 345),
            hue < 45,
            hue < 68,
            hue < 165,
            hue < 255,
            hue < 290,
        ],
        [0, 1, 0, 2, 3, 4, 6, 7, 8, 9],
        10,
    )
    # Dark or dull red and orange are brown, lighter ones tan, and the palest white.
    dull = ((names == 4) & ((value < 0.62) | (saturation < 0.55))) | (
        (names == 3) & (value < 0.5) & (saturation < 0.6)
    )
    dull |= (names == 6) & ((value < 0.5) | (saturation < 0.35))
    names[dull] = np.where(value[dull] < 0.55, 5, COLOURS.index(_NAMELESS))
    names[(names == 3) & (value > 0.8) & (saturation < 0.45)] = 10
    names[(value > 0.85) & (saturation < 0.22)] = 1
    return names


def measure(image: np.ndarray, mask: np.ndarray, category: str) -> Colours:
    """Measures the colours of an object.

    Args:
        image: uint8 [h, w, 3], the image cropped to the object's box.
        mask: bool [h, w].
        category: its class.
    """
    person = category == "person"
    allowed = ANIMAL if category in _BODIES else frozenset(COLOURS) - {_NAMELESS}
    if category in _WHITE:
        allowed -= {"gray"}
    if not person and category not in _BODIES | _PAINTED:
        return UNKNOWN
    if person:
        return Colours(clothes=_clothes(image, mask))
    shares = _shares(image, _inner(mask))
    if shares is None:
        return UNKNOWN
    best = int(shares.argmax())
    name = COLOURS[best]
    found = dict(zip(COLOURS, shares.tolist(), strict=True))
    clash = [c for c in found if found[c] > BESIDE and not near(c, name)]
    clear = found[name] >= HAS and not clash and name in allowed
    seen = {c for c in found if found[c] > LACKS}
    seen |= {c for much in found if found[much] > _MUCH for c in _NEAR[much]}
    return Colours(name if clear else "", (frozenset(COLOURS) - seen) & allowed)


def is_monochrome(image: np.ndarray) -> bool:
    """Returns whether an image, uint8 [H, W, 3], shows no colours."""
    few = image[::4, ::4].astype(np.int32)
    spread = few.max(-1) - few.min(-1)
    return float((spread / np.maximum(few.max(-1), 1)).mean()) < _MONOCHROME


def _shares(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    pixels = image[mask]
    if len(pixels) < _LEAST_PIXELS:
        return None
    return np.bincount(classify(pixels), minlength=len(COLOURS)) / len(pixels)


def _inner(mask: np.ndarray) -> np.ndarray:
    """Returns a mask without its rim, if more than half of the pixels remain."""
    steps = 2 if mask.sum() > 2_000 else 1
    inner = ndimage.binary_erosion(mask, iterations=steps)
    return inner if inner.sum() * 2 > mask.sum() else mask


def _clothes(image: np.ndarray, mask: np.ndarray) -> str:
    """Returns the colour of the trunk of a person who stands in full view, or ""."""
    height, width = mask.shape
    if height < 1.8 * width or height < 40:
        return ""
    trunk = slice(round(0.24 * height), round(0.46 * height))
    shares = _shares(image[trunk], mask[trunk])
    if shares is None:
        return ""
    name = COLOURS[int(shares.argmax())]
    return name if shares.max() >= HAS and name in CLOTHES else ""
