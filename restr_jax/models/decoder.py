"""The coarse-to-fine decoder: linear maps and upsampling, no convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from restr_jax.models.arithmetic import product_precision, sum_dtype
from restr_jax.models.layers import linear
from restr_jax.models.upsampling import double_leaky

XAVIER = nn.initializers.xavier_uniform()


class ToLogit(nn.Module):
    """The last linear map, C -> 1, with a float32 result."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b C"]) -> Float[Array, "*b"]:
        """Returns one logit per pixel, a weighted sum of its channels."""
        kernel = self.param("kernel", XAVIER, (x.shape[-1], 1))
        return jax.lax.platform_dependent(x, kernel, cpu=_product, default=_sum)


def _product(x, kernel):
    """Multiplies matrices: on a CPU, sums over the last axis are slow."""
    precision, dtype = product_precision(x), sum_dtype(x)
    product = jnp.matmul(x, kernel, precision=precision, preferred_element_type=dtype)
    return product[..., 0]


def _sum(x, kernel):
    """Sums in the pass that computes the map, which XLA fuses; saves one read."""
    # Widened first, because the kernel's gradient is a sum over all pixels.
    dtype = sum_dtype(x)
    return jnp.sum(x.astype(dtype) * kernel[:, 0].astype(dtype), -1)


class Decoder(nn.Module):
    """Turns patch features into pixel logits in log2(P) doublings (Section 3.3).

    The paper's block is upsample, linear, activation. A linear map of single pixels
    commutes with interpolation, so it runs first, on a quarter of the pixels.

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
            visual: z_v, the visual features.
            masked: z_masked of Eq. 10, the features that the classifier selects.

        Raises:
            ValueError: if P is not a power of two that divides 2D.
        """
        # log2(P) doublings bring h x w patches to H x W pixels.
        num_blocks = self.patch_size.bit_length() - 1
        if self.patch_size != 2**num_blocks or self.width % 2 ** (num_blocks - 1):
            raise ValueError(
                f"The decoder cannot use a patch size of {self.patch_size} with a "
                f"width of {self.width}: it doubles the resolution log2(P) times and "
                "halves 2D channels each time. Set config.model.patch_size to a power "
                "of two that divides 2 * config.model.fusion.width."
            )
        # [z_v, z_masked]: 2D channels where z_v is D wide.
        x = jnp.concatenate([visual, masked], axis=-1)
        for i in range(num_blocks):
            # From 2D channels to D, D / 2, ...: each block halves them.
            features = self.width // 2**i
            x = linear(x, features, f"linear_{i}", XAVIER, use_bias=False)
            # The activation does not commute with interpolation, so it comes last.
            x = double_leaky(x)
        # 2D / P channels are left for the last linear.
        return ToLogit(name="to_logit")(x)
