"""Exports to a folder for the Hugging Face Hub: weights with a model card."""

import json
import logging
import pathlib

from restr_jax.files import write_whole
from restr_jax.models import parameters
from restr_jax.workdir import hub, model_files
from restr_jax.workdir.model_files import Trained

logger = logging.getLogger(__name__)

_CARD = "README.md"
_TEMPLATE = """---
library_name: restr-jax
pipeline_tag: image-segmentation
tags:
- referring-image-segmentation
- jax
---

# {title}

Referring image segmentation with ReSTR (Kim et al., CVPR 2022) in JAX: an image and a
text in, the mask of that one thing out.

    pip install 'restr-jax[hub]'

```python
import restr_jax

model = restr_jax.load("hf://OWNER/NAME")
model.segment("photo.jpg", {example}).save("mask.png")
```

| | |
| --- | --- |
| knows | {domain} |
| trained on | {trained_on} |
| size | {count:,} parameters, float16 |
| input | images, resized to {width} x {height}; texts of up to {max_words} words |
| words | {words:,}, listed in vocabulary.txt |
| threshold | {threshold} |

<!-- Add `license:` to the lines at the top, and below: scores, limits, and the licences
of the training data. -->
"""


def export(trained: Trained, folder: pathlib.Path) -> None:
    """Writes config.json, model.safetensors, the words, card.json and README.md.

    An existing README.md in an earlier export is kept, since it is edited by hand.

    Args:
        trained: from `model_files.read`.
        folder: output folder.

    Raises:
        FileExistsError: if the folder, which is no export, has files of these names.
        ValueError: if a weight is too large for float16.
    """
    model_files.write(trained, folder, hub.WEIGHTS)
    if (folder / _CARD).exists():
        logger.info("kept the existing %s", folder / _CARD)
    else:
        write_whole(folder / _CARD, _describe(trained))
    logger.info("to upload it: hf upload OWNER/NAME %s", folder)


def _describe(trained: Trained) -> str:
    """Returns the model card; its front matter is the Hub's."""
    config, vocabulary = trained.config, trained.vocabulary
    height, width = config.model.image_size
    known = len(vocabulary.special)
    return _TEMPLATE.format(
        title=f"ReSTR: {trained.card.trained_on}",
        example=json.dumps(" ".join(vocabulary.words[known : known + 2])),
        domain=trained.card.domain,
        trained_on=trained.card.trained_on,
        count=parameters.count(trained.params),
        width=width,
        height=height,
        max_words=config.data.max_words,
        words=len(vocabulary) - known,
        threshold=float(config.eval.thresholds[0]),
    )
