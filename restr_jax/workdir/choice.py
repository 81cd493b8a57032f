"""Chooses checkpoints by a word or by their steps."""

import pathlib

_WORDS = ("latest", "best", "all")


def is_choice(which: str) -> bool:
    """Returns True for all that `choose` reads, and False for any other folder.

    A folder called "best" is given as "./best".
    """
    return which in _WORDS or all(step.isdecimal() for step in which.split(","))


def choose(
    which: str, steps: list[int], best: int | None, folder: pathlib.Path
) -> list[int]:
    """Returns the steps chosen by ``latest``, ``best``, ``all`` or a list.

    Args:
        which: the choice.
        steps: the steps of all checkpoints, in ascending order.
        best: the step with the best score, or None without scores.
        folder: the folder of the checkpoints, for messages.

    Raises:
        FileNotFoundError: if a chosen checkpoint does not exist.
    """
    if not steps:
        raise FileNotFoundError(
            f"There is no checkpoint in {folder}; train "
            "first, or give the --workdir of a trained model."
        )
    if which == "all":
        return steps
    if which == "latest":
        return steps[-1:]
    if which == "best":
        if best is None:
            raise FileNotFoundError(
                f"No checkpoint of {steps} was scored on a validation split; "
                "choose latest, all or a step."
            )
        return [best]
    try:
        wanted = [int(step) for step in which.split(",")]
    except ValueError:
        wanted = []
    missing = [step for step in wanted if step not in steps]
    if not wanted or missing:
        raise FileNotFoundError(
            f"Unknown checkpoints {which!r}; choose from {steps}, latest, best and all."
        )
    return wanted
