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
    """The last linear map, C -> 1, whose result is float32."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b C"]) -> Float[Array, "*b"]:
        """Weighs the channels of each pixel."""
        kernel = self.param("kernel", XAVIER, (x.shape[-1], 1))
        return jax.lax.platform_dependent(x, kernel, cpu=_product, default=_sum)


def _product(x, kernel):
    """A CPU has a quick product, and no quick sum over the last axis."""
    precision, dtype = product_precision(x), sum_dtype(x)
    product = jnp.matmul(x, kernel, precision=precision, preferred_element_type=dtype)
    return product[..., 0]


def _sum(x, kernel):
    """A sum is made while the map is, by XLA, instead of reading it once more."""
    # Widened first: the kernel's gradient is a sum over all pixels.
    dtype = sum_dtype(x)
    return jnp.sum(x.astype(dtype) * kernel[:, 0].astype(dtype), -1)


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
            features = self.width // 2**i
            x = linear(x, features, f"linear_{i}", XAVIER, use_bias=False)
            x = double_leaky(x)
        return ToLogit(name="to_logit")(x)
