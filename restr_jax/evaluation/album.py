"""Chooses the scored expressions that are drawn, and draws them."""

import heapq
import pathlib
from typing import NamedTuple

import numpy as np

from restr_jax.data.splits import Split
from restr_jax.evaluation import figures
from restr_jax.evaluation.evaluator import Scored
from restr_jax.masks import probability, to_mask

Position = tuple[int, int]  # number of an image in its split, and of its expression


class _Ranked(NamedTuple):
    """An expression in a heap, the smallest rank first; no two have the same."""

    rank: tuple[float, int, int]
    scored: Scored


class Album:
    """Keeps what may be drawn while a split is scored.

    Best and worst cases, random ones, and random images with all their expressions.
    """

    def __init__(self, split: Split, number: int, seed: int):
        """Draws lots.

        Args:
            split: what is scored.
            number: pictures of each group.
            seed: of the random ones.
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
        """Takes an expression that was just scored."""
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
        """Draws what this process has of what is chosen.

        Args:
            folder: of the pictures.
            name: how their names begin.
            records: of all expressions of the split, at the threshold.
            threshold: probability at which masks are cut.

        Returns:
            A case for `gallery.add_cases` for each picture.
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
    figures.draw_prediction(
        path,
        image=scored.example.image,
        expression=record["expression"],
        patch_probability=probability(scored.patch_logits),
        mask=to_mask(scored.logits, threshold),
        truth=scored.example.masks[scored.index],
        iou=record["iou"],
    )


def _draw_several(path: pathlib.Path, inside: list[Scored], threshold: float) -> None:
    figures.draw_expressions(
        path,
        image=inside[0].example.image,
        expressions=[
            f"{s.records[0]['expression']} (IoU {s.records[0]['iou']:.2f})"
            for s in inside
        ],
        masks=[to_mask(s.logits, threshold) for s in inside],
    )
