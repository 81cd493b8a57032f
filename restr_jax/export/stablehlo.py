"""Exports to StableHLO for CPU, GPU and TPU; loading it needs JAX alone."""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from restr_jax.export import artifact, parity
from restr_jax.inference import segmenter
from restr_jax.models import parameters
from restr_jax.workdir.model_files import Trained

PLATFORMS = ("cpu", "cuda", "tpu")


def export(trained: Trained, folder: pathlib.Path) -> None:
    """Exports a model in float32 and checks the artifact against it.

    Args:
        trained: from `model_files.read`.
        folder: output folder.

    Raises:
        ImportError: if flatbuffers is missing, which JAX does not install.
        ValueError: if the artifact does not match the model.
    """
    artifact.begin(folder)
    weights = {
        name: np.asarray(array, np.float32)
        for name, array in parameters.flatten(trained.params).items()
    }
    np.savez(folder / "weights.npz", **weights)
    files = ["weights.npz"]
    for name, program in _programs(trained, weights).items():
        files.append(f"{name}.stablehlo")
        (folder / files[-1]).write_bytes(program.serialize())
    artifact.finish(trained, folder, "stablehlo", files)
    parity.check(trained, folder)


def _programs(
    trained: Trained, weights: dict[str, np.ndarray]
) -> dict[str, jax_export.Exported]:
    """Lowers both programs, for any number of images and expressions.

    Args:
        trained: the model to export.
        weights: arrays by name; the first argument of both programs, so that neither
            contains a copy.
    """
    model = trained.model

    def encode(weights, images):
        return segmenter.encode(model, parameters.unflatten(weights), images)

    def segment(weights, visual, tokens):
        return segmenter.segment(model, parameters.unflatten(weights), visual, tokens)

    b, k = jax_export.symbolic_shape("b, k")
    weights = jax.eval_shape(lambda: weights)
    images = jax.ShapeDtypeStruct((b, *model.vision.image_size, 3), jnp.float32)
    encoder = _lower(encode, weights, images)
    visual = jax.ShapeDtypeStruct(encoder.out_avals[0].shape, jnp.float32)
    length = trained.config.data.max_words
    tokens = jax.ShapeDtypeStruct((b, k, length), jnp.int32)
    return {"encode": encoder, "segment": _lower(segment, weights, visual, tokens)}


def _lower(function: Callable, *arguments) -> jax_export.Exported:
    return jax_export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
