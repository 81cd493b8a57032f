"""Progress bars."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(*arguments: Any, **options: Any) -> tqdm:
    """Returns a bar that is visible in a terminal and in a notebook.

    Args:
        *arguments: the iterable, if any.
        **options: options of tqdm.
    """
    if "ipykernel" in sys.modules:
        # A notebook is no terminal. It has one line for all bars: it cannot move up.
        return tqdm(*arguments, **{"disable": False, "position": 0} | options)
    return tqdm(*arguments, **{"disable": None} | options)
