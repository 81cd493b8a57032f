"""Shared code to compile programs for GPUs and TPUs that are not present.

Each case is compiled in its own process. Nothing runs, so nothing is timed.
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
from collections.abc import Callable, Iterable

from benchmarks.reports import write
from tfds_builders.storage.paths import typed

GIB = 2**30
VOCABULARY = 12_112  # Gref's
_COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)
_KERNEL = re.compile(r'custom_call_target="(__cudnn\$fmha\w+)"')


@dataclasses.dataclass(frozen=True)
class Case:
    """A program on a set of chips.

    Attributes:
        target: the chip, by its name in the benchmark's table of targets.
        program: one of `restr_jax.programs.PROGRAMS`.
        batch: images, over all chips; 0: the largest multiple of 8 that fits if memory
            grows with the batch as it does from 8 to 64.
        chips: number of chips.
        preset: preset of the configuration.
        mode: config.parallel.
        dtype: config.dtype.
        remat: config.model.remat.
        fsdp: config.fsdp.
        layers: number of fusion layers.
    """

    target: str
    program: str = "training"
    batch: int = 8
    chips: int = 1
    preset: str = "paper"
    mode: str = "jit"
    dtype: str = "bfloat16"
    remat: str = "none"
    fsdp: int = 1
    layers: int = 4

    @property
    def name(self) -> str:
        """Name of the case: the fields that differ from their defaults."""
        differing = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)[1:]
            if getattr(self, field.name) != field.default
        ]
        return ",".join([self.target, *differing])


def compile_case(case: Case, devices: list, memory: float) -> dict:
    """Compiles a case and returns its row of results.

    Args:
        case: the case.
        devices: device descriptions, at least one per chip.
        memory: memory of a chip, GiB.
    """
    import jax

    from configs import common
    from restr_jax import programs

    config = common.get_config(preset=case.preset)
    config.dtype, config.parallel, config.fsdp = case.dtype, case.mode, case.fsdp
    config.model.remat = case.remat
    config.model.fusion.num_layers = case.layers
    started = time.monotonic()
    lowered = programs.lower(
        case.program,
        config,
        VOCABULARY,
        devices[: case.chips],
        case.batch,
    )
    row = dataclasses.asdict(case) | {"jax": jax.__version__, "memory": memory}
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used ([\d.]+)G of", str(error))
        return row | {"fits": False, "gib": float(used[1]) if used else None}
    return row | {
        **_memory_of(compiled, memory),
        **_counts(compiled.cost_analysis()),
        **_found_in(compiled.as_text()),
        "seconds_to_compile": round(time.monotonic() - started),
    }


def _memory_of(compiled, memory: float) -> dict:
    found = compiled.memory_analysis()
    taken = found.argument_size_in_bytes + found.temp_size_in_bytes
    taken += found.output_size_in_bytes - found.alias_size_in_bytes
    return {
        "fits": taken < memory * GIB,
        "gib": taken / GIB,
        "arguments_gib": found.argument_size_in_bytes / GIB,
        "temporary_gib": found.temp_size_in_bytes / GIB,
    }


def _counts(found: dict | None) -> dict:
    if not found:  # The GPU compiler reports no cost analysis.
        return {}
    return {
        "tflop": found["flops"] / 1e12,
        "gigabytes_accessed": found["bytes accessed"] / 1e9,
    }


def _found_in(program: str) -> dict:
    """Counts collectives and attention kernels in a compiled program."""
    collectives = collections.Counter(k for k, _ in _COLLECTIVE.findall(program))
    kernels = collections.Counter(_KERNEL.findall(program))
    return {"collectives": dict(collectives), "kernels": dict(kernels)}


def in_words(counts: dict[str, int]) -> str:
    """Formats counts as a table cell."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none"


def main(
    module: str,
    description: str,
    cases: Iterable[Case],
    run: Callable[[Case], dict],
    environment: Callable[[Case], dict[str, str]],
    to_markdown: Callable[[list[dict]], str],
    roomy: str = "",
) -> None:
    """Compiles cases, each in a process; writes a JSON file and prints a table.

    Args:
        module: module to start for a single case.
        description: description of the command line.
        cases: all cases.
        run: compiles one case in this process.
        environment: returns the environment variables of a case's process.
        to_markdown: formats the table.
        roomy: the target with the most memory, for cases of the largest batch.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="", help="regular expression; default: all")
    parser.add_argument("--one", help="internal: a single case, as JSON")
    default = f"benchmarks/results/{module.rpartition('.')[2]}.json"
    parser.add_argument("--results", type=typed, default=default)
    parser.add_argument("--table", action="store_true", help="print existing results")
    arguments = parser.parse_args()
    by_name = {case.name: case for case in cases}
    if arguments.one:
        print(json.dumps(run(Case(**json.loads(arguments.one)))))
        return
    path = pathlib.Path(arguments.results)
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept = {name: row for name, row in kept.items() if name in by_name}

    @functools.cache
    def compiled(case: Case) -> dict:
        return _in_process(module, case, environment(case))

    for name, case in by_name.items():
        if arguments.table or not re.search(arguments.cases, name):
            continue
        kept[name] = compiled(case) if case.batch else _largest(case, roomy, compiled)
        print(name, json.dumps(kept[name]), flush=True)
        write(path, kept)
    print(to_markdown([kept[name] for name in by_name if name in kept]))


def _in_process(module: str, case: Case, environment: dict[str, str]) -> dict:
    fields = json.dumps(dataclasses.asdict(case))
    command = [sys.executable, "-m", module, "--one", fields]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{case.name} did not compile: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _largest(case: Case, roomy: str, compiled: Callable[[Case], dict]) -> dict:
    """Compiles the batch that fills the memory.

    Memory is a constant plus a part proportional to the batch. The slope is measured on
    a roomy target, where the compiler need not save memory. Where memory is short, the
    compiler may recompute some values, so that even more fits.
    """
    small = compiled(dataclasses.replace(case, batch=8))
    few, many = (
        compiled(dataclasses.replace(case, target=roomy, batch=n)) for n in (8, 64)
    )
    slope = (many["gib"] - few["gib"]) / (64 - 8)
    batch = int(8 + (small["memory"] - small["gib"]) / slope) // 8 * 8
    while batch > 8:
        row = compiled(dataclasses.replace(case, batch=batch))
        if row["fits"]:
            return row | {"largest": True}
        batch -= 8
    return small | {"largest": True}
