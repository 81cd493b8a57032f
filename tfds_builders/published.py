"""Published statistics of the data sets, for comparison with built ones.

Builds do not need them. A number that no source states is None.
"""

from collections.abc import Mapping

# {data set: {split: (images, objects, expressions)}}.
# UNC, UNC+, Gref: images and objects as the README of TensorFlow Datasets' `ref_coco`
# states them; expressions from CRIS (utils/dataset.py), OneRef, and for UNC+ train the
# logs of text_objseg_coco. UNC's sum of 142,210 is the `refer` notebook's. Gref google
# val was counted on the objects of Google_Refexp_toolbox.
# ReferIt: counted on the files of text_objseg.
# gRefCOCO: the expressions of each split are from memory; they add up to the 259,859
# that users counted in the released file (gRefCOCO's issue 6). Images: as the log of
# GSVA counts them. No source counts its images in train, or the objects of a split.
COUNTS: dict[str, dict[str, tuple[int | None, int | None, int | None]]] = {
    "unc": {
        "train": (16_994, 42_404, 120_624),
        "val": (1_500, 3_811, 10_834),
        "testA": (750, 1_975, 5_657),
        "testB": (750, 1_810, 5_095),
    },
    "unc_plus": {
        "train": (16_992, 42_278, 120_191),
        "val": (1_500, 3_805, 10_758),
        # Only one source states the numbers of expressions of these two.
        "testA": (750, 1_975, 5_726),
        "testB": (750, 1_798, 4_889),
    },
    "gref/google": {
        "train": (24_698, 44_822, 85_474),
        "val": (4_650, 5_000, 9_536),
    },
    "gref/umd": {
        "train": (21_899, 42_226, 80_512),
        "val": (1_300, 2_573, 4_896),
        "test": (2_600, 5_023, 9_602),
    },
    "referit/text_objseg": {
        "train": (8_995, 44_649, 54_134),
        "val": (1_000, 4_866, 5_842),
        "trainval": (9_995, 49_515, 59_976),
        "test": (9_994, 49_730, 60_105),
    },
    "grefcoco": {
        "train": (None, None, 209_344),
        "val": (1_500, None, 16_870),
        "testA": (750, None, 18_712),
        "testB": (750, None, 14_933),
    },
}

# Totals of the ReSTR paper that disagree with the published files.
PAPER_DISAGREES = {
    "unc": "142,209 expressions; the files hold 142,210",
    "gref/google": "104,560 expressions of 54,822 objects, which count the test set "
    "that was never released; train and val hold 49,822 objects",
    "referit/text_objseg": "19,894 images, 130,525 expressions and 96,654 masks; the "
    "files that its line of work trains on hold 19,989, 120,081 and 99,245",
}

# (least, most) words per expression in Table 2 of the ReSTR paper.
LENGTH_BUCKETS = {
    "gref": [(1, 5), (6, 7), (8, 10), (11, 20)],
    "unc": [(1, 2), (3, 3), (4, 5), (6, 20)],
    "unc_plus": [(1, 2), (3, 3), (4, 5), (6, 20)],
    "referit": [(1, 1), (2, 2), (3, 4), (5, 20)],
}
_OTHER_BUCKETS = [(1, 2), (3, 4), (5, 7), (8, 20)]


def length_buckets(dataset: str) -> list[tuple[int, int]]:
    """Returns the (least, most) words of Table 2 for "gref/google", "unc", ..."""
    return LENGTH_BUCKETS.get(dataset.split("/")[0], _OTHER_BUCKETS)


def differences(dataset: str, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Compares a built data set with its published counts.

    Args:
        dataset: "unc", "gref/google", ...
        counts: "images", "objects" and "expressions" of each built split.

    Returns:
        One line for each difference; no lines for a data set without published counts.
    """
    known = COUNTS.get(dataset)
    if known is None:
        return []
    said = [f"there is no split {split}" for split in known if split not in counts]
    for split, count in counts.items():
        if split not in known:
            said.append(f"split {split} is not published")
            continue
        columns = zip(("images", "objects", "expressions"), known[split], strict=True)
        said += [
            f"{split} has {count[what]:,} {what}, but {number:,} are published"
            for what, number in columns
            if number is not None and number != count[what]
        ]
    return said
