"""Training and scoring by the flags of the command line, for main.py and `restr`."""

import os
import signal
import sys
from collections.abc import Callable

from absl import flags
from ml_collections import config_flags

from restr_jax import command_line

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file or name, such as configs/gref.py, gref or gref:tiny."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of checkpoints and results.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Run as one of several cooperating processes."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "distributed: HOST:PORT of the first process, unless the cluster provides it.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "distributed: number of processes, likewise."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "distributed: index of this process from 0, likewise."
)
_LOCAL_DEVICE_IDS = flags.DEFINE_list(
    "local_device_ids",
    None,
    "distributed: GPUs of this process, such as 0,1; SLURM and Open MPI choose one.",
)
flags.register_validator(
    "local_device_ids",
    lambda ids: ids is None or (ids and all(i.isdecimal() for i in ids)),
    message="give integers of at least 0, as in --local_device_ids=0,1",
)


def main(prog: str) -> None:
    """Runs `restr train` or `restr eval` with the arguments in ``sys.argv``."""
    for flag in flags.FLAGS.get_key_flags_for_module(__name__):
        flags.FLAGS.register_key_flag_for_module(prog, flag)  # For --help.
    run({"restr train": train, "restr eval": evaluate}[prog])


def run(mode: Callable[[], None]) -> None:
    """Runs a mode with the flags of the command line, see `command_line.run`."""
    flags.mark_flags_as_required(["config", "workdir"])
    command_line.run(mode)


def train() -> None:
    """Trains, and scores at the end."""
    signal.signal(signal.SIGTERM, _stop_starting)
    # Imported late: data workers import main.py too and need none of these modules.
    connect()
    from restr_jax.train import train_and_evaluate
    from restr_jax.training import preemption

    try:
        train_and_evaluate(CONFIG.value, WORKDIR.value)
    except preemption.PreemptedError as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(preemption.EXIT_CODE)


def evaluate() -> None:
    """Scores the model of a workdir."""
    connect()
    from restr_jax.evaluation import score_run

    score_run.score_workdir(CONFIG.value, WORKDIR.value)


def connect() -> None:
    """Connects the cooperating processes, if there are several."""
    import jax

    if _DISTRIBUTED.value:
        own = _LOCAL_DEVICE_IDS.value
        jax.distributed.initialize(
            _COORDINATOR.value,
            _NUM_PROCESSES.value,
            _PROCESS_ID.value,
            own and [int(i) for i in own],
        )


def _stop_starting(*_) -> None:
    """Ends a run that has nothing to save yet; preemption.py takes over later."""
    said = "Received SIGTERM while starting; rerun the same command."
    print(said, file=sys.stderr, flush=True)
    os._exit(os.EX_TEMPFAIL)  # An import may swallow SystemExit.
