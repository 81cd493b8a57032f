"""Selects scored expressions and draws figures of them."""

import heapq
import pathlib
from typing import NamedTuple

import numpy as np

from restr_jax.data.masks import probability, to_mask
from restr_jax.data.splits import Split
from restr_jax.drawing import panels
from restr_jax.evaluation.evaluator import Scored

Position = tuple[int, int]  # index of the image in its split, of the expression


class _Ranked(NamedTuple):
    """A heap entry, smallest rank first; ranks are unique."""

    rank: tuple[float, int, int]
    scored: Scored


class Album:
    """Collects candidates for figures while a split is scored.

    Candidates are the best and worst cases, random cases, and random images with all
    their expressions.
    """

    def __init__(self, split: Split, number: int, seed: int):
        """Draws the random samples.

        Args:
            split: the split to score.
            number: figures per group.
            seed: seed of the random samples.
        """
        rng = np.random.default_rng(seed)
        counts = list(map(len, split.sentences))
        every = [(i, k) for i, count in enumerate(counts) for k in range(count)]
        several = np.flatnonzero(np.array(counts) > 1)
        lots = rng.permutation(len(every))[:number]
        self._number = number
        self._random = {every[i] for i in lots}
        self._several = set(rng.permutation(several)[:number].tolist())
        self._kept: dict[Position, Scored] = {}
        self._best: list[_Ranked] = []
        self._worst: list[_Ranked] = []

    def add(self, scored: Scored) -> None:
        """Considers a newly scored expression."""
        position, iou = scored.position, scored.records[0]["iou"]
        if position in self._random or position[0] in self._several:
            self._kept[position] = scored
        image, place = position
        ranks = (iou, image, place), (-iou, -image, -place)
        for heap, rank in zip((self._best, self._worst), ranks, strict=True):
            heapq.heappush(heap, _Ranked(rank, scored))
            if len(heap) > self._number:
                heapq.heappop(heap)

    def draw(
        self,
        folder: pathlib.Path,
        name: str,
        records: dict[Position, dict],
        threshold: float,
    ) -> list[dict]:
        """Draws the selected expressions that this process scored.

        Args:
            folder: output folder of the figures.
            name: prefix of their file names.
            records: records of all expressions of the split, at the threshold.
            threshold: probability threshold of the masks.

        Returns:
            The cases of the figures, for `gallery.add_cases`.
        """
        extremes = [ranked.scored for ranked in (*self._best, *self._worst)]
        held = self._kept | {scored.position: scored for scored in extremes}
        ranked = sorted(
            records, key=lambda position: (records[position]["iou"], position)
        )
        groups = {
            "worst": ranked[: self._number],
            "best": ranked[::-1][: self._number],
            "random": sorted(self._random),
        }
        cases = []
        for group, positions in groups.items():
            for position in positions:
                if position in held:
                    file = f"{name}-{group}-{position[0]:06d}-{position[1]:02d}.png"
                    _draw_one(folder / file, held[position], threshold)
                    cases.append(_case(file, group, records[position]))
        for image in sorted(self._several):
            inside = [held[p] for p in sorted(held) if p[0] == image]
            if inside:
                file = f"{name}-several-{image:06d}.png"
                _draw_several(folder / file, inside, threshold)
                of_image = [records[s.position] for s in inside]
                cases += [_case(file, "several", record) for record in of_image]
        return cases


def _case(file: str, group: str, record: dict) -> dict:
    case = {key: record[key] for key in ("expression", "length", "iou")}
    return {"file": file, "group": group} | case


def _draw_one(path: pathlib.Path, scored: Scored, threshold: float) -> None:
    record = scored.records[0]
    panels.draw_prediction(
        path,
        image=scored.example.image,
        expression=record["expression"],
        patch_probability=probability(scored.patch_logits),
        mask=to_mask(scored.logits, threshold),
        truth=scored.example.masks[scored.index],
        iou=record["iou"],
    )


def _draw_several(path: pathlib.Path, inside: list[Scored], threshold: float) -> None:
    panels.draw_expressions(
        path,
        image=inside[0].example.image,
        expressions=[
            f"{s.records[0]['expression']} (IoU {s.records[0]['iou']:.2f})"
            for s in inside
        ],
        masks=[to_mask(s.logits, threshold) for s in inside],
    )
