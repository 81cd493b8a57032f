"""Converts published weights for `config.init_from`, or a workdir for PyTorch users.

    python -m restr_jax.pretrained --input=ViT-B_16.npz --output=vit_b16.npz
    python -m restr_jax.pretrained --export=released --workdir=runs/gref \
        --output=restr.safetensors

The first command prints the conversion of every array. The position table keeps its own
grid and is resized to the model's when training starts, unless --grid sets another.
"""

import argparse
import hashlib
import pathlib
import sys

from restr_jax.files import in_one_line, output_file
from restr_jax.models.positions import METHODS, Grid
from restr_jax.pretrained import convert, load, pixels, vit, weight_files
from restr_jax.version import __version__
from tfds_builders.storage.paths import typed


def _grid(text: str) -> Grid:
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a grid like 30x30")
    return int(rows), int(columns)


def _statistics(text: str) -> pixels.Statistics:
    try:
        return pixels.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parse(prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--input",
        type=typed,
        help="weights of a ViT or of the released ReSTR, in any layout",
    )
    what.add_argument(
        "--export", choices=["released"], help="layout in which to write a workdir"
    )
    parser.add_argument(
        "--output",
        required=True,
        help="the file to write: .npz, or .safetensors with --export",
    )
    parser.add_argument("--workdir", help="with --export: the workdir to write")
    parser.add_argument(
        "--format",
        choices=["auto", *convert.LAYOUTS],
        default="auto",
        help="layout of the input; auto detects it by the names",
    )
    parser.add_argument(
        "--positions",
        choices=METHODS,
        default="bilinear",
        help="interpolation for resizing the position table",
    )
    parser.add_argument(
        "--grid", type=_grid, help="resize the positions now, to ROWSxCOLUMNS patches"
    )
    parser.add_argument(
        "--source_grid", type=_grid, help="grid of the input's positions, if not square"
    )
    parser.add_argument(
        "--pixels",
        type=_statistics,
        default="half",
        metavar="NAME|MEAN/STD",
        help="pixel statistics that a ViT expects, folded into its patch "
        f"embedding: {', '.join(pixels.STATISTICS)} (%(default)s), or numbers as in "
        "0.485,0.456,0.406/0.229,0.224,0.225",
    )
    arguments = parser.parse_args()
    if bool(arguments.export) != bool(arguments.workdir):
        parser.error("--export and --workdir must be given together")
    return arguments


def _convert(arguments: argparse.Namespace) -> None:
    output = output_file(arguments.output, ".npz")
    arrays = weight_files.read_arrays(arguments.input)
    layout = arguments.format
    if layout == "auto":
        layout = convert.recognise(arrays)
    converted = convert.convert(arrays, layout, arguments.source_grid)
    print(convert.table(converted.rows))
    weights = load.Weights(
        arguments.input,
        pixels.fold(converted.arrays, arguments.pixels),
        converted.grid,
        arguments.positions,
        converted.num_heads,
    ).on_grid(arguments.grid or converted.grid)
    with open(arguments.input, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    notes = {
        "source": pathlib.Path(arguments.input).name,
        "sha256": digest,
        "layout": layout,
        "pixels": arguments.pixels._asdict(),
        "version": __version__,
    }
    load.write(output, weights, notes)
    values = sum(x.size for x in weights.arrays.values())
    print(
        f"\n{arguments.input} has the layout of {layout}. Wrote {values:,} values in "
        f"{len(weights.arrays)} parameters to {output}, with positions for "
        f"{vit.show(weights.grid)} patches.\n"
        "A model without a class token skips the token and its position."
    )


def main(prog: str = "python -m restr_jax.pretrained") -> None:
    """Runs the command; user errors print one line instead of a traceback."""
    arguments = _parse(prog)
    try:
        if arguments.export:
            values = convert.export(arguments.workdir, arguments.output)
            print(f"Wrote {values:,} values to {arguments.output}.")
        else:
            _convert(arguments)
    except (OSError, ValueError) as error:
        sys.exit(in_one_line(error))


if __name__ == "__main__":
    main()
