"""The command `restr`: training, scoring and applying models, and the files for it."""

import argparse
import importlib
import logging
import sys
from collections.abc import Callable

from restr_jax import shipped
from restr_jax.files import in_one_line
from restr_jax.version import __version__
from tfds_builders.storage.paths import typed

# Commands with a parser of their own: the line of --help, and the module with `main`.
_OTHERS = {
    "train": ("Trains a model and scores it.", "restr_jax.commands.modes"),
    "eval": ("Scores a trained model.", "restr_jax.commands.modes"),
    "prepare": ("Builds data sets.", "tfds_builders.prepare"),
    "convert": ("Converts pretrained weights.", "restr_jax.pretrained.__main__"),
    "score": ("Scores stored predictions.", "restr_jax.evaluation.score"),
}


def main(arguments: list[str] | None = None) -> None:
    """Runs one subcommand; user errors print one line instead of a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    if not arguments:
        parser.print_help()
    elif arguments[0] in _OTHERS:
        _run_other(*arguments)
    else:
        _run(parser.parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="restr",
        description="Segments the part of an image that an expression refers to.",
        epilog="`restr COMMAND --help` has the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"restr {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_predict(commands)
    _add_serve(commands)
    _add_export(commands)
    for name, (what, _) in _OTHERS.items():
        commands.add_parser(name, help=what)
    return parser


def _run_other(name: str, *arguments: str) -> None:
    sys.argv = [f"restr {name}", *arguments]  # Its parser reads them there.
    importlib.import_module(_OTHERS[name][1]).main(sys.argv[0])


def _run(given: argparse.Namespace) -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("restr_jax").setLevel(logging.INFO)
    try:
        from restr_jax.commands import program_cache

        program_cache.keep_programs()
        given.run(given)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(in_one_line(error))


def _add(commands, name: str, what: str, run: Callable) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what)
    parser.set_defaults(run=run)
    parser.add_argument(
        "--model",
        default=shipped.DEFAULT,
        help="a workdir, a checkpoint, a folder of weights, hf://OWNER/NAME, or one of "
        f"the models of the package: {', '.join(shipped.NAMES)} (%(default)s)",
    )
    parser.add_argument(
        "--checkpoint", default="best", help="best, latest or a step (%(default)s)"
    )
    return parser


def _add_dtype(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "float32", "bfloat16"),
        help="type of the computation (auto: bfloat16 on GPU and TPU)",
    )


def _load(given: argparse.Namespace):
    from restr_jax import parallel
    from restr_jax.inference import segmenter

    parallel.warn_of_unused_accelerator()
    return segmenter.load(given.model, checkpoint=given.checkpoint, dtype=given.dtype)


def _add_predict(commands) -> None:
    parser = _add(commands, "predict", "Writes masks of images.", _predict)
    _add_dtype(parser)
    parser.add_argument(
        "images", nargs="+", help="files, folders, patterns, or .jsonl files"
    )
    parser.add_argument(
        "-e",
        "--expression",
        action="append",
        default=[],
        help="text that refers to the object",
    )
    parser.add_argument(
        "-o", "--output", default="out", help="output folder (%(default)s)"
    )
    parser.add_argument(
        "--threshold", type=float, help="minimum probability in a mask (the model's)"
    )


def _predict(given: argparse.Namespace) -> None:
    from restr_jax.inference import predict

    requests = predict.find_requests(given.images, given.expression)
    model = _load(given)
    threshold = model.threshold if given.threshold is None else given.threshold
    predict.predict(model, requests, given.output, threshold)


def _add_serve(commands) -> None:
    parser = _add(commands, "serve", "Shows masks in a browser.", _serve)
    _add_dtype(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 admits other machines (%(default)s)",
    )
    parser.add_argument("--port", type=int, default=7860, help="port (%(default)s)")
    parser.add_argument(
        "--share",
        action="store_true",
        help="make the page public by a link that lasts a week; it goes through "
        "Gradio's servers, with the images and texts of all visitors (off)",
    )


def _serve(given: argparse.Namespace) -> None:
    from restr_jax.demo import server

    server.check_port(given.host, given.port)
    server.serve(_load(given), given.host, given.port, given.share)


def _add_export(commands) -> None:
    parser = _add(commands, "export", "Exports a model for other programs.", _export)
    parser.add_argument(
        "--format",
        default="stablehlo",
        choices=("stablehlo", "onnx", "weights", "hub"),
        help="weights: a small folder for --model; hub: one with a model card for the "
        "Hugging Face Hub (%(default)s)",
    )
    parser.add_argument(
        "-o", "--output", type=typed, required=True, help="output folder"
    )


def _export(given: argparse.Namespace) -> None:
    import pathlib

    from restr_jax.workdir import model_files

    trained = model_files.read(given.model, given.checkpoint)
    output = pathlib.Path(given.output)
    if given.format == "weights":
        model_files.write(trained, output)
    elif given.format == "hub":
        from restr_jax.export import hub

        hub.export(trained, output)
    elif given.format == "onnx":
        from restr_jax.export import onnx

        onnx.export(trained, output)
    else:
        from restr_jax.export import stablehlo

        stablehlo.export(trained, output)


if __name__ == "__main__":
    main()
