import sys

import jax
import jax.numpy as jnp
import pytest

from restr_jax.export import onnx


@pytest.mark.slow
def test_weights_are_stored_once(small, exported):
    count = sum(x.size for x in jax.tree.leaves(small.params))
    size = sum(path.stat().st_size for path in exported("onnx").glob("*.onnx"))
    assert 4 * count < size < 4 * count + 270_000  # including the graphs


def test_the_choice_of_platforms_is_restored():
    def trace():
        # A new function each time, since JAX caches traces per function.
        return str(
            jax.make_jaxpr(
                lambda x: jax.lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)
            )(1.0)
        )

    with onnx._for_cpu():
        inside = trace()
    assert "platform_index" not in inside and "sin" in inside
    assert "platform_index" in trace()


def test_a_missing_package_is_reported(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ImportError, match=r"restr-jax\[onnx\]"):
        onnx.export(small, tmp_path)
