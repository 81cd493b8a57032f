"""The coarse-to-fine decoder: linear maps and upsampling, no convolution."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from restr_jax.models.layers import linear


def _interpolation(
    in_size: int, out_size: int
) -> tuple[Int[np.ndarray, " out_size"], Float[np.ndarray, " out_size"]]:
    """Returns 1-D linear interpolation with the corners aligned.

    Returns:
        The lower of the two neighbours of each output, and the share of the upper one.
    """
    positions = np.linspace(0.0, in_size - 1, out_size)
    low = np.minimum(np.floor(positions).astype(int), max(in_size - 2, 0))
    return low, (positions - low).astype(np.float32)


def interpolation_matrix(
    in_size: int, out_size: int
) -> Float[np.ndarray, "out_size in_size"]:
    """Returns the matrix of 1-D linear interpolation with the corners aligned.

    Each row sums to one and holds at most two weights.
    """
    low, fraction = _interpolation(in_size, out_size)
    matrix = np.zeros((out_size, in_size), np.float32)
    rows = np.arange(out_size)
    matrix[rows, low] += 1.0 - fraction
    matrix[rows, np.minimum(low + 1, in_size - 1)] += fraction
    return matrix


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def upsample(
    x: Float[Array, "*b h w C"], factor: int
) -> Float[Array, "*b h_out w_out C"]:
    """Enlarges a map bilinearly, corners aligned.

    Forward, each output adds up its two neighbours, for next to no arithmetic. The
    gradient of that is a scatter, so it is a matrix product per axis instead, which
    every accelerator does well: its matrices are mostly zero, but it is the quicker.
    """
    for axis in (-3, -2):
        low, fraction = _interpolation(x.shape[axis], x.shape[axis] * factor)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = jnp.expand_dims(fraction.astype(x.dtype), tuple(range(1, -axis)))
        below, above = (jnp.take(x, at, axis=axis) for at in (low, high))
        x = below * (1 - share) + above * share
    return x


def _upsample_forward(x, factor: int):
    return upsample(x, factor), None


def _upsample_backward(factor: int, _, gradient):
    rows, columns = (
        interpolation_matrix(side // factor, side).astype(gradient.dtype)
        for side in gradient.shape[-3:-1]
    )
    gradient = jnp.einsum("Ww,...hWc->...hwc", columns, gradient)
    return (jnp.einsum("Hh,...Hwc->...hwc", rows, gradient),)


upsample.defvjp(_upsample_forward, _upsample_backward)


class Decoder(nn.Module):
    """Patch features to pixel logits in log2(P) doublings (Section 3.3).

    The paper's block is upsample, linear, activation. A linear map without spatial
    extent commutes with interpolation, so it runs first, on a quarter of the pixels.

    Attributes:
        patch_size: P, a power of two.
        width: D; block i (from 1) has D / 2^(i - 1) output channels.
    """

    patch_size: int
    width: int

    @nn.compact
    def __call__(
        self,
        visual: Float[Array, "*b h w D_v"],
        masked: Float[Array, "*b h w D"],
    ) -> Float[Array, "*b H W"]:
        """Returns the logit of each pixel.

        Args:
            visual: z_v, what the vision encoder saw.
            masked: z_masked of Eq. 10, what the classifier chose.
        """
        num_blocks = self.patch_size.bit_length() - 1
        if self.patch_size != 2**num_blocks or self.width % 2 ** (num_blocks - 1):
            raise ValueError(
                "The decoder doubles the resolution log2(P) times and halves 2D "
                f"channels each time: a patch size of {self.patch_size} with a width "
                f"of {self.width} does not allow it."
            )
        x = jnp.concatenate([visual, masked], axis=-1)
        for i in range(num_blocks):
            x = self._linear(x, self.width // 2**i, f"linear_{i}")
            x = nn.leaky_relu(upsample(x, 2), 0.01)
        return self._linear(x, 1, "to_logit")[..., 0]

    def _linear(
        self, x: Float[Array, "*b C_in"], features: int, name: str
    ) -> Float[Array, "*b C_out"]:
        init = nn.initializers.xavier_uniform()
        return linear(x, features, name, init, use_bias=False)
