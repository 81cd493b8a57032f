"""Compiles training and scoring for TPUs with the real compiler, without a TPU.

    python3.11 -m venv .venv-tpu
    .venv-tpu/bin/pip install -r requirements.txt "jax[tpu]"
    .venv-tpu/bin/python -m benchmarks.tpu_compile

Reports for each case whether it fits, its share of a chip's memory, its operations and
its collectives. Install libtpu in an environment of its own: where it is installed,
every JAX program looks for a TPU first.
"""

import dataclasses

from benchmarks import compile_ahead
from benchmarks.compile_ahead import Case
from tfds_builders.markdown import table


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice of connected chips.

    Attributes:
        topology: name of the topology in libtpu.
        accelerator: the machine type reported to libtpu.
        memory: memory of a chip, GiB.
    """

    topology: str
    accelerator: str
    memory: int


SLICES = {
    "v5e": Slice("v5e:2x2", "v5litepod-4", 16),
    "v5e 2x4": Slice("v5e:2x4", "v5litepod-8", 16),
    "v5e 16x16": Slice("v5e:16x16", "v5litepod-256", 16),
    "v5p 2x2x1": Slice("v5p:2x2x1", "v5p-8", 95),
}
CASES = [
    Case("v5e", remat="attention"),
    Case("v5e", remat="attention", layers=6),
    Case("v5e", "scoring-encode"),
    Case("v5e", "scoring-segment"),
    Case("v5e 2x4", batch=64, chips=8, remat="attention"),
    Case("v5e 2x4", batch=64, chips=8, mode="pmap", remat="attention"),
    Case("v5e 2x4", batch=64, chips=8, fsdp=8, remat="attention"),
    Case("v5e 16x16", batch=2048, chips=256, remat="attention"),
    Case("v5p 2x2x1", batch=128, chips=4, remat="attention"),
]


def run(case: Case) -> dict:
    """Compiles a case in this process; needs the variables of `environment`."""
    from jax.experimental import topologies

    target = SLICES[case.target]
    described = topologies.get_topology_desc(
        platform="tpu", topology_name=target.topology
    )
    return compile_ahead.compile_case(case, list(described.devices), target.memory)


def environment(case: Case) -> dict[str, str]:
    """Returns the environment variables that describe the machine to libtpu."""
    return {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": SLICES[case.target].accelerator,
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "JAX_PLATFORMS": "cpu",
    }


def to_markdown(rows: list[dict]) -> str:
    """Returns a table of the results."""
    header = ["slice", "chips", "program", "mode", "remat", "fusion layers", "fsdp"]
    header += ["batch", "fits", "GiB a chip", "of it arguments", "TFLOP a chip"]
    header += ["GB moved a chip", "collectives"]
    lines = []
    for row in rows:
        cells = [row[k] for k in ("target", "chips", "program", "mode", "remat")]
        cells += [row[k] for k in ("layers", "fsdp", "batch")]
        if row["fits"]:
            cells += ["yes", f"{row['gib']:.1f} of {row['memory']}"]
            cells += [f"{row['arguments_gib']:.2f}", f"{row['tflop']:.2f}"]
            cells += [f"{row['gigabytes_accessed']:.0f}"]
            cells += [compile_ahead.in_words(row["collectives"])]
        else:
            needs = f"{row['gib']:.1f}" if row["gib"] else "more"
            cells += ["no", f"{needs} of {row['memory']}", "", "", "", ""]
        lines.append(cells)
    return "\n".join(table(header, lines, "lrlllrrrlrrrrl"))


if __name__ == "__main__":
    compile_ahead.main(
        "benchmarks.tpu_compile", __doc__, CASES, run, environment, to_markdown
    )
