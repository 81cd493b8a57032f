"""The page of `restr serve`: type an expression and see its mask.

In a notebook, `restr_jax.demo.launch(restr_jax.load())` shows it below the cell.
"""

from typing import Any


def launch(model: Any, *, share: bool = False, **options: Any) -> Any:
    """Shows the page of a model in a notebook, Colab included; returns at once.

    Args:
        model: the segmenter, of `restr_jax.load`.
        share: makes the page public for a week, through a server of Gradio's.
        **options: see `restr_jax.demo.server.start`.

    Returns:
        The page, a `gradio.Blocks`; its `close()` ends it.

    Raises:
        ModuleNotFoundError: if Gradio is missing.
    """
    from restr_jax.demo import server  # Gradio takes seconds to import.

    return server.start(model, share=share, **options)
