"""What every builder here stores: one record per image, with all its expressions.

A record:

    image       the encoded file, height x width x 3, uint8
    image_id    the source's name of the image
    objects     each referred object of the image that belongs to the split:
        object_id  the source's name of the object (its annotation)
        ref_id     the source's name of the referring task
        category   what the source says it is, or ""
        mask       COCO's compressed RLE (pycocotools) at the image's size
    expressions  each sentence for one of these objects:
        object   the object's place in `objects`
        sent_id  the source's name of the sentence
        sent     the cleaned sentence, which models are trained on
        raw      the sentence as it was typed
        kind     what sort of thinking it needs, where the source says so, or ""

A mask as RLE is exact, small, and decoded only when its object is drawn. Sentences are
not nested in their objects: a sequence inside a sequence is ragged, and TFDS writes
ragged features with TensorFlow only.

The metadata hold the sentences of every split in the order of the records, so that a
reader can plan an epoch, or make a vocabulary, without opening an image.
"""

import io
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from pycocotools import mask as mask_util


def features() -> tfds.features.FeaturesDict:
    """Returns the features of a record, as the module's docstring lists them."""
    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image_id": text(),
            "objects": tfds.features.Sequence(
                {
                    "object_id": text(),
                    "ref_id": text(),
                    "category": text(),
                    "mask": text(),
                }
            ),
            "expressions": tfds.features.Sequence(
                {
                    "object": tfds.features.Scalar(np.int32),
                    "sent_id": text(),
                    "sent": text(),
                    "raw": text(),
                    "kind": text(),
                }
            ),
        }
    )


def dataset_info(
    builder: tfds.core.GeneratorBasedBuilder, description: str, **kwargs
) -> tfds.core.DatasetInfo:
    """Returns the info of a data set of these records, in the order of generation."""
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=features(),
        # The sentences in the metadata follow the order of the records.
        disable_shuffling=True,
        metadata=tfds.core.MetadataDict(sentences={}),
        **kwargs,
    )


def numbered(
    builder: tfds.core.GeneratorBasedBuilder, split: str, records: Iterable[dict]
) -> Iterator[tuple[int, dict]]:
    """Gives records their keys and notes their sentences in the metadata.

    Raises:
        ValueError: if a sentence is empty.
    """
    sentences = builder.info.metadata["sentences"][split] = []
    for key, record in enumerate(records):
        sents = [e["sent"] for e in record["expressions"]]
        for sent in sents:
            if sent.strip() in ("", "."):
                raise ValueError(
                    f"Image {record['image_id']} of split {split!r} has an empty "
                    "expression; remove it from the annotations."
                )
        sentences.append(sents)
        yield key, record


def encode_mask(mask: np.ndarray) -> str:
    """Encodes a boolean mask [H, W] as COCO's compressed RLE."""
    rle = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return rle["counts"].decode("ascii")


def encode_png(image: np.ndarray) -> io.BytesIO:
    """Encodes a uint8 image [H, W, 3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    file.seek(0)
    return file
