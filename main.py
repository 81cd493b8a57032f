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
    "config", None, "Experiment, as configs/gref.py or configs/gref.py:tiny."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of checkpoints and results.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval", "predict"], "What to do; train also scores."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "This is one of several processes that work as one."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "distributed: HOST:PORT of the first, where no cluster says it.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "distributed: likewise.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "distributed: likewise, from 0.")
_LOCAL_DEVICE_IDS = flags.DEFINE_list(
    "local_device_ids",
    None,
    "distributed: GPUs of this process, as 0,1; one, if SLURM or Open MPI chooses.",
)
flags.register_validator(
    "local_device_ids",
    lambda ids: ids is None or (ids and all(i.isdecimal() for i in ids)),
    message="give whole numbers from 0 on, as in --local_device_ids=0,1",
)
_IMAGE = flags.DEFINE_multi_string(
    "image", [], "predict: a file, folder, pattern or .jsonl."
)
_EXPRESSION = flags.DEFINE_multi_string("expression", [], "predict: what to segment.")
_OUTPUT = flags.DEFINE_string("output", "out", "predict: folder for the masks.")


def main() -> None:
    """Runs one mode."""
    if _MODE.value == "train":
        signal.signal(signal.SIGTERM, _stop_starting)
    # Imported late: data workers import this file too, and need none of it.
    import jax

    if _DISTRIBUTED.value:
        own = _LOCAL_DEVICE_IDS.value
        jax.distributed.initialize(
            _COORDINATOR.value,
            _NUM_PROCESSES.value,
            _PROCESS_ID.value,
            own and [int(i) for i in own],
        )
    from restr_jax import predict, preemption, train
    from restr_jax.evaluation import score_run

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
    """Ends a run that has nothing to save yet; later, preemption.py listens."""
    said = "Told to stop (SIGTERM) while starting; start the same command again."
    print(said, file=sys.stderr, flush=True)
    os._exit(os.EX_TEMPFAIL)  # SystemExit could be lost in what is being imported.


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    command_line.run(main)
