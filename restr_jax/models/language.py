"""The language encoder: word vectors, sinusoidal positions, a transformer."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from restr_jax.models.layers import TransformerEncoder, layer_norm

PAD_ID = 0


def sinusoidal_positions(length: int, width: int) -> Float[np.ndarray, "L E"]:
    """Returns the fixed position table of "Attention Is All You Need".

    Column 2i is sin(p / 10000^(2i / E)) and column 2i + 1 the cosine of the same.

    Args:
        length: L, number of positions.
        width: E, even.

    Raises:
        ValueError: if the width is odd.
    """
    if width % 2:
        raise ValueError(f"Sinusoidal positions need an even width, not {width}.")
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return table.reshape(length, width).astype(np.float32)


class LanguageEncoder(nn.Module):
    """Words to word features z_l; padding is never attended to.

    Attributes:
        vocab_size: V, rows of the word table, padding and unknown word included.
        width: E, the width of a word vector (GloVe: 300).
        num_layers: transformer layers.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: spread of the linears' first weights.
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    init_std: float

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "*b L"], *, deterministic: bool
    ) -> tuple[Float[Array, "*b L E"], Bool[Array, "*b L"]]:
        """Encodes token ids; id 0 is padding.

        Returns:
            The word features, and a mask that is true at the words.
        """
        mask = tokens != PAD_ID
        x = nn.Embed(
            self.vocab_size,
            self.width,
            embedding_init=nn.initializers.normal(stddev=0.4),
            name="words",
        )(tokens)
        # The padding row of the table is zero and stays so: no gradient reaches it.
        x = jnp.where(mask[..., None], x, 0.0)
        x = x + sinusoidal_positions(tokens.shape[-1], self.width)
        x = TransformerEncoder(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            init_std=self.init_std,
            name="encoder",
        )(x, mask, deterministic=deterministic)
        return layer_norm("norm")(x), mask
