"""Scenes of coloured shapes, and expressions that refer to exactly one of them.

Each expression starts as a rule that selects objects. Only rules that select one object
are kept and put into words, so every expression is unambiguous by construction. The
kinds are:

* attribute: size, colour and shape suffice ("large red circle");
* superlative: several objects have these attributes, and the expression selects the
  extreme one ("leftmost square");
* relation: several objects have these attributes, and the position relative to a second
  object selects one ("the circle left of the blue triangle").
"""

import dataclasses
import itertools

import numpy as np

COLORS = {
    "red": (220, 50, 47),
    "green": (64, 160, 60),
    "blue": (50, 90, 210),
    "yellow": (230, 200, 40),
}
SHAPES = ("circle", "square", "triangle")
# Radius as a share of the scene's side: (least, most).
SIZES = {"small": (0.13, 0.155), "large": (0.21, 0.25)}
DIRECTIONS = {
    # word: (axis of the centre (0 is x), sign of "more so")
    "left": (0, -1),
    "right": (0, 1),
    "above": (1, -1),
    "below": (1, 1),
}
SUPERLATIVES = {
    "leftmost": "left",
    "rightmost": "right",
    "topmost": "above",
    "lowest": "below",
}
RELATIONS = {
    "left of": "left",
    "right of": "right",
    "above": "above",
    "below": "below",
}
# Two positions closer than this share of the scene's side are a tie. Ties make
# expressions ambiguous, so no expression is made from one.
MARGIN = 0.06
KINDS = ("attribute", "superlative", "relation")


@dataclasses.dataclass(frozen=True)
class Shape:
    """One object of a scene; lengths are pixels.

    Attributes:
        shape: one of SHAPES.
        color: one of COLORS.
        size: one of SIZES.
        center: (x, y) of its centre.
        radius: half its width.
    """

    shape: str
    color: str
    size: str
    center: tuple[float, float]
    radius: float

    def mask(self, side: int) -> np.ndarray:
        """Returns its pixels as a boolean array [side, side]."""
        y, x = np.mgrid[:side, :side] + 0.5
        x, y = x - self.center[0], y - self.center[1]
        if self.shape == "circle":
            return x**2 + y**2 <= self.radius**2
        if self.shape == "square":
            return np.maximum(abs(x), abs(y)) <= 0.9 * self.radius
        inside = (y <= 0.8 * self.radius) & (y >= -self.radius)
        return inside & (abs(x) <= (y + self.radius) / 1.8)


@dataclasses.dataclass(frozen=True)
class Expression:
    """An expression, its object and the kind of reasoning it needs."""

    words: str
    target: int
    kind: str


@dataclasses.dataclass(frozen=True)
class Scene:
    """An RGB image [side, side, 3] uint8, its objects, and expressions for them."""

    image: np.ndarray
    shapes: list[Shape]
    expressions: list[Expression]


def make_scene(rng: np.random.Generator, side: int, max_expressions: int) -> Scene:
    """Draws a scene at random, with expressions of all kinds in equal share.

    Args:
        rng: source of all choices.
        side: height and width in pixels.
        max_expressions: maximum number of expressions.
    """
    while True:
        shapes = _place_shapes(rng, side)
        expressions = _choose(rng, _all_expressions(shapes, side), max_expressions)
        if expressions:
            return Scene(_draw(rng, shapes, side), shapes, expressions)


def _place_shapes(rng: np.random.Generator, side: int) -> list[Shape]:
    """Places three or four shapes that do not touch, in few colors that repeat."""
    colors = rng.choice(list(COLORS), size=3, replace=False)
    shapes: list[Shape] = []
    wanted = rng.integers(3, 5)
    for _ in range(50):
        size = str(rng.choice(list(SIZES)))
        radius = side * rng.uniform(*SIZES[size])
        center = tuple(float(c) for c in rng.uniform(radius + 1, side - radius - 1, 2))
        gaps = (np.hypot(*np.subtract(center, s.center)) - s.radius for s in shapes)
        if all(gap > 1.15 * radius + 1 for gap in gaps):
            shape, color = str(rng.choice(SHAPES)), str(rng.choice(colors))
            placed = Shape(shape, color, size, center, float(radius))
            # Corners reach farther than the radius.
            if not any((placed.mask(side) & s.mask(side)).any() for s in shapes):
                shapes.append(placed)
        if len(shapes) == wanted:
            break
    return shapes


def _draw(rng: np.random.Generator, shapes: list[Shape], side: int) -> np.ndarray:
    """Paints the shapes on a plain or noisy background."""
    ground = rng.integers(20, 110)
    image = np.full((side, side, 3), float(ground))
    if rng.random() < 0.5:
        image += rng.normal(0.0, 18.0, image.shape)
    for shape in shapes:
        tint = np.array(COLORS[shape.color]) + rng.normal(0.0, 8.0, 3)
        image[shape.mask(side)] = tint
    return np.clip(image, 0, 255).astype(np.uint8)


def _nouns(shape: Shape) -> list[str]:
    """Lists all names of a shape by its attributes, without its position."""
    sizes, colors = ("", shape.size), ("", shape.color)
    nouns = itertools.product(sizes, colors, (shape.shape, "object"))
    return [" ".join(filter(None, words)) for words in nouns]


def _all_expressions(shapes: list[Shape], side: int) -> list[Expression]:
    """Lists every unambiguous expression of the scene, each with its kind."""
    admitted: dict[str, list[int]] = {}
    for i, shape in enumerate(shapes):
        for noun in _nouns(shape):
            admitted.setdefault(noun, []).append(i)
    single = {noun: who[0] for noun, who in admitted.items() if len(who) == 1}
    several = {noun: who for noun, who in admitted.items() if len(who) > 1}
    margin = MARGIN * side

    found = [Expression(noun, target, "attribute") for noun, target in single.items()]
    for noun, who in several.items():
        for word, direction in SUPERLATIVES.items():
            axis, sign = DIRECTIONS[direction]
            order = sorted(who, key=lambda i: -sign * shapes[i].center[axis])
            lead = shapes[order[0]].center[axis] - shapes[order[1]].center[axis]
            if sign * lead > margin:
                found.append(Expression(f"{word} {noun}", order[0], "superlative"))
    for (noun, who), (anchor_noun, anchor) in itertools.product(
        several.items(), single.items()
    ):
        if anchor in who:
            continue
        for word, direction in RELATIONS.items():
            axis, sign = DIRECTIONS[direction]
            origin = shapes[anchor].center[axis]
            leads = [sign * (shapes[i].center[axis] - origin) for i in who]
            clear = all(abs(lead) > margin for lead in leads)
            if clear and sum(lead > 0 for lead in leads) == 1:
                target = who[int(np.argmax(leads))]
                words = f"{noun} {word} the {anchor_noun}"
                found.append(Expression(words, target, "relation"))
    return found


def _choose(
    rng: np.random.Generator, found: list[Expression], most: int
) -> list[Expression]:
    """Takes expressions from the kinds, and within a kind from the objects, in turn."""
    queues = []
    for kind in KINDS:
        of_kind = [e for e in found if e.kind == kind]
        order = rng.permutation(len(of_kind))
        ranks: dict[int, int] = {}
        ranked = []
        for i in order:
            target = of_kind[i].target
            ranks[target] = ranks.get(target, 0) + 1
            ranked.append((ranks[target], len(ranked), of_kind[i]))
        queues.append([e for *_, e in sorted(ranked, key=lambda r: r[:2])])
    if not all(queues):
        return []
    chosen = []
    for row in itertools.zip_longest(*queues):
        chosen += [e for e in row if e is not None]
    chosen = chosen[:most]
    article = rng.random(len(chosen)) < 0.5
    return [
        dataclasses.replace(e, words=f"the {e.words}") if the else e
        for e, the in zip(chosen, article, strict=True)
    ]
