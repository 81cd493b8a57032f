"""What every builder here stores: one record per image, with all its expressions.

A record:

    image       the encoded file, height x width x 3, uint8
    image_id    the source's name of the image
    objects     the objects of the image that belong to the split; `instances` also
                stores those that no expression fits, as alternatives in scoring:
        object_id  the source's name of the object (its annotation)
        ref_id     the source's name of the referring task
        category   what the source says it is, or ""
        mask       COCO's compressed RLE (pycocotools) at the image's size
    expressions  each sentence for one of these objects, or for none:
        object   the object's place in `objects`, or -1 where nothing in the image
                 fits; such an expression has no entry in `objects`
        sent_id  the source's name of the sentence
        sent     the cleaned sentence, which models are trained on
        raw      the sentence as it was typed
        kind     what sort of thinking it needs, where the source says so, or "";
                 "nothing" for an expression that fits nothing

A mask as RLE is exact, small, and decoded only when its object is drawn. Sentences are
not nested in their objects: a sequence inside a sequence is ragged, and TFDS writes
ragged features with TensorFlow only.

The metadata:

    image_source  whose names the image ids are, so that sets can be compared
    sentences     the sentences of every record, by split
    image_ids     the image of every record, by split
    num_objects   the number of objects of every record, by split
    skipped       what --skip_bad left out, and what `instances` was built without,
                  a line each

They follow the order of the records, so that a reader can plan an epoch, make a
vocabulary or find shared images without opening one.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow_datasets as tfds


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
    builder: tfds.core.GeneratorBasedBuilder,
    description: str,
    image_source: str,
    **kwargs,
) -> tfds.core.DatasetInfo:
    """Returns the info of a data set of these records, in the order of generation."""
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=features(),
        # The lists in the metadata follow the order of the records.
        disable_shuffling=True,
        metadata=tfds.core.MetadataDict(
            image_source=image_source,
            sentences={},
            image_ids={},
            num_objects={},
            skipped=[],
        ),
        **kwargs,
    )


def numbered(
    builder: tfds.core.GeneratorBasedBuilder, split: str, records: Iterable[dict]
) -> Iterator[tuple[int, dict]]:
    """Gives records their keys and lists them in the metadata."""
    metadata = builder.info.metadata
    sentences = metadata["sentences"][split] = []
    image_ids = metadata["image_ids"][split] = []
    num_objects = metadata["num_objects"][split] = []
    for key, record in enumerate(records):
        sentences.append([e["sent"] for e in record["expressions"]])
        image_ids.append(record["image_id"])
        num_objects.append(len(record["objects"]))
        yield key, record
