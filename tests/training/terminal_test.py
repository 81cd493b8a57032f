import functools
import io
import logging
import re
import sys

import jax.numpy as jnp
import pytest
import screens
from absl import logging as absl_logging

from restr_jax.training.step_metrics import Window
from restr_jax.training.terminal import Terminal
from tfds_builders.inspection.progress import progress_bar


def absl_handler():
    return absl_logging.ABSLHandler(absl_logging.PythonFormatter())


def plain_handler():
    return logging.StreamHandler()


def train_on(stream, handler, monkeypatch, written):
    """Takes three steps, with a validation after the second."""
    with monkeypatch.context() as patch, screens.logged_steps():
        patch.setattr(sys, "stderr", stream)
        patch.setattr(logging.root, "handlers", [handler()])
        patch.setattr(absl_logging, "_warn_preinit_stderr", False)
        terminal, window = Terminal(0, 3, written, "val/oiou"), Window(3)
        for step in (1, 2, 3):
            with terminal.compiling():
                # Four expressions, with a loss of 2 / step each.
                sums = {"loss": jnp.float32(8 / step), "count": jnp.float32(4)}
            window.add(sums)
            terminal.step(step, window)
            if step == 2:
                with progress_bar(total=5, desc="val", leave=False) as bar:
                    bar.update(3)
                    logging.warning("a word is unknown")
                written["val/oiou"] = 0.25
        written["loss"] = 0.75
        terminal.close()
        logging.warning("the end")
        (after,) = logging.root.handlers
    return after


@pytest.mark.parametrize("handler", [absl_handler, plain_handler])
def test_bars_and_log_lines_have_lines_of_their_own(handler, monkeypatch):
    screen = screens.Screen()
    with screen.stream() as stream:
        after = train_on(stream, handler, monkeypatch, {})
    prefix = r"[IW]\d{4} [\d:.]+ \d+ \w+\.py:\d+\] " if handler is absl_handler else ""
    expected = [
        f"{prefix}compiling the training step",
        rf"{prefix}compiled in \d+\.\d s",
        f"{prefix}step 1: loss=2",
        f"{prefix}a word is unknown",
        r"training: 100%\|█+\| 3/3 \[.*, loss=0\.7500, oIoU=0\.2500\]",
        f"{prefix}the end",
    ]
    found = screen.lines()
    assert len(found) == len(expected), found
    for line, pattern in zip(found, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)
    assert not hasattr(after, "_handlers")  # The own handler is back.


def test_the_bar_shows_compiling_the_newest_loss_and_the_score(monkeypatch):
    often = functools.partial(progress_bar, mininterval=0, miniters=1)
    monkeypatch.setattr("restr_jax.training.terminal.progress_bar", often)
    screen = screens.Screen()
    with screen.stream() as stream:
        # A resumed run knows its last score.
        train_on(stream, plain_handler, monkeypatch, {"val/oiou": 0.125})
    drawn = screen.written()
    assert re.search(r"\rcompiling:   0%.*\rtraining:   0%", drawn, re.DOTALL)
    shown = re.findall(r"loss=([\d.]+), oIoU=([\d.]+)\]", drawn)
    assert list(dict.fromkeys(shown)) == [
        ("2.0000", "0.1250"),
        ("1.0000", "0.1250"),
        ("0.6667", "0.2500"),
        ("0.7500", "0.2500"),  # The mean of the last line of metrics.
    ]


def test_a_file_has_plain_lines_only(monkeypatch):
    file = io.StringIO()
    train_on(file, plain_handler, monkeypatch, {})
    lines = file.getvalue().splitlines()
    assert "\r" not in file.getvalue() and "\x1b" not in file.getvalue()
    assert lines[0] == "compiling the training step"
    assert lines[1].startswith("compiled in ")
    assert lines[2:] == ["step 1: loss=2", "a word is unknown", "the end"]


def test_the_newest_finished_loss_is_a_mean_of_expressions_and_never_waited_for():
    class Queued(float):
        def is_ready(self):
            return False

    window = Window(10)
    assert window.latest_loss() is None
    for loss, count in ((6.0, 3.0), (8.0, 2.0), (1.0, 0.0)):
        window.add({"loss": jnp.float32(loss), "count": jnp.float32(count)})
    assert window.latest_loss() == 1.0  # No valid expression: nothing to divide by.
    window._sums[2] = {"loss": Queued(9.0), "count": Queued(1.0)}
    assert window.latest_loss() == 4.0
