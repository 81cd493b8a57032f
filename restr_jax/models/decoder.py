"""The coarse-to-fine decoder: linear maps and upsampling, no convolution."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from restr_jax.models.layers import linear


def interpolation_matrix(
    in_size: int, out_size: int
) -> Float[np.ndarray, "out_size in_size"]:
    """Returns the matrix of 1-D linear interpolation with the corners aligned.

    Each row sums to one and holds at most two weights.
    """
    positions = np.linspace(0.0, in_size - 1, out_size)
    low = np.minimum(np.floor(positions).astype(int), max(in_size - 2, 0))
    fraction = positions - low
    matrix = np.zeros((out_size, in_size))
    rows = np.arange(out_size)
    matrix[rows, low] += 1.0 - fraction
    matrix[rows, np.minimum(low + 1, in_size - 1)] += fraction
    return matrix.astype(np.float32)


def upsample(
    x: Float[Array, "*b h w C"], factor: int
) -> Float[Array, "*b h_out w_out C"]:
    """Enlarges a map bilinearly, corners aligned.

    One matrix product per axis: its gradient is again a product, which every
    accelerator does well, where a gather's gradient is a scatter.
    """
    height, width = x.shape[-3:-1]
    rows = interpolation_matrix(height, height * factor)
    columns = interpolation_matrix(width, width * factor)
    x = jnp.einsum("Hh,...hwc->...Hwc", rows, x)
    return jnp.einsum("Ww,...hwc->...hWc", columns, x)


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
