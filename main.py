"""Trains, scores or applies ReSTR.

python main.py --config=configs/shapes.py --workdir=runs/shapes
python main.py --config=configs/shapes.py --workdir=runs/shapes --mode=eval
python main.py --config=configs/shapes.py --workdir=runs/shapes --mode=predict \
    --image=a.png --expression="the large red circle" --output=out
"""

import os
import signal
import sys

from absl import flags
from ml_collections import config_flags

from restr_jax import command_line

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, such as configs/gref.py or configs/gref.py:tiny."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of checkpoints and results.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval", "predict"], "Task to run; train also scores."
)
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
        signal.signal(signal.SIGTERM, _stop_starting)
    # Imported late: data workers import this file too and need none of these modules.
    import jax

    if _DISTRIBUTED.value:
        own = _LOCAL_DEVICE_IDS.value
        jax.distributed.initialize(
            _COORDINATOR.value,
            _NUM_PROCESSES.value,
            _PROCESS_ID.value,
            own and [int(i) for i in own],
        )
    from restr_jax import train
    from restr_jax.evaluation import score_run
    from restr_jax.inference import predict
    from restr_jax.training import preemption

    config, workdir = _CONFIG.value, _WORKDIR.value
    if _MODE.value == "train":
        try:
            train.train_and_evaluate(config, workdir)
        except preemption.PreemptedError as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(preemption.EXIT_CODE)
    elif _MODE.value == "eval":
        score_run.score_workdir(config, workdir)
    else:
        predict.predict_workdir(
            config, workdir, _IMAGE.value, _EXPRESSION.value, _OUTPUT.value
        )


def _stop_starting(*_) -> None:
    """Ends a run that has nothing to save yet; preemption.py takes over later."""
    said = "Received SIGTERM while starting; rerun the same command."
    print(said, file=sys.stderr, flush=True)
    os._exit(os.EX_TEMPFAIL)  # An import may swallow SystemExit.


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    command_line.run(main)
