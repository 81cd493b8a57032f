"""The transformer block that all of ReSTR's encoders share (Eqs. 1-5)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from restr_jax.models import attention
from restr_jax.models.arithmetic import product_precision, share, sum_dtype

# PyTorch's default, which the released program uses in every LayerNorm.
LAYER_NORM_EPSILON = 1e-5

# Values to recompute for the gradient instead of storing them: none, the attention
# weights, or all but the layers' inputs. Each needs less memory and more time.
REMAT = ("none", "attention", "layer")


def layer_norm(name: str) -> nn.LayerNorm:
    """Returns a LayerNorm with the epsilon of the whole model."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, name=name)


class Linear(nn.Module):
    """A linear map of the last axis, like nn.Dense, with exact products and sums.

    Attributes:
        features: C_out.
        init: initializer of the kernel.
        use_bias: add a bias, initially zero.
    """

    features: int
    init: nn.initializers.Initializer
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n C_in"]) -> Float[Array, "n C_out"]:
        """Multiplies each row by the kernel and adds the bias."""
        shape = x.shape[-1], self.features
        kernel = self.param("kernel", self.init, shape, jnp.float32)
        y = jnp.matmul(x, kernel, precision=product_precision(x))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            # `share` sums the bias's gradient over all rows in float32.
            y = y + share(bias, y.shape)
        return y


def linear(
    x: Float[Array, "*b C_in"],
    features: int,
    name: str,
    init: nn.initializers.Initializer,
    *,
    use_bias: bool = True,
) -> Float[Array, "*b C_out"]:
    """Applies a `Linear` to the last axis; call it inside a compact method.

    All other axes are folded into one. A gradient that sums over a single axis is a
    plain matrix product, which XLA's CPU backend runs up to 1.5 times as fast.
    """
    rows = Linear(features, init, use_bias, name=name)(x.reshape(-1, x.shape[-1]))
    return rows.reshape(*x.shape[:-1], features)


def l2_normalize(x: Float[Array, "*b D"]) -> Float[Array, "*b D"]:
    """Scales each vector to unit length; a zero vector stays zero.

    The floor is under the root, so the gradient at a zero vector is finite.
    """
    # In bfloat16, a sum of D squares would lose small terms.
    wide = x.astype(sum_dtype(x))
    squares = jnp.square(wide).sum(-1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(squares, 1e-24))).astype(x.dtype)


class SelfAttention(nn.Module):
    """Multi-head self-attention, MSA of Eqs. 3-5.

    Attributes:
        num_heads: k of Eq. 3; must divide the token width.
        init_std: standard deviation of the linears' initial weights.
        remat: one of `REMAT`.
    """

    num_heads: int
    init_std: float
    remat: str = "none"

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b T D"], lengths: Int[Array, "*b"] | None
    ) -> Float[Array, "*b T D"]:
        """Attends over the first ``lengths`` tokens of each row; None means all."""
        width = x.shape[-1]
        if width % self.num_heads:
            raise ValueError(
                f"A token width of {width} cannot be split into {self.num_heads} "
                "heads; set num_heads to a divisor of the width."
            )
        init = nn.initializers.normal(self.init_std)
        # Eqs. 3-5: q, k and v of all heads, in one product.
        qkv = linear(x, 3 * width, "qkv", init)
        # [..., T, 3D] -> three of [..., T, M, d]
        q_TMd, k_TMd, v_TMd = (
            part.reshape(*x.shape[:-1], self.num_heads, -1)
            for part in jnp.split(qkv, 3, axis=-1)
        )
        if self.is_mutable_collection("intermediates"):  # Requested by analysis.py.
            # Computed separately, because `attend` does not return its weights.
            heads = q_TMd.swapaxes(-3, -2), k_TMd.swapaxes(-3, -2)
            self.sow("intermediates", "weights", attention.weights(*heads, lengths))
        recompute = self.remat == "attention"
        # Eqs. 3-5: softmax(q k^T / sqrt(d)) v of each head.
        heads_TMd = attention.attend(q_TMd, k_TMd, v_TMd, lengths, recompute=recompute)
        # Eqs. 3-5: the concatenated heads pass one joint output projection.
        return linear(heads_TMd.reshape(x.shape), width, "out", init)


class Mlp(nn.Module):
    """Two linears with the exact (erf) GELU between them.

    Attributes:
        hidden_dim: F.
        init_std: standard deviation of the linears' initial weights.
    """

    hidden_dim: int
    init_std: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b T D"]) -> Float[Array, "*b T D"]:
        """Maps each token on its own."""
        init = nn.initializers.normal(self.init_std)
        y = linear(x, self.hidden_dim, "fc1", init)
        # GELU(y) = y (1 + erf(y / sqrt(2))) / 2. nn.gelu uses erfc, which is also exact
        # far below zero, where the result is almost 0. erf, as in PyTorch, takes half
        # the time on a CPU.
        y = y * (0.5 + 0.5 * jax.lax.erf(y * np.float32(0.5**0.5).astype(y.dtype)))
        return linear(y, x.shape[-1], "fc2", init)


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for a whole sample in training.

    Attributes:
        rate: probability of dropping the branch.
    """

    rate: float

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B *k T D"],
        rows: Int[Array, "B"] | None = None,
        *,
        deterministic: bool,
    ) -> Float[Array, "B *k T D"]:
        """Drops each sample with probability ``rate`` and rescales the others.

        Args:
            x: the branch's output.
            rows: index of each row's random draw; counts from 0 unless given. A row's
                draw depends neither on other rows nor on the device that computes it.
            deterministic: drop nothing.

        Raises:
            ValueError: if the rate is not from 0 to below 1.
        """
        if not 0 <= self.rate < 1:
            raise ValueError(
                f"drop_path_rate is {self.rate}; set it to a value from 0 to below 1."
            )
        if deterministic or not self.rate:
            return x
        rows = jnp.arange(len(x)) if rows is None else rows
        kept, key = 1 - self.rate, self.make_rng("dropout")

        def draw(row: Int[Array, ""]) -> Bool[Array, "*k"]:
            # A key per row: any split of the batch draws the same values.
            own = jax.random.fold_in(key, row)
            return jax.random.bernoulli(own, kept, x.shape[1:-2])

        keep = jax.vmap(draw)(rows)[..., None, None]
        # Dividing by the probability of keeping a branch preserves its mean.
        return jnp.where(keep, x / kept, 0.0)


class EncoderBlock(nn.Module):
    """One transformer layer (Eqs. 1 and 2).

    Attributes:
        num_heads: attention heads.
        mlp_dim: hidden width of the MLP.
        init_std: standard deviation of the linears' initial weights.
        drop_path_rate: probability of dropping either branch in training.
        remat: one of `REMAT`.
        post_norm: normalise the sum after each branch, not the branch's input.
    """

    num_heads: int
    mlp_dim: int
    init_std: float
    drop_path_rate: float
    remat: str = "none"
    post_norm: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*b T D"],
        lengths: Int[Array, "*b"] | None,
        deterministic: bool,
        rows: Int[Array, "B"] | None = None,
    ) -> Float[Array, "*b T D"]:
        """Returns z = MLP(LN(z')) + z' with z' = MSA(LN(x)) + x.

        With `post_norm`, z = LN(MLP(z') + z') with z' = LN(MSA(x) + x). See `DropPath`
        for `rows`.
        """
        norm1, norm2 = layer_norm("norm1"), layer_norm("norm2")
        attention = SelfAttention(
            self.num_heads, self.init_std, self.remat, name="attention"
        )
        mlp = Mlp(self.mlp_dim, self.init_std, name="mlp")
        drop = functools.partial(
            DropPath(self.drop_path_rate), rows=rows, deterministic=deterministic
        )
        # The released program's language encoder; the print is pre-norm throughout.
        if self.post_norm:
            x = norm1(x + drop(attention(x, lengths)))
            return norm2(x + drop(mlp(x)))
        # Eq. 1: z' = MSA(LN(z)) + z.
        x = x + drop(attention(norm1(x), lengths))
        # Eq. 2: z = MLP(LN(z')) + z'.
        return x + drop(mlp(norm2(x)))


class TransformerEncoder(nn.Module):
    """A stack of encoder blocks; the caller normalises the output.

    Attributes:
        num_layers: number of times that a block is applied.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: standard deviation of the linears' initial weights.
        remat: one of `REMAT`.
        drop_path_rate: rate of the last layer; rates rise linearly from 0.
        share_weights: apply one block's weights ``num_layers`` times.
        post_norm: see `EncoderBlock`.
    """

    num_layers: int
    num_heads: int
    mlp_dim: int
    init_std: float
    remat: str = "none"
    drop_path_rate: float = 0.0
    share_weights: bool = False
    post_norm: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*b T D"],
        lengths: Int[Array, "*b"] | None = None,
        *,
        deterministic: bool,
        rows: Int[Array, "B"] | None = None,
    ) -> Float[Array, "*b T D"]:
        """Applies all layers.

        Args:
            x: the tokens.
            lengths: number of leading tokens to attend to, at least 1; None means all.
            deterministic: disable stochastic depth.
            rows: indices of random draws, see `DropPath`.
        """
        if self.share_weights:
            # The paper's dagger. A ramp over a single block stays at 0.
            blocks = [self._block("block", 0.0)] * self.num_layers
        else:
            # Early layers, which all others build on, are dropped least.
            last = max(self.num_layers - 1, 1)
            blocks = [
                self._block(f"block_{i}", self.drop_path_rate * i / last)
                for i in range(self.num_layers)
            ]
        for block in blocks:
            x = block(x, lengths, deterministic, rows)
        return x

    def _block(self, name: str, drop_path_rate: float) -> nn.Module:
        block = EncoderBlock
        if self.remat == "layer":
            block = nn.remat(block, static_argnums=(3,))  # deterministic
        return block(
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            init_std=self.init_std,
            drop_path_rate=drop_path_rate,
            remat=self.remat,
            post_norm=self.post_norm,
            name=name,
        )
