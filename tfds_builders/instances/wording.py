"""Chooses claims, balanced over kinds and objects, and puts them into words."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from tfds_builders.instances import (
    absent,
    claims,
    forms,
    groups,
    names,
    relations,
    unique,
)
from tfds_builders.instances.claims import Claim
from tfds_builders.instances.groups import LOOSE, STRICT, WIDER
from tfds_builders.instances.things import Scene

# Weight of a word of each level. The first class name and hypernym is the most common
# one, and its weight is multiplied by `_FIRST`.
_WEIGHTS = {STRICT: 1.5, WIDER: 0.6, LOOSE: 0.6}
_FIRST = {STRICT: 7, WIDER: 4, LOOSE: 1}
# Pronouns take neither an article nor an adjective.
_PRONOUNS = ("someone", "somebody")
# Shares of expressions with "the", "a", an opening and an ending; share of expressions
# with idle words among those that may have them.
_THE, _A, _OPENING, _ENDING, _IDLE = 0.42, 0.15, 0.07, 0.1, 0.2
# Rounds over the claims; each round may word a claim anew.
_REWORDINGS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """An expression: its text, the index of its object or -1, and its kind."""

    text: str
    target: int
    kind: str


def describe(
    scene: Scene,
    rng: np.random.Generator,
    most: int,
    nothing: float,
    loose: bool,
) -> list[Said]:
    """Makes the expressions of an image.

    Args:
        scene: the image.
        rng: source of all choices.
        most: maximum number of expressions.
        nothing: expected share of the expressions that fit no object.
        loose: also use names and additions whose truth is unknown, beside words that
            select the object.

    Returns:
        Distinct expressions; an empty list if no object can be selected.
    """
    found = groups.find(scene, loose)
    made: list[Claim] = []
    for group in found:
        if len(group.members) == 1:
            made += unique.of_group(scene, group, loose)
        else:
            made += _with_idle(scene, claims.of_group(scene, group), loose)
    one = groups.pronoun(scene)
    if one:
        made += _with_idle(scene, claims.of_group(scene, one, bare=True), loose)
    made += relations.of_scene(scene, found)
    fitting = _choose(made, rng, most, set())
    if not fitting:
        return []
    # A share of all expressions that will be kept.
    wanted = nothing * min(most, len(fitting) / (1 - nothing))
    number = int(wanted) + int(rng.random() < wanted % 1)
    if number:
        empty = absent.of_scene(scene, found, rng, loose)
        taken = {said.text for said in fitting}
        extra = _choose(list(empty), rng, number, taken)
        fitting = fitting[: max(1, most - len(extra))] + extra
    return fitting


def _with_idle(scene: Scene, made: Iterable[Claim], loose: bool) -> Iterator[Claim]:
    """Adds idle words to claims that select one of several objects, if `loose`."""
    for claim in made:
        said = unique.idle(scene.things[claim.target].category) if loose else ()
        yield dataclasses.replace(claim, idle=said)


def _choose(
    made: Iterable[Claim], rng: np.random.Generator, most: int, taken: set[str]
) -> list[Said]:
    """Takes claims from the kinds, and within a kind from the objects, in turn."""
    queues: dict[str, list[Claim]] = {}
    for claim in made:
        queues.setdefault(claim.kind, []).append(claim)
    ordered = [_by_object(queues[kind], rng) for kind in sorted(queues)]
    rng.shuffle(ordered)
    said: list[Said] = []
    seen = set(taken)
    for _ in range(_REWORDINGS):
        for row in itertools.zip_longest(*ordered):
            for claim in row:
                if len(said) == most:
                    return said
                text = claim and word(claim, rng)
                if text and text not in seen:
                    seen.add(text)
                    said.append(Said(text, claim.target, claim.kind))
    return said


def _by_object(made: list[Claim], rng: np.random.Generator) -> list[Claim]:
    """Shuffles claims such that all objects come equally early."""
    ranks: dict[int, int] = {}
    ranked = []
    for i in rng.permutation(len(made)):
        target = made[i].target
        ranks[target] = ranks.get(target, 0) + 1
        ranked.append((ranks[target], len(ranked), made[i]))
    return [claim for *_, claim in sorted(ranked, key=lambda r: r[:2])]


def word(claim: Claim, rng: np.random.Generator) -> str:
    """Returns a random wording of a claim."""
    form = claim.forms[rng.integers(len(claim.forms))]
    noun = _noun(claim.nouns, rng)
    if claim.anchors:
        form = form.replace("{a}", _anchor(claim.anchors, rng))
    if "{n}" not in form:
        return form
    definite = noun not in _PRONOUNS
    if not definite and (claim.adjective or not form.startswith("{n}")):
        noun, definite = "person", True
    noun = f"{claim.adjective} {noun}".strip()
    if claim.idle and definite and rng.random() < _IDLE:
        noun = claim.idle[rng.integers(len(claim.idle))].replace("{n}", noun)
    text = form.replace("{n}", noun)
    opened = definite and rng.random() < _OPENING
    if opened or (definite and rng.random() < _THE):
        text = f"the {text}"
    elif claim.kind == "name" and form == "{n}" and rng.random() < _A:
        text = names.article(text) + text
    if opened:
        text = f"{forms.OPENINGS[rng.integers(len(forms.OPENINGS))]} {text}"
    if rng.random() < _ENDING:
        text += f" {forms.ENDINGS[rng.integers(len(forms.ENDINGS))]}"
    return text


def _noun(nouns: tuple[tuple[str, str], ...], rng: np.random.Generator) -> str:
    seen: set[str] = set()
    weights = []
    for _, level in nouns:
        weights.append(_WEIGHTS[level] * (1 if level in seen else _FIRST[level]))
        seen.add(level)
    share = np.array(weights) / sum(weights)
    return nouns[rng.choice(len(nouns), p=share)][0]


def _anchor(anchors: tuple[tuple[str, str], ...], rng: np.random.Generator) -> str:
    noun = _noun(anchors, rng)
    if noun in _PRONOUNS:
        return noun
    return ("the ", "the ", "the ", names.article(noun), "")[rng.integers(5)] + noun
