"""Objects read from built records, to compare with the expected ones of testdata/."""

import io

import numpy as np
from PIL import Image

from restr_jax.data import preprocess


def masks_of(record):
    """Returns the masks of a record by the object's id."""
    with Image.open(io.BytesIO(record["image"])) as image:
        size = image.height, image.width
    objects = record["objects"]
    return {
        name.decode(): preprocess.decode_mask(rle, size)
        for name, rle in zip(objects["object_id"], objects["mask"], strict=True)
    }


def objects_of(record, text="sent"):
    """Yields the objects of a record; `text` may be "raw" instead."""
    objects, expressions = record["objects"], record["expressions"]
    for i, (name, mask) in enumerate(masks_of(record).items()):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        said = zip(expressions["object"], expressions[text], strict=True)
        yield {
            "ref_id": objects["ref_id"][i].decode(),
            "object_id": name,
            "image_id": record["image_id"].decode(),
            "area_px": int(mask.sum()),
            "bbox_xywh": [int(v) for v in (columns[0], rows[0], width, height)],
            "expressions": [sentence.decode() for o, sentence in said if o == i],
        }
