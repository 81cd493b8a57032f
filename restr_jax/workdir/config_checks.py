"""Checks of a configuration before any work is done."""

import json
import pathlib

from flax.traverse_util import flatten_dict

from restr_jax.data.preprocess import RESIZE_MODES
from restr_jax.files import read_json, refuse_to_replace, unwritable, write_whole

_PARTS = ("vision", "language", "fusion", "decoder")

# Keys that a run may change when it resumes, or that only scoring reads.
_FREE_KEYS = (
    "eval.",
    "parallel",
    "fsdp",
    "accumulate_steps",
    "model.remat",
    "profile.",
    "log_every_steps",
    "keep_checkpoints",
    "checkpoint_every_steps",
    "optimizer.nonfinite",
    "data.skip_bad",
    "data.num_workers",
    "data.data_dir",
    "data.glove",
    "init_from",
)


# Keys with integer values of at least 1.
_COUNTS = (
    "batch_size",
    "accumulate_steps",
    "log_every_steps",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "data.max_words",
    "data.expressions_per_image",
    "model.patch_size",
    "model.vision.width",
    "model.vision.num_heads",
    "model.language.width",
    "model.language.num_heads",
    "model.fusion.width",
    "model.fusion.num_heads",
    "optimizer.total_steps",
    "eval.every_steps",
    "eval.images_per_device",
)


# Keys with integer values of at least 0.
_COUNTS_OR_NONE = ("data.min_word_count", "data.glove_words")


# Keys with numeric values: minimum, exclusive maximum, and an example.
_SHARES = (
    ("data.color_jitter", 0, 1, 0.3),
    ("optimizer.ema_decay", 0, 1, 0.999),
    ("loss.dice_weight", 0, float("inf"), 1.0),
    *((f"optimizer.lr_scale.{p}", 0, float("inf"), 0.1) for p in _PARTS),
)


def check_config(config) -> None:
    """Checks the values of a configuration, alone and against each other.

    Raises:
        ValueError: if one is invalid; the message has the key, its value and the fix.
    """
    flat = flatten_dict(config.to_dict(), sep=".")
    if not config.data.dataset:
        raise ValueError(
            f"config.data.dataset is {config.data.dataset!r}; name a built data set, "
            "as in --config.data.dataset=unc, or give a --config that does."
        )
    for key in (*_COUNTS, *_COUNTS_OR_NONE):
        least = 0 if key in _COUNTS_OR_NONE else 1
        if type(flat[key]) is not int or flat[key] < least:
            raise ValueError(
                f"config.{key} is {flat[key]!r}; it has to be an integer of at least "
                f"{least}."
            )
    dropout = config.data.word_dropout
    if type(dropout) not in (int, float) or not 0.0 <= dropout < 1.0:
        raise ValueError(
            f"config.data.word_dropout is {dropout!r}; it has to be a probability "
            "in [0, 1), such as 0.1."
        )
    for key, least, most, such_as in _SHARES:
        value = flat[key]
        if type(value) not in (int, float) or not least <= value < most:
            raise ValueError(
                f"config.{key} is {value!r}; it has to be a number in "
                f"[{least}, {most}), such as {such_as}."
            )
    sides = tuple(config.model.image_size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(
            f"config.model.image_size is {sides}; give height and width in pixels."
        )
    if config.data.resize not in RESIZE_MODES:
        raise ValueError(
            f"Unknown config.data.resize {config.data.resize!r}; it is one of "
            f"{RESIZE_MODES}."
        )
    patch_size = config.model.patch_size
    if any(side % patch_size for side in sides):
        raise ValueError(
            f"config.model.image_size {sides} is not a whole number of patches of "
            f"{patch_size} pixels (config.model.patch_size)."
        )
    if config.eval.every_steps % config.checkpoint_every_steps:
        raise ValueError(
            f"config.eval.every_steps ({config.eval.every_steps}) has to be a multiple "
            f"of config.checkpoint_every_steps ({config.checkpoint_every_steps}), so "
            "that every scored state is also saved."
        )
    thresholds = tuple(config.eval.thresholds)
    if not thresholds or not all(
        isinstance(t, float) and 0.0 < t < 1.0 for t in thresholds
    ):
        raise ValueError(
            f"config.eval.thresholds is {thresholds}; give at least one probability "
            "between 0 and 1."
        )
    if config.optimizer.nonfinite not in ("stop", "skip"):
        raise ValueError(
            f"config.optimizer.nonfinite is {config.optimizer.nonfinite!r}; it is "
            "'stop' or 'skip'."
        )


def claim_workdir(workdir: str, config) -> None:
    """Writes the configuration into a new workdir, or compares it with the old one.

    Raises:
        OSError: if the workdir cannot be written to, or has metrics without a
            configuration.
        ValueError: if the workdir belongs to another configuration.
    """
    path = pathlib.Path(workdir) / "config.json"
    if path.exists():
        check_same(workdir, config)
        return
    refuse_to_replace(path.with_name("metrics.jsonl"))  # Another program's.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, config.to_json(indent=2) + "\n")
    except OSError as error:
        raise unwritable(workdir, error) from error


def check_same(workdir: str, config) -> None:
    """Compares a configuration with that of a workdir.

    Raises:
        FileNotFoundError: if the workdir has none.
        ValueError: if they differ in a key that a run may not change.
    """
    path = pathlib.Path(workdir)
    if not (path / "config.json").exists():
        raise FileNotFoundError(
            f"{workdir} holds no trained model (no config.json); train one with "
            "`restr train` first, or give the --workdir of a trained model."
        )
    ours = flatten_dict(json.loads(config.to_json()), sep=".")
    theirs = flatten_dict(read_config(path), sep=".")
    differences = [
        f"  {key}: {theirs.get(key, 'absent')} there, {ours.get(key, 'absent')} now"
        for key in sorted(ours.keys() | theirs.keys())
        if _differs(key, ours, theirs) and not key.startswith(_FREE_KEYS)
    ]
    if differences:
        raise ValueError(
            f"{workdir} belongs to another configuration:\n"
            + "\n".join(differences)
            + "\nUse that configuration, or another --workdir."
        )


def _differs(key: str, ours: dict, theirs: dict) -> bool:
    if key not in theirs:
        # The key is newer than the workdir: 0, False or "" is the earlier behaviour.
        return bool(ours[key])
    return ours.get(key) != theirs[key]


def with_newer_keys(stored: dict, config: dict) -> dict:
    """Adds newer keys to a stored configuration, all turned off.

    Args:
        stored: the configuration of an older workdir.
        config: the current configuration, which gives the types of the values: 0,
            False or "" is the behaviour before the key.
    """
    added = dict(stored)
    for key, value in config.items():
        if isinstance(value, dict):
            added[key] = with_newer_keys(stored.get(key, {}), value)
        elif key not in stored:
            added[key] = type(value)()
    return added


def read_config(workdir: pathlib.Path) -> dict:
    """Reads the configuration that `claim_workdir` wrote.

    Raises:
        OSError: if there is none.
        ValueError: if it is damaged.
    """
    return read_json(
        workdir / "config.json",
        lambda content: isinstance(content, dict) and "model" in content,
        "Restore the file that the run wrote, or choose another --workdir.",
    )
