"""Exports to ONNX, for programs without JAX; needs the extra `onnx`."""

import contextlib
import functools
import logging
import pathlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from restr_jax.export import artifact, parity
from restr_jax.inference import segmenter
from restr_jax.workdir.model_files import Trained

_OUTPUTS = ("pixel_logits", "patch_logits", "word_attention")


def export(trained: Trained, folder: pathlib.Path) -> None:
    """Exports a model in float32 and checks the artifact against it.

    Args:
        trained: from `model_files.read`.
        folder: output folder.

    Raises:
        ImportError: if a package of the extra `onnx` is not installed.
        ValueError: if the artifact does not match the model.
    """
    to_onnx = _converter()
    artifact.begin(folder)
    params = jax.tree.map(jnp.asarray, trained.params)
    encode = functools.partial(segmenter.encode, trained.model, params)
    segment = functools.partial(segmenter.segment, trained.model, params)
    size = (*trained.model.vision.image_size, 3)
    _, *features = jax.eval_shape(encode, _floats(1, *size)).shape
    # Named dimensions may have any size.
    images, visual = _floats("b", *size), _floats("b", *features)
    tokens = jax.ShapeDtypeStruct(("b", "k", trained.config.data.max_words), jnp.int32)
    programs = {
        "encode.onnx": to_onnx(encode, {"images": images}, ["visual"]),
        "segment.onnx": to_onnx(
            segment, {"visual": visual, "tokens": tokens}, _OUTPUTS
        ),
    }
    for name, program in programs.items():
        # jax2onnx would write the weights to a second file.
        (folder / name).write_bytes(program.SerializeToString())
    artifact.finish(trained, folder, "onnx", list(programs))
    parity.check(trained, folder)


def _floats(*shape: int | str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _converter() -> Callable:
    """Returns a converter of a function, its inputs and the names of its outputs."""
    # They log each extension that does not load; none is used here.
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        import jax2onnx
    except ImportError as error:
        raise ImportError(
            f"ONNX needs {error.name}; install it with `pip install 'restr-jax[onnx]'`."
        ) from error

    def convert(function, inputs, outputs):
        with _for_cpu():
            return jax2onnx.to_onnx(
                function,
                list(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
            )

    return convert


@contextlib.contextmanager
def _for_cpu() -> Iterator[None]:
    """Traces the CPU branch, since jax2onnx cannot convert `platform_dependent`."""
    choose = jax.lax.platform_dependent

    def choose_cpu(*arguments, default, cpu=None, **_):
        return (cpu or default)(*arguments)

    jax.lax.platform_dependent = choose_cpu
    try:
        yield
    finally:
        jax.lax.platform_dependent = choose
