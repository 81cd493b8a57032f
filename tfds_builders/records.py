"""The record that every builder stores: one image with all its expressions.

A record:

    image       the encoded file, height x width x 3, uint8
    image_id    the source's name of the image
    objects     the objects of the image that belong to the split; `instances` also
                stores objects without expressions, as alternatives in scoring:
        object_id  the source's name of the object (its annotation)
        ref_id     the source's name of the referring task
        category   the source's category of the object, or ""
        mask       COCO's compressed RLE (pycocotools) at the image's size
    expressions  the expressions, each for one of these objects or for none:
        object   the index of the object in `objects`, or -1 if no object in the
                 image fits
        sent_id  the source's name of the expression
        sent     the cleaned expression, which models are trained on
        raw      the expression as it was typed
        kind     the kind of reasoning it needs, if the source gives one, or "";
                 "nothing" for an expression that fits no object

An RLE mask is exact and small, and decoded only when its object is drawn. Expressions
are not nested in their objects. A sequence inside a sequence is ragged, and TFDS writes
ragged features only with TensorFlow.

The metadata:

    image_source  the source that names the images; ids of one source are comparable
    sentences     the expressions of every record, by split
    image_ids     the image of every record, by split
    num_objects   the number of objects of every record, by split
    fit_nothing   the number of expressions that fit nothing, by split
    skipped       one line for each problem that --skip_bad skipped, and for each
                  count of inputs that `instances` skipped

The lists follow the order of the records. A reader can thus plan an epoch, make a
vocabulary or find shared images without opening a record.
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
            fit_nothing={},
            skipped=[],
        ),
        **kwargs,
    )


def numbered(
    builder: tfds.core.GeneratorBasedBuilder, split: str, records: Iterable[dict]
) -> Iterator[tuple[int, dict]]:
    """Numbers the records and lists them in the metadata."""
    metadata = builder.info.metadata
    sentences = metadata["sentences"][split] = []
    image_ids = metadata["image_ids"][split] = []
    num_objects = metadata["num_objects"][split] = []
    metadata["fit_nothing"][split] = 0
    for key, record in enumerate(records):
        sentences.append([e["sent"] for e in record["expressions"]])
        image_ids.append(record["image_id"])
        num_objects.append(len(record["objects"]))
        nothing = sum(e["object"] < 0 for e in record["expressions"])
        metadata["fit_nothing"][split] += nothing
        yield key, record
