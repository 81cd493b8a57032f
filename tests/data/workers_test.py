"""Worker processes of the training stream."""

import dataclasses
import itertools
import multiprocessing
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from unittest import mock

import grain
import pytest
from absl import flags
from streams import assert_equal_batches, make_loader, take

from restr_jax.data import pipeline


def test_workers_resume_at_a_position_and_end_with_the_stream(shapes_dir):
    loader = make_loader(shapes_dir, 9)
    straight = take(loader, 13, seed=0)  # an epoch is ten batches
    before = set(multiprocessing.active_children())
    flags.FLAGS.unparse_flags()  # As in a script or notebook.
    stream = pipeline.train_batches(loader, 4, seed=0, start_step=9, num_workers=2)
    assert_equal_batches(straight[9:], list(itertools.islice(stream, 4)))
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    stream.close()
    assert not any(worker.is_alive() for worker in workers)


def test_workers_of_a_killed_trainer_end_too(shapes_dir):
    code = f"""
import multiprocessing, os, signal
from restr_jax.data import pipeline, splits, text
from restr_jax.data.loader import Loader
split = splits.open_split({shapes_dir!r}, "shapes", "train")
vocabulary = text.Vocabulary.from_sentences(split.sentences[0])
loader = Loader(split, vocabulary, (32, 32), "stretch", 10, 1)
stream = pipeline.train_batches(loader, 4, seed=0, start_step=0, num_workers=1)
next(stream)
print(*(p.pid for p in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trainer:
        worker = int(trainer.stdout.readline())
        assert trainer.wait(60) == -signal.SIGKILL
        # The worker keeps this pipe open as long as it lives.
        ended, _, _ = select.select([trainer.stdout], [], [], 30)
        if not ended:
            os.kill(worker, signal.SIGKILL)
    assert ended


@pytest.mark.parametrize(
    ("code", "remedy"), [(1, '`if __name__ == "__main__":`'), (-9, "memory ran out")]
)
def test_a_worker_that_ended_is_explained_by_its_exit_code(code, remedy):
    stream = mock.MagicMock(spec=grain.DatasetIterator)
    message = f"Worker process was terminated unexpectedly with exit code {code}."
    stream.__iter__.side_effect = RuntimeError(message)
    with pytest.raises(ChildProcessError, match=re.escape(remedy)):
        next(pipeline._explained(stream))


@dataclasses.dataclass(frozen=True)
class UsesJax(Sequence):
    source: Sequence

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        import jax

        jax.devices()
        return self.source[index]


def test_workers_do_not_touch_the_accelerator(shapes_dir, monkeypatch):
    loader = make_loader(shapes_dir, 1)
    expected = take(loader, 1)
    # Starting JAX's backends fails in workers started from here.
    monkeypatch.setenv("JAX_PLATFORMS", "none_such")
    assert_equal_batches(expected, take(loader, 1, num_workers=1))
    source = UsesJax(loader.split.source)
    split = dataclasses.replace(loader.split, source=source)
    with pytest.raises(RuntimeError, match="none_such"):
        take(dataclasses.replace(loader, split=split), 1, num_workers=1)


def test_only_grain_imports_jax_in_the_data_modules():
    code = (
        "import sys; from restr_jax.data import flip, preprocess, splits, text; "
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
