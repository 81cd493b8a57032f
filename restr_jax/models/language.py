"""The language encoder: word vectors, sinusoidal positions and a transformer."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from restr_jax.models.arithmetic import sum_dtype
from restr_jax.models.attention import attended_first, reorder
from restr_jax.models.layers import TransformerEncoder, layer_norm, linear
from restr_jax.models.positions import sinusoidal_positions

PAD_ID = 0


class WordTable(nn.Module):
    """One vector per word, like nn.Embed, with a gradient that is summed in float32.

    Attributes:
        vocab_size: V.
        width: E.
    """

    vocab_size: int
    width: int

    @nn.compact
    def __call__(self, tokens: Int[Array, "*b L"]) -> Float[Array, "*b L E"]:
        """Looks up words by their ids."""
        normal = nn.initializers.normal(stddev=0.4)
        shape = self.vocab_size, self.width
        table = self.param("embedding", normal, shape, jnp.float32)
        # The gradient of a frequent word has thousands of terms, too many for a sum in
        # bfloat16.
        rows = jnp.take(table.astype(sum_dtype(table)), tokens, axis=0)
        return rows.astype(table.dtype)


class LanguageEncoder(nn.Module):
    """Encodes words into word features z_l.

    Attributes:
        vocab_size: V, rows of the word table, including padding and the unknown word.
        width: E, the width of a word vector (GloVe: 300).
        num_layers: transformer layers.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: standard deviation of the linears' initial weights.
        post_norm: see `EncoderBlock`.
        mask_padding: padding is never attended to; otherwise it is treated as a word.
        project: apply a linear to `out_width` before the last LayerNorm.
        out_width: D, the fusion's width.
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
            The word features, of width E (D if projected), and a mask that is true at
            words.
        """
        mask = tokens != PAD_ID
        x = WordTable(self.vocab_size, self.width, name="words")(tokens)
        # No gradient reaches the padding row of the table, which is zero and stays so.
        x = jnp.where(mask[..., None], x, 0.0)
        # The positions are fixed and have no parameters.
        positions = sinusoidal_positions(tokens.shape[-1], self.width)
        x = x + positions.astype(x.dtype)
        lengths = None
        if self.mask_padding:
            # Attention needs words before padding and a length of at least 1. Positions
            # are already added, so every word keeps its own.
            order = attended_first(mask)
            x, lengths = reorder(order, x), jnp.maximum(mask.sum(-1), 1)
        # Eqs. 1-5, or the post-norm block of the released program.
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
            # The transpose of a permutation is its inverse: the mask fits x again.
            x = reorder(order.swapaxes(-1, -2), x)
        if self.project:
            init = nn.initializers.normal(self.init_std)
            x = linear(x, self.out_width, "project", init)
        # z_l: the print applies LN to the output of a transformer encoder.
        return layer_norm("norm")(x), mask
