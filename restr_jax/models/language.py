"""The language encoder: word vectors, sinusoidal positions, a transformer."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from restr_jax.models.arithmetic import sum_dtype
from restr_jax.models.attention import attended_first, reorder
from restr_jax.models.layers import (
    TransformerEncoder,
    layer_norm,
    linear,
    sinusoidal_positions,
)

PAD_ID = 0


class WordTable(nn.Module):
    """A vector for each word, as nn.Embed; its gradient is summed in float32.

    Attributes:
        vocab_size: V.
        width: E.
    """

    vocab_size: int
    width: int

    @nn.compact
    def __call__(self, tokens: Int[Array, "*b L"]) -> Float[Array, "*b L E"]:
        """Looks words up by their ids."""
        normal = nn.initializers.normal(stddev=0.4)
        shape = self.vocab_size, self.width
        table = self.param("embedding", normal, shape, jnp.float32)
        # Frequent words get thousands of terms, which sums in bfloat16 would lose.
        rows = jnp.take(table.astype(sum_dtype(table)), tokens, axis=0)
        return rows.astype(table.dtype)


class LanguageEncoder(nn.Module):
    """Words to word features z_l.

    Attributes:
        vocab_size: V, rows of the word table, padding and unknown word included.
        width: E, the width of a word vector (GloVe: 300).
        num_layers: transformer layers.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: spread of the linears' first weights.
        post_norm: see `EncoderBlock`.
        mask_padding: padding is never attended to; else it is as any word.
        project: ends with a linear to `out_width`, before the last LayerNorm.
        out_width: D, of the fusion.
        remat: one of `layers.REMAT`.
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    init_std: float
    post_norm: bool
    mask_padding: bool
    project: bool
    out_width: int
    remat: str = "none"

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "*b L"], *, deterministic: bool
    ) -> tuple[Float[Array, "*b L D_l"], Bool[Array, "*b L"]]:
        """Encodes token ids; id 0 is padding.

        Returns:
            The word features, of width E or, projected, D; and a mask that is true at
            the words.
        """
        mask = tokens != PAD_ID
        x = WordTable(self.vocab_size, self.width, name="words")(tokens)
        # The padding row of the table is zero and stays so: no gradient reaches it.
        x = jnp.where(mask[..., None], x, 0.0)
        positions = sinusoidal_positions(tokens.shape[-1], self.width)
        x = x + positions.astype(x.dtype)
        lengths = None
        if self.mask_padding:
            # Attention takes the words first; they keep the positions they have.
            order = attended_first(mask)
            x, lengths = reorder(order, x), jnp.maximum(mask.sum(-1), 1)
        x = TransformerEncoder(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            init_std=self.init_std,
            remat=self.remat,
            post_norm=self.post_norm,
            name="encoder",
        )(x, lengths, deterministic=deterministic)
        if self.mask_padding:
            x = reorder(order.swapaxes(-1, -2), x)
        if self.project:
            init = nn.initializers.normal(self.init_std)
            x = linear(x, self.out_width, "project", init)
        return layer_norm("norm")(x), mask
