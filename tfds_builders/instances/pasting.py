"""Pastes cut-out objects into photographs, with exact masks.

Objects are scaled, mirrored, made brighter or darker, and pasted with a feathered edge
from back to front. Objects that reach lower in the image hide the others. A mask is the
visible part of its object.
"""

import collections
import dataclasses

import numpy as np
from PIL import Image
from pycocotools import mask as mask_util
from scipy import ndimage

from tfds_builders import images, masks
from tfds_builders.instances import colours, source, things

# Minimum share of the image that a pasted object covers before others hide it; range of
# its scale.
LEAST_AREA, SCALE = 0.015, (0.25, 1.8)
# Share of an object that must stay visible for it to get expressions.
VISIBLE = 0.6
# Maximum share of a pasted object that later ones may hide; beyond it, another place is
# tried.
_HIDES = 0.35
_LEAST_PIXELS = 600
_TRIES = 8
# Standard deviation of the blur of an edge, pixels.
FEATHER = 0.8


@dataclasses.dataclass(slots=True)
class Cutout:
    """An object that is ready for pasting.

    Attributes:
        object_id: the source's name of it.
        category: its class.
        pixels: float32 [h, w, 3], 0 to 255.
        alpha: float32 [h, w], 0 to 1.
        grounded: whether it touched the lower edge of its photograph.
    """

    object_id: str
    category: str
    pixels: np.ndarray
    alpha: np.ndarray
    grounded: bool


class Paster:
    """Pastes objects of training photographs into other photographs."""

    def __init__(self, opened: list[source.Instances], most_area: float):
        """Lists all objects that can be cut out.

        Args:
            opened: the instances of the training splits.
            most_area: largest share of an image that an object covers.
        """
        self._most_area = most_area
        found = collections.defaultdict(list)
        for instances in opened:
            for category, photograph, place in instances.cutouts():
                found[category].append((instances, photograph, place))
        self._found = dict(sorted(found.items()))

    def paste(
        self, pixels: np.ndarray, scene: things.Scene, rng: np.random.Generator
    ) -> tuple[np.ndarray, things.Scene]:
        """Pastes one to five objects.

        Args:
            pixels: uint8 [H, W, 3], a photograph.
            scene: its annotated objects.
            rng: source of all choices.

        Returns:
            The new pixels, and the scene with masks of the visible parts.
        """
        size = scene.size
        cut = [self._cut(c, size, rng) for c in self._classes(scene, rng)]
        placed = _place([one for one in cut if one], size, rng)
        canvas = pixels.astype(np.float32)
        whole = [scene.mask(i) for i in range(len(scene.things))]
        named = [(t.object_id, t.category) for t in scene.things]
        visible = [mask.copy() for mask in whole]
        for one, (top, left) in placed:
            mask = np.zeros(size, bool)
            height, width = one.alpha.shape
            there = np.s_[top : top + height, left : left + width]
            mask[there] = one.alpha >= 0.5
            alpha = one.alpha[..., None]
            canvas[there] = alpha * one.pixels + (1 - alpha) * canvas[there]
            for hidden in visible:
                hidden &= ~mask
            visible.append(mask)
            whole.append(mask.copy())
            named.append((f"{one.object_id}_pasted_{len(named)}", one.category))
        drawn = np.rint(canvas).clip(0, 255).astype(np.uint8)
        made = things.Scene(size, [], scene.blocked, scene.complete, pasted=True)
        coloured = not colours.is_monochrome(pixels)
        for (name, category), mask, full in zip(named, visible, whole, strict=True):
            share = mask.sum() / full.sum()
            if mask.any():
                thing = things.measure(
                    name, category, mask, masks.encode_mask(mask), drawn, coloured
                )
                thing.target = bool(share >= VISIBLE)
                made.things.append(thing)
        return drawn, made

    def _classes(self, scene: things.Scene, rng: np.random.Generator) -> list[str]:
        """Chooses the classes to paste, and repeats the first one often.

        Classes without annotations in the photograph's data set are excluded, because
        the photograph may show them. Blocked classes are excluded, because no word may
        name them.
        """
        allowed = [c for c in self._found if c in scene.complete - scene.blocked]
        if not allowed:
            return []
        weights = np.sqrt([len(self._found[c]) for c in allowed])
        weights /= weights.sum()
        first = allowed[rng.choice(len(allowed), p=weights)]
        present = sorted({t.category for t in scene.things} & set(allowed))
        if present and rng.random() < 0.35:
            first = present[rng.integers(len(present))]
        chosen = [first] * int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
        further = rng.choice([0, 1, 2], p=[0.4, 0.4, 0.2])
        chosen += [allowed[k] for k in rng.choice(len(allowed), further, p=weights)]
        return chosen

    def _cut(
        self, category: str, size: tuple[int, int], rng: np.random.Generator
    ) -> Cutout | None:
        found = self._found[category]
        for _ in range(_TRIES):
            instances, photograph, place = found[rng.integers(len(found))]
            cut = cut_out(instances, photograph, place)
            if cut:
                return _vary(cut, size, self._most_area, rng)
        return None


def cut_out(
    instances: source.Instances, photograph: source.Photograph, place: int
) -> Cutout | None:
    """Cuts an object out of its photograph; None if small, fragmented or truncated."""
    name, category, counts = instances.mask(photograph, place)
    if counts is None:
        return None
    mask = mask_util.decode({"size": list(photograph.size), "counts": counts})
    parts, number = ndimage.label(mask)
    largest = np.bincount(parts.ravel())[1:].max() if number else 0
    if mask.sum() < _LEAST_PIXELS or largest < 0.85 * mask.sum():
        return None
    if mask[0].any() or mask[:, 0].any() or mask[:, -1].any():
        return None
    try:
        pixels, _ = images.read_pixels(photograph.path)
    except (OSError, ValueError):
        return None
    if pixels.shape[:2] != photograph.size:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    crop = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Cutout(
        name,
        category,
        pixels[crop].astype(np.float32),
        mask[crop].astype(np.float32),
        bool(mask[-1].any()),
    )


def _vary(
    cut: Cutout, size: tuple[int, int], most_area: float, rng: np.random.Generator
) -> Cutout | None:
    """Scales and mirrors a cut-out, changes its brightness and feathers its edge."""
    height, width = cut.alpha.shape
    share = np.exp(rng.uniform(np.log(LEAST_AREA), np.log(most_area)))
    scale = np.sqrt(share * size[0] * size[1] / cut.alpha.sum())
    scale = np.clip(scale, *SCALE)
    scale = min(scale, 0.9 * size[0] / height, 0.9 * size[1] / width)
    shape = max(1, round(scale * height)), max(1, round(scale * width))
    mirrored = slice(None, None, -1 if rng.random() < 0.5 else 1)
    # Pixels outside the mask would show through the feathered edge.
    inner = _spread(cut.pixels, cut.alpha > 0.5)[:, mirrored]
    light = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
    alpha = np.pad(_resized(cut.alpha[:, mirrored], shape), 2)
    pixels = [np.pad(_resized(inner[..., k], shape), 2, "edge") for k in range(3)]
    alpha = ndimage.gaussian_filter(alpha, FEATHER)
    if alpha.shape[0] > size[0] or alpha.shape[1] > size[1] or not (alpha >= 0.5).any():
        return None
    return dataclasses.replace(
        cut, pixels=(np.stack(pixels, -1) * light).clip(0, 255), alpha=alpha
    )


def _resized(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes a float32 plane [h, w] with Pillow, which averages in downscaling."""
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR))


def _spread(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Gives pixels outside a mask the colour of the nearest pixel inside."""
    nearest = ndimage.distance_transform_edt(
        ~mask, return_distances=False, return_indices=True
    )
    return pixels[tuple(nearest)]


def _place(
    cut: list[Cutout], size: tuple[int, int], rng: np.random.Generator
) -> list[tuple[Cutout, tuple[int, int]]]:
    """Finds places where no object hides much of another, from back to front."""
    placed: list[tuple[Cutout, tuple[int, int]]] = []
    for one in cut:
        for _ in range(_TRIES):
            room = size[0] - one.alpha.shape[0], size[1] - one.alpha.shape[1]
            top = room[0] if one.grounded else int(rng.integers(room[0] + 1))
            trial = [*placed, (one, (top, int(rng.integers(room[1] + 1))))]
            trial.sort(key=lambda p: p[1][0] + p[0].alpha.shape[0])
            if _most_hidden(trial, size) <= _HIDES:
                placed = trial
                break
    return placed


def _most_hidden(placed, size: tuple[int, int]) -> float:
    """Returns the largest share of a pasted object that later ones hide."""
    above = np.zeros(size, bool)
    most = 0.0
    for one, (top, left) in reversed(placed):
        height, width = one.alpha.shape
        there = np.s_[top : top + height, left : left + width]
        mask = one.alpha >= 0.5
        most = max(most, float((mask & above[there]).sum() / mask.sum()))
        above[there] |= mask
    return most
