"""Compiles all programs for NVIDIA GPUs with the real compiler, without a GPU.

    python3.11 -m venv .venv-gpu
    .venv-gpu/bin/pip install -r requirements.txt
    .venv-gpu/bin/pip install --no-deps jax-cuda12-pjrt==V jax-cuda12-plugin==V
    .venv-gpu/bin/python -m benchmarks.gpu_compile

V is the version of jaxlib. CUDA, cuDNN and a driver are not needed, since nothing runs.
Reports for each case whether it fits, its share of a card's memory, its cuDNN attention
kernels and its collectives. A case is named by its fields, as in
--cases=H100,program=scoring-encode.
"""

import dataclasses
import itertools
from collections.abc import Iterator

from benchmarks import compile_ahead
from benchmarks.compile_ahead import Case
from tfds_builders.markdown import table

CUDNN = 91000  # version 9.10.0


@dataclasses.dataclass(frozen=True)
class Card:
    """Public specifications of a GPU, from its maker's data sheet and tuning guide.

    Attributes:
        name: name in its driver.
        capability: CUDA compute capability.
        cores: streaming multiprocessors.
        lanes: float32 units of each multiprocessor.
        threads: maximum threads of a multiprocessor.
        shared: shared memory of a multiprocessor, bytes.
        block_shared: maximum shared memory of a block, bytes.
        cache: level 2 cache, bytes.
        clock: GHz.
        bandwidth: memory bandwidth, bytes/s.
        memory: bytes, as its driver reports it.
    """

    name: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    threads: int
    shared: int
    block_shared: int
    cache: int
    clock: float
    bandwidth: int
    memory: int

    def to_proto(self) -> str:
        """Returns XLA's GpuTargetConfigProto, as text."""
        major, minor = self.capability
        return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {self.shared}
  threads_per_core_limit: {self.threads}
  core_count: {self.cores}
  fpus_per_core: {self.lanes}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {self.bandwidth}
  l2_cache_size: {self.cache}
  clock_rate_ghz: {self.clock}
  device_memory_size: {self.memory}
  shared_memory_per_block_optin: {self.block_shared}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: {CUDNN // 10000} minor: {CUDNN // 100 % 100} patch: 0 }}
device_description_str: "{self.name}"
"""


CARDS = {
    "H100": Card(
        name="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        cores=132,
        lanes=128,
        threads=2048,
        shared=233472,
        block_shared=232448,
        cache=50 * 2**20,
        clock=1.98,
        bandwidth=3_352_320_000_000,
        memory=84_942_979_072,
    ),
    "A100": Card(
        name="NVIDIA A100-SXM4-40GB",
        capability=(8, 0),
        cores=108,
        lanes=64,
        threads=2048,
        shared=167936,
        block_shared=166912,
        cache=40 * 2**20,
        clock=1.41,
        bandwidth=1_555_000_000_000,
        memory=42_297_458_688,
    ),
    "T4": Card(
        name="Tesla T4",
        capability=(7, 5),
        cores=40,
        lanes=64,
        threads=1024,
        shared=65536,
        block_shared=65536,
        cache=4 * 2**20,
        clock=1.59,
        bandwidth=320_000_000_000,
        memory=15_828_320_256,
    ),
}
# Least compute capability of cuDNN's fused attention.
FUSED_FROM = (8, 0)


def _cases() -> Iterator[Case]:
    for dtype, preset in itertools.product(
        ("bfloat16", "float32"), ("paper", "released")
    ):
        how = {"preset": preset, "dtype": dtype}
        for batch in (8, 64, 0):
            yield Case("H100", batch=batch, **how)
        for mode in ("jit", "pmap"):
            yield Case("H100", batch=64, chips=8, **how, mode=mode)
        for batch in (8, 0):
            yield Case("A100", batch=batch, **how)
        for part in ("encode", "segment"):
            yield Case("H100", f"scoring-{part}", **how)
            yield Case("H100", f"prediction-{part}", **how, batch=1)
            for mode in ("jit", "pmap"):
                yield Case("H100", f"scoring-{part}", 64, 8, **how, mode=mode)
            yield Case("A100", f"prediction-{part}", **how, batch=1)
    yield Case("H100", batch=64, chips=8, fsdp=8)
    yield Case("A100", batch=64, chips=8)
    for preset in ("paper", "released"):
        how = {"preset": preset, "dtype": "float32"}
        yield Case("T4", **how, remat="attention")
        for part in ("encode", "segment"):
            yield Case("T4", f"scoring-{part}", **how)
            yield Case("T4", f"prediction-{part}", **how, batch=1)


CASES = tuple(_cases())


def run(case: Case) -> dict:
    """Compiles a case in this process, as on a machine with its card."""
    import jax
    from jax.experimental import topologies

    card = CARDS[case.target]
    pretend(card)
    jax.devices()
    described = topologies.get_topology_desc(
        "",
        platform="cuda",
        topology=f"1x1x{case.chips}",
        target_config=card.to_proto(),
    )
    # One host, since a process scores on its own devices only.
    assert {device.process_index for device in described.devices} == {0}
    memory = card.memory / compile_ahead.GIB
    return compile_ahead.compile_case(case, list(described.devices), round(memory, 1))


def pretend(card: Card) -> None:
    """Patches the queries to a running GPU during tracing, to describe the card."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    from restr_jax.models import attention

    def reaches(capability: str) -> bool:
        return card.capability >= tuple(map(int, capability.split(".")))

    cudnn.check_cudnn_version = lambda: CUDNN
    cudnn.check_compute_capability = reaches
    attention.fused_kernel_works = lambda: card.capability >= FUSED_FROM


def environment(case: Case) -> dict[str, str]:
    """Returns the environment variables of a case's process, which has no GPU.

    On a GPU, XLA times Triton's matrix products against cuBLAS's. Without one it picks
    a Triton product untested, which for some shapes cannot be built; so use cuBLAS.
    """
    del case
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false"}


def to_markdown(rows: list[dict]) -> str:
    """Returns a table of the results."""
    header = ["card", "GPUs", "program", "preset", "dtype", "mode", "batch", "fits"]
    header += ["GiB a GPU", "of it arguments", "cuDNN attention", "collectives"]
    lines = []
    for row in rows:
        mode = row["mode"] + (f", fsdp {row['fsdp']}" if row["fsdp"] > 1 else "")
        if row["remat"] != "none":
            mode += f", remat {row['remat']}"
        batch = f"{row['batch']}{' (full)' if row.get('largest') else ''}"
        cells = [row[k] for k in ("target", "chips", "program", "preset", "dtype")]
        kernels = {k.removeprefix("__cudnn$"): n for k, n in row["kernels"].items()}
        cells += [mode, batch, "yes" if row["fits"] else "no"]
        cells += [f"{row['gib']:.2f} of {row['memory']}"]
        cells += [f"{row['arguments_gib']:.2f}", compile_ahead.in_words(kernels)]
        cells += [compile_ahead.in_words(row["collectives"])]
        lines.append(cells)
    return "\n".join(table(header, lines, "lrllllrlrrll"))


if __name__ == "__main__":
    compile_ahead.main(
        "benchmarks.gpu_compile",
        __doc__,
        CASES,
        run,
        environment,
        to_markdown,
        roomy="H100",
    )
