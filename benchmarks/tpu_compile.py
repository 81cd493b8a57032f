"""Compiles training and scoring for TPUs, with the real compiler and without a TPU.

    python3.11 -m venv .venv-tpu
    .venv-tpu/bin/pip install -r requirements.txt "jax[tpu]"
    .venv-tpu/bin/python -m benchmarks.tpu_compile

For each case: does it fit, how much of a chip's memory it takes, operations and
collectives. Nothing runs, so nothing is timed. libtpu belongs in an environment of its
own: where it is installed, every JAX program looks for a TPU first.
"""

import argparse
import collections
import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import time

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Case:
    """A program on a set of chips.

    Attributes:
        name: of the case.
        topology: as libtpu names it.
        accelerator: the machine type that libtpu is told it runs on.
        chips: how many.
        memory: of a chip, GiB.
        batch: images, over all chips.
        what: "training", or one of scoring's two programs, "encoding" images or
            "segmenting" an expression of each.
        remat: config.model.remat.
        fsdp: config.fsdp.
        layers: of the fusion.
    """

    name: str
    topology: str
    accelerator: str
    chips: int
    memory: int
    batch: int
    what: str = "training"
    remat: str = "attention"
    fsdp: int = 1
    layers: int = 4


V5E_1 = {"topology": "v5e:2x2", "accelerator": "v5litepod-4", "chips": 1, "memory": 16}
V5E_8 = {"topology": "v5e:2x4", "accelerator": "v5litepod-8", "chips": 8, "memory": 16}
V5E_256 = {
    "topology": "v5e:16x16",
    "accelerator": "v5litepod-256",
    "chips": 256,
    "memory": 16,
}
V5P_4 = {"topology": "v5p:2x2x1", "accelerator": "v5p-8", "chips": 4, "memory": 95}
CASES = [
    Case("v5e, attention again", batch=8, **V5E_1),
    Case("v5e, six layers", batch=8, layers=6, **V5E_1),
    Case("v5e, scoring: images", batch=8, what="encoding", **V5E_1),
    Case("v5e, scoring: an expression each", batch=8, what="segmenting", **V5E_1),
    Case("v5e 2x4", batch=64, **V5E_8),
    Case("v5e 2x4, fsdp 8", batch=64, fsdp=8, **V5E_8),
    Case("v5e 16x16", batch=2048, **V5E_256),
    Case("v5p 2x2x1", batch=128, **V5P_4),
]
_COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)
VOCABULARY = 12_112  # Gref's


def compile_case(case: Case) -> dict:
    """Compiles one case in this process, which libtpu has been told the machine of."""
    import jax
    import jax.numpy as jnp
    from absl import flags
    from jax.experimental import topologies

    from configs import common
    from restr_jax import train_state
    from restr_jax.evaluation import evaluator
    from restr_jax.models import build_model
    from restr_jax.optimizer import make_optimizer
    from restr_jax.parallel import Parallel
    from restr_jax.train_step import make_train_step

    flags.FLAGS.mark_as_parsed()
    described = topologies.get_topology_desc(
        platform="tpu", topology_name=case.topology
    )
    config = common.get_config()
    config.dtype, config.model.remat = "bfloat16", case.remat
    config.model.fusion.num_layers = case.layers
    model = build_model(config.model, VOCABULARY)
    optimizer = make_optimizer(config.optimizer)
    parallel = Parallel("jit", case.fsdp, list(described.devices)[: case.chips])
    length = config.data.max_words
    abstract = jax.eval_shape(
        lambda: train_state.create(
            train_state.init_params(model, length, seed=0), optimizer
        )
    )
    size = tuple(config.model.image_size)
    array = jax.ShapeDtypeStruct
    started = time.monotonic()
    if case.what == "training":
        state = parallel.describe(abstract)
        batch = {
            "image": array((case.batch, *size, 3), jnp.uint8),
            "box": array((case.batch, 4), jnp.int32),
            "tokens": array((case.batch, 1, length), jnp.int32),
            "valid": array((case.batch, 1), bool),
            "mask": array((case.batch, 1, *size), bool),
            "row": array((case.batch,), jnp.int32),
        }
        step = make_train_step(model, optimizer, config)
        run = parallel.train_step(step, state)
        lowered = run.lower(state, parallel.describe_batch(batch))
    else:
        encode, program = (
            functools.partial(program, model, jnp.dtype("bfloat16"))
            for program in (evaluator.encode, evaluator.segment)
        )
        batch = {"image": array((case.batch, *size, 3), jnp.float32)}
        if case.what == "encoding":
            program = encode
        else:
            batch = {
                "visual": jax.eval_shape(encode, abstract.params, batch),
                "tokens": array((case.batch, 1, length), jnp.int32),
            }
        lowered = parallel.predict_step(program).lower(abstract.params, batch)
    row = dataclasses.asdict(case) | {"jax": jax.__version__}
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used ([\d.]+)G of", str(error))
        return row | {"fits": False, "gib": float(used[1]) if used else None}
    memory, counted = compiled.memory_analysis(), compiled.cost_analysis()
    taken = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    taken += memory.output_size_in_bytes - memory.alias_size_in_bytes
    collectives = collections.Counter(
        kind for kind, _ in _COLLECTIVE.findall(compiled.as_text())
    )
    return row | {
        "fits": taken < case.memory * GIB,
        "gib": taken / GIB,
        "arguments_gib": memory.argument_size_in_bytes / GIB,
        "temporary_gib": memory.temp_size_in_bytes / GIB,
        "tflop": counted["flops"] / 1e12,
        "gigabytes_accessed": counted["bytes accessed"] / 1e9,
        "collectives": dict(collectives),
        "seconds_to_compile": round(time.monotonic() - started),
    }


def run_case(case: Case) -> dict:
    """Compiles a case in a process of its own, told that it is on such a machine."""
    environment = os.environ | {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": case.accelerator,
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-m", "benchmarks.tpu_compile", "--one", case.name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case.name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def to_markdown(rows: list[dict]) -> str:
    """Returns a table of the results."""
    lines = [
        "| case | chips | batch | fits | GiB a chip | of it arguments | TFLOP a chip "
        "| GB moved a chip | collectives |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        head = f"| {row['name']} | {row['chips']} | {row['batch']} "
        if not row["fits"]:
            needs = f"{row['gib']:.1f}" if row["gib"] else "more"
            lines.append(f"{head}| no | {needs} of {row['memory']} | | | | |")
            continue
        said = ", ".join(f"{n} {kind}" for kind, n in row["collectives"].items())
        lines.append(
            f"{head}| yes | {row['gib']:.1f} of {row['memory']} "
            f"| {row['arguments_gib']:.2f} | {row['tflop']:.2f} "
            f"| {row['gigabytes_accessed']:.0f} | {said or 'none'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Compiles the cases and writes a JSON file and a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="", help="names by semicolons; all")
    parser.add_argument("--one", help="for the processes that this starts")
    parser.add_argument("--results", default="benchmarks/results/tpu_compile.json")
    arguments = parser.parse_args()
    by_name = {case.name: case for case in CASES}
    if arguments.one:
        print(json.dumps(compile_case(by_name[arguments.one])))
        return
    rows, path = [], pathlib.Path(arguments.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in filter(
        None, arguments.cases.split(";") if arguments.cases else by_name
    ):
        rows.append(run_case(by_name[name]))
        print(json.dumps(rows[-1]), flush=True)
        path.write_text(json.dumps(rows, indent=1) + "\n")
    print(to_markdown(rows))


if __name__ == "__main__":
    main()
