"""Scores stored predictions of this or any other system in plain NumPy.

    python -m restr_jax.evaluation.score --predictions=runs/unc/eval/predictions \
        --data_dir=data
    python -m restr_jax.evaluation.score --predictions=theirs.jsonl --data_dir=data \
        --split=unc:val --convention=lavt

Predictions are JSON lines, one per expression, with

    sent_id          the data set's name of the expression
    mask             {"size": [height, width], "counts": COCO's RLE, compressed or as a
                     list of runs}, at the size of the image

and, optionally,

    split            "unc:val"; --split overrides it
    threshold        the probability threshold of the masks
    stretched_mask   the system's mask at the size of its own, stretched input; else the
                     mask is stretched to --stretch. --convention=lavt needs no other

or a folder of masks, SENT_ID.png or SENT_ID.npy, at the size of the image or, with
--convention=lavt, at that of --stretch. A folder of JSON lines is scored file by file.
The output has every number of results.json, and the
convention's headline score.
"""

import argparse
import dataclasses
import json
import logging
import pathlib
import sys

from restr_jax.data import splits
from restr_jax.evaluation import predictions, stored
from restr_jax.files import (
    in_one_line,
    output_file,
    refuse_to_replace,
    write_whole,
)
from tfds_builders.storage.paths import typed

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Convention:
    """The scoring convention of a group of papers.

    Attributes:
        headline: the score that its papers call IoU.
        stretched: whether masks are compared at the input size, with stretched ground
            truth, instead of at the image's own size.
        strictly: whether Prec@X counts IoU > X only, instead of IoU >= X.
        cut: the probability threshold of its masks.
    """

    headline: str
    stretched: bool
    strictly: bool
    cut: float


CONVENTIONS = {
    # RMI, RRN, CMSA, BRINet, CMPC, ReSTR: cumulative, at the image's own size.
    "restr": Convention("oiou", stretched=False, strictly=False, cut=0.5),
    # LAVT, MagNet, DMMI: cumulative, against truths stretched to 480 x 480.
    "lavt": Convention("oiou", stretched=True, strictly=False, cut=0.5),
    # CRIS, ETRIS, VLT, MCN: the mean over expressions, at the image's own size.
    "cris": Convention("miou", stretched=False, strictly=True, cut=0.35),
}


def score_file(
    path: pathlib.Path,
    data_dir: str,
    *,
    split: str = "",
    convention: str = "restr",
    stretch: tuple[int, int] = (480, 480),
) -> dict:
    """Scores one file of predictions.

    Args:
        path: file of JSON lines, or folder of masks.
        data_dir: folder of the built data sets.
        split: for example "unc:val"; if empty, the split named in the predictions.
        convention: one of `CONVENTIONS`.
        stretch: (height, width) of the additional comparison at a fixed size.

    Returns:
        A row as in results.json, as far as the file allows, and `headline`.

    Raises:
        FileNotFoundError: if the data set has not been built.
        ValueError: if the predictions do not match the split; see `stored`.
    """
    given = predictions.read(path)
    name = split or given[0].get("split", "")
    dataset, _, split_name = name.rpartition(":")
    if not dataset:
        raise ValueError(f"{path} names no split such as unc:val; add --split=unc:val.")
    how = CONVENTIONS[convention]
    cut = given[0].get("threshold")
    if cut not in (None, how.cut):
        logger.warning(
            "%s: masks have threshold %s, but convention %s expects %s; only the "
            "system that made them can apply another threshold",
            path,
            cut,
            convention,
            how.cut,
        )
    opened = splits.open_split(data_dir, dataset, split_name)
    try:
        row = stored.score(
            given, opened, stretch, strictly=how.strictly, stretched=how.stretched
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    scores = row["stretched"] if how.stretched else row
    return {
        "predictions": str(path),
        "dataset": dataset,
        "split": split_name,
        "threshold": cut,
        "convention": convention,
        "headline": scores[how.headline],
    } | row


def _is_report(path: pathlib.Path) -> bool:
    """Returns True for a file of rows that this command wrote."""
    try:
        return all("headline" in row for row in json.loads(path.read_bytes()))
    except (OSError, TypeError, ValueError, RecursionError):
        return False


def _side(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 480x480")
    return int(height), int(width)


def _parse(prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--predictions",
        type=typed,
        required=True,
        help="a .jsonl file, a folder of them, or a folder of masks",
    )
    parser.add_argument(
        "--data_dir", type=typed, default="data", help="folder of built data sets"
    )
    parser.add_argument("--split", default="", help='e.g. "unc:val", overrides theirs')
    parser.add_argument(
        "--convention", choices=CONVENTIONS, default="restr", help="scoring convention"
    )
    parser.add_argument(
        "--stretch", type=_side, default=(480, 480), help="HEIGHTxWIDTH, stretched size"
    )
    parser.add_argument("--output", help="JSON file to write the rows to")
    return parser.parse_args()


def main(prog: str = "python -m restr_jax.evaluation.score") -> None:
    """Runs the command; user errors print one line instead of a traceback."""
    logging.basicConfig(format="%(message)s")
    arguments = _parse(prog)
    try:
        output = output_file(arguments.output) if arguments.output else None
        if output and output.exists() and not _is_report(output):
            refuse_to_replace(output)
        rows = [
            score_file(
                file,
                arguments.data_dir,
                split=arguments.split,
                convention=arguments.convention,
                stretch=arguments.stretch,
            )
            for file in predictions.find(pathlib.Path(arguments.predictions))
        ]
        text = json.dumps(rows, indent=2)
        if output:
            write_whole(output, text + "\n")
    except (OSError, ValueError) as error:
        sys.exit(in_one_line(error))
    print(text)


if __name__ == "__main__":
    main()
