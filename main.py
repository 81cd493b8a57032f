"""Trains, scores or applies ReSTR.

python main.py --config=configs/shapes.py --workdir=runs/shapes
python main.py --config=configs/shapes.py --workdir=runs/shapes --mode=eval
python main.py --config=configs/shapes.py --workdir=runs/shapes --mode=predict \
    --image=a.png --expression="the large red circle" --output=out
"""

from absl import flags

from restr_jax.commands import modes

flags.adopt_module_key_flags(modes)  # For --help.
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval", "predict"], "Task to run; train also scores."
)
_IMAGE = flags.DEFINE_multi_string(
    "image", [], "predict: a file, folder, pattern or .jsonl."
)
_EXPRESSION = flags.DEFINE_multi_string(
    "expression", [], "predict: text that refers to the object."
)
_OUTPUT = flags.DEFINE_string("output", "out", "predict: folder for the masks.")


def main() -> None:
    """Runs one mode."""
    if _MODE.value == "train":
        modes.train()
    elif _MODE.value == "eval":
        modes.evaluate()
    else:
        _predict()


def _predict() -> None:
    modes.connect()
    # Imported late: data workers import this file too.
    from restr_jax.inference import predict

    predict.predict_workdir(
        modes.CONFIG.value,
        modes.WORKDIR.value,
        _IMAGE.value,
        _EXPRESSION.value,
        _OUTPUT.value,
    )


if __name__ == "__main__":
    modes.run(main)
