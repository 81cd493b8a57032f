"""Pictures of a few fixed expressions of the validation split."""

import base64
import io

import numpy as np
from PIL import Image

from restr_jax.data.loader import Example
from restr_jax.data.splits import Split
from restr_jax.drawing import overlay
from restr_jax.parallel import Parallel

_NUMBER = 4
_SIDE = 320  # pixels of one image; larger ones are reduced


class Cases:
    """Draws the same expressions in each validation: image, truth and prediction."""

    def __init__(self, split: Split, seed: int):
        """Selects an expression of each of four images.

        Args:
            split: the validation split.
            seed: seed of the selection; a resumed run selects the same.
        """
        rng = np.random.default_rng(seed)
        counts = list(map(len, split.sentences))
        images = rng.permutation(np.flatnonzero(counts))[:_NUMBER].tolist()
        chosen = [(i, int(rng.integers(counts[i]))) for i in images]
        self._places = {position: place for place, position in enumerate(chosen)}
        self._titles = [split.sentences[i][k] for i, k in chosen]
        self._name = split.name
        self._drawn: dict[int, bytes] = {}

    def __contains__(self, position: tuple[int, int]) -> bool:
        """Returns whether an expression is one of the cases.

        Args:
            position: index of the image in the split, of the expression in the image.
        """
        return position in self._places

    def draw(self, position: tuple[int, int], example: Example, k: int, mask) -> None:
        """Draws a case; threads may call it.

        Args:
            position: position of the case.
            example: its image.
            k: index of its expression in the example.
            mask: the prediction, boolean at the image's own size.
        """
        image, truth = example.image, example.masks[k]
        panels = [image, overlay.draw(image, [truth]), overlay.draw(image, [mask])]
        picture = Image.fromarray(np.concatenate(panels, axis=1))
        picture.thumbnail((len(panels) * _SIDE, _SIDE))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=90)
        self._drawn[self._places[position]] = file.getvalue()

    def collect(self, parallel: Parallel) -> dict[str, tuple[str, bytes]]:
        """Collects the pictures that all processes drew since the last call.

        Args:
            parallel: the processes, each of which has to call this.

        Returns:
            Title and JPEG file of each picture, by its tag in TensorBoard.
        """
        own = [
            [place, base64.b64encode(x).decode()] for place, x in self._drawn.items()
        ]
        self._drawn = {}
        return {
            f"{self._name}/case-{place + 1}": (self._titles[place], base64.b64decode(x))
            for place, x in sorted(parallel.gather(own))
        }
