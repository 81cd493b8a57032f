"""The transformer block that all of ReSTR's encoders share (Eqs. 1-5)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# PyTorch's default, which the released model uses in every LayerNorm.
LAYER_NORM_EPSILON = 1e-5


def layer_norm(name: str) -> nn.LayerNorm:
    """Returns a LayerNorm with the epsilon that the whole model uses."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, name=name)


def linear(
    x: Float[Array, "*b C_in"],
    features: int,
    name: str,
    init: nn.initializers.Initializer,
    *,
    use_bias: bool = True,
) -> Float[Array, "*b C_out"]:
    """Applies an nn.Dense to the last axis; call it inside a compact method.

    All other axes are folded into one: a gradient that sums over a single axis is a
    plain matrix product, which XLA's CPU backend runs up to 1.5 times as fast.
    """
    dense = nn.Dense(features, use_bias=use_bias, kernel_init=init, name=name)
    return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], features)


def l2_normalize(x: Float[Array, "*b D"]) -> Float[Array, "*b D"]:
    """Scales each vector to unit length; a zero vector stays zero.

    The floor lies under the root, so that the gradient of a zero vector is finite.
    """
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-24))


def sinusoidal_positions(length: int, width: int) -> Float[np.ndarray, "T D"]:
    """Returns the position table of "Attention Is All You Need".

    Column 2i is sin(p / 10000^(2i / D)) and column 2i + 1 the cosine of the same.

    Args:
        length: T, number of positions.
        width: D, even.

    Raises:
        ValueError: if the width is odd.
    """
    if width % 2:
        raise ValueError(f"Sinusoidal positions need an even width, not {width}.")
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return table.reshape(length, width).astype(np.float32)


class SelfAttention(nn.Module):
    """Multi-head self-attention, MSA of Eqs. 3-5.

    Attributes:
        num_heads: k of Eq. 3; has to divide the token width.
        init_std: spread of the linears' first weights.
    """

    num_heads: int
    init_std: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b T D"], mask: Bool[Array, "*b T"] | None
    ) -> Float[Array, "*b T D"]:
        """Attends over all tokens whose mask is true (all tokens without a mask)."""
        width = x.shape[-1]
        if width % self.num_heads:
            raise ValueError(
                f"A token width of {width} cannot be split into {self.num_heads} "
                "heads; choose num_heads so that it divides the width."
            )
        # [..., T, 3D] -> three of [..., M, T, d]: heads in front, so that each product
        # below is a plain batched one.
        init = nn.initializers.normal(self.init_std)
        qkv = linear(x, 3 * width, "qkv", init)
        q_MTd, k_MTd, v_MTd = (
            part.reshape(*x.shape[:-1], self.num_heads, -1).swapaxes(-3, -2)
            for part in jnp.split(qkv, 3, axis=-1)
        )
        logits_MTT = q_MTd @ k_MTd.swapaxes(-1, -2) / jnp.sqrt(q_MTd.shape[-1])
        if mask is not None:
            # A finite floor: a row whose words are all masked stays free of NaN.
            floor = jnp.finfo(logits_MTT.dtype).min
            logits_MTT = jnp.where(mask[..., None, None, :], logits_MTT, floor)
        weights_MTT = nn.softmax(logits_MTT)
        # Kept only where a caller makes "intermediates" mutable, as analysis.py does.
        self.sow("intermediates", "weights", weights_MTT)
        heads_MTd = weights_MTT @ v_MTd
        return linear(heads_MTd.swapaxes(-3, -2).reshape(x.shape), width, "out", init)


class Mlp(nn.Module):
    """Two linears with the exact (erf) GELU between them.

    Attributes:
        hidden_dim: F.
        init_std: spread of the linears' first weights.
    """

    hidden_dim: int
    init_std: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b T D"]) -> Float[Array, "*b T D"]:
        """Maps each token by itself."""
        init = nn.initializers.normal(self.init_std)
        y = nn.gelu(linear(x, self.hidden_dim, "fc1", init), approximate=False)
        return linear(y, x.shape[-1], "fc2", init)


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for a whole sample in training."""

    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b T D"], *, deterministic: bool
    ) -> Float[Array, "*b T D"]:
        """Drops each sample with probability ``rate`` and rescales the others."""
        return nn.Dropout(self.rate, broadcast_dims=(-2, -1))(
            x, deterministic=deterministic
        )


class EncoderBlock(nn.Module):
    """One transformer layer (Eqs. 1 and 2).

    Attributes:
        num_heads: attention heads.
        mlp_dim: hidden width of the MLP.
        init_std: spread of the linears' first weights.
        drop_path_rate: probability of dropping either branch in training.
        post_norm: normalise the sum after each branch, not the branch's input.
    """

    num_heads: int
    mlp_dim: int
    init_std: float
    drop_path_rate: float
    post_norm: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*b T D"],
        mask: Bool[Array, "*b T"] | None,
        *,
        deterministic: bool,
    ) -> Float[Array, "*b T D"]:
        """Returns z = MLP(LN(z')) + z' with z' = MSA(LN(x)) + x.

        With `post_norm`, z = LN(MLP(z') + z') with z' = LN(MSA(x) + x).
        """
        norm1, norm2 = layer_norm("norm1"), layer_norm("norm2")
        attention = SelfAttention(self.num_heads, self.init_std, name="attention")
        mlp = Mlp(self.mlp_dim, self.init_std, name="mlp")
        drop = functools.partial(
            DropPath(self.drop_path_rate), deterministic=deterministic
        )
        if self.post_norm:
            x = norm1(x + drop(attention(x, mask)))
            return norm2(x + drop(mlp(x)))
        x = x + drop(attention(norm1(x), mask))
        return x + drop(mlp(norm2(x)))


class TransformerEncoder(nn.Module):
    """A stack of encoder blocks; the caller normalises the output.

    Attributes:
        num_layers: how many times a block is applied.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: spread of the linears' first weights.
        drop_path_rate: rate of the last layer; it rises linearly from 0.
        share_weights: one block's weights, applied ``num_layers`` times.
        post_norm: see `EncoderBlock`.
    """

    num_layers: int
    num_heads: int
    mlp_dim: int
    init_std: float
    drop_path_rate: float = 0.0
    share_weights: bool = False
    post_norm: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*b T D"],
        mask: Bool[Array, "*b T"] | None = None,
        *,
        deterministic: bool,
    ) -> Float[Array, "*b T D"]:
        """Applies all layers; masked tokens are never attended to."""
        if self.share_weights:
            # A ramp over one block starts and ends at 0.
            blocks = [self._block("block", 0.0)] * self.num_layers
        else:
            last = max(self.num_layers - 1, 1)
            blocks = [
                self._block(f"block_{i}", self.drop_path_rate * i / last)
                for i in range(self.num_layers)
            ]
        for block in blocks:
            x = block(x, mask, deterministic=deterministic)
        return x

    def _block(self, name: str, drop_path_rate: float) -> EncoderBlock:
        return EncoderBlock(
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            init_std=self.init_std,
            drop_path_rate=drop_path_rate,
            post_norm=self.post_norm,
            name=name,
        )
