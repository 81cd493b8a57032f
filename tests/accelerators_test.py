"""Lowers all programs, at full width, for a GPU and a TPU that are not there."""

import math
import re

import jax
import pytest

from configs import common
from restr_jax import programs
from restr_jax.models import attention

PRESETS = ("paper", "released")
VOCABULARY = 12_112  # Gref's
KERNEL = re.compile(r"@(__cudnn\$fmha\w+)")
# The parts of the model in each program; each of their layers has one attention.
PARTS = {
    "scoring-encode": ("vision",),
    "scoring-segment": ("language", "fusion"),
    "prediction-encode": ("vision",),
    "prediction-segment": ("language", "fusion"),
    "training": ("vision", "language", "fusion"),
}
FULL = {"vision": 12, "language": 6, "fusion": 4}
# Layers are alike, so a few of the full size are enough beside one full model.
FEW = {"vision": 2, "language": 1, "fusion": 2}


@pytest.fixture(autouse=True)
def a_gpu(monkeypatch):
    """Fakes the checks for a cuDNN GPU; the kernel's own shape rules still apply."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda asked: True)
    monkeypatch.setattr(attention, "fused_kernel_works", lambda: True)


def lower(program, platform, preset="paper", dtype="bfloat16", layers=FEW, kind="cme"):
    config = common.get_config(preset=preset)
    config.dtype, config.model.fusion.kind = dtype, kind
    if layers is FEW:
        for part, number in FEW.items():
            config.model[part].num_layers = number
    images = 1 if program.startswith("prediction") else 8
    # The tests set exact products; this one checks the users' default.
    with jax.default_matmul_precision("default"):
        lowered = programs.lower(
            program, config, VOCABULARY, jax.devices()[:1], images, platform=platform
        )
    return lowered.as_text()


SUM = re.compile(
    r"stablehlo\.reduce\(.*applies stablehlo\.add across dimensions = \[([\d, ]+)\]"
    r" : \(tensor<([\dx]+)x(\w+)>.*"
)


def sums_in_bfloat16(text):
    """Finds sums over axes and scattered sums that are computed in bfloat16."""
    found = []
    for match in SUM.finditer(text):
        sides = [int(side) for side in match[2].split("x")]
        terms = math.prod(sides[int(axis)] for axis in match[1].split(","))
        if match[3] == "bf16" and terms > 1:
            found.append(match[0])
    return found + re.findall(r"stablehlo\.add %.* : tensor<bf16>", text)


@pytest.mark.parametrize(
    ("program", "preset", "layers"),
    [
        *((p, preset, FEW) for p in programs.PROGRAMS for preset in PRESETS),
        pytest.param("training", "paper", FULL, marks=pytest.mark.slow),
    ],
)
def test_every_attention_uses_the_cudnn_kernel_on_a_gpu(program, preset, layers):
    text = lower(program, "cuda", preset, layers=layers)
    fused = sum(layers[part] for part in PARTS[program])
    kernels = KERNEL.findall(text)
    forward = [name for name in kernels if not name.endswith("Backward")]
    # No attention bias: its gradient would be computed and never used.
    assert set(forward) == {"__cudnn$fmhaSoftmax"}
    assert len(forward) == fused
    backward = [name for name in kernels if name.endswith("Backward")]
    assert len(backward) == (fused if program == "training" else 0)
    if program == "training":
        assert sums_in_bfloat16(text) == []


@pytest.mark.parametrize("kind", ["vme", "ime"])
def test_attention_of_the_ablations_uses_the_cudnn_kernel_too(kind):
    text = lower("scoring-segment", "cuda", kind=kind)
    assert len(KERNEL.findall(text)) == FEW["language"] + FEW["fusion"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("program", ["training", "scoring-encode", "scoring-segment"])
def test_a_tpu_program_has_no_gpu_kernel(program, preset):
    text = lower(program, "tpu", preset)
    assert "stablehlo.dot_general" in text and "cudnn" not in text


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_float32_is_multiplied_in_float32(platform):
    text = lower("training", platform, dtype="float32")
    assert "cudnn" not in text
    products = re.findall(r"stablehlo\.dot_general.*", text)
    assert len(products) > 150
    inexact = [line for line in products if line.count("HIGHEST") != 2]
    assert inexact == []


def test_an_unknown_program_is_refused():
    with pytest.raises(ValueError, match="Unknown program 'eating'; it is one of"):
        lower("eating", "cuda")
