"""Trains, scores or applies ReSTR.

python main.py --config=configs/shapes.py --workdir=runs/shapes
python main.py --config=configs/shapes.py --workdir=runs/shapes --mode=eval
python main.py --config=configs/shapes.py --workdir=runs/shapes --mode=predict \
    --image=a.png --expression="the large red circle" --output=out
"""

import logging
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment, as configs/gref.py or configs/gref.py:tiny."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of checkpoints and results.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval", "predict"], "What to do; train also scores."
)
_IMAGE = flags.DEFINE_multi_string("image", [], "predict: an image file.")
_EXPRESSION = flags.DEFINE_multi_string("expression", [], "predict: what to segment.")
_OUTPUT = flags.DEFINE_string("output", "out", "predict: folder for the masks.")


def main(argv: list[str]) -> None:
    """Runs one mode; what the user can mend ends in one line instead of a trace."""
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {argv[1:]}")
    # Imported late: data workers import this file too, and need none of it.
    from restr_jax import predict, train
    from restr_jax.evaluation import score_run

    # Our own progress, and of the libraries only what is wrong.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("restr_jax").setLevel(logging.INFO)
    config, workdir = _CONFIG.value, _WORKDIR.value
    try:
        if _MODE.value == "train":
            train.train_and_evaluate(config, workdir)
        elif _MODE.value == "eval":
            score_run.score_workdir(config, workdir)
        else:
            predict.predict(
                config, workdir, _IMAGE.value, _EXPRESSION.value, _OUTPUT.value
            )
    except (FileNotFoundError, FloatingPointError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a config key that does not exist is said plainly."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError) as error:
        key = str(error).strip("'\"")
        sys.exit(
            f"ValueError: There is no config key {key!r}; configs/common.py lists "
            "every key with its meaning."
        )


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)
