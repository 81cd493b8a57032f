"""The vision encoder: a ViT without convolutions and without a class token (Eq. 6)."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from restr_jax.models.layers import (
    TransformerEncoder,
    layer_norm,
    linear,
    sinusoidal_positions,
)


def patchify(image: Float[Array, "*b H W 3"], size: int) -> Float[Array, "*b N C"]:
    """Cuts an image into non-overlapping patches, row by row.

    Args:
        image: pixels; height and width are multiples of ``size``.
        size: P, the side of a patch in pixels.

    Returns:
        N = HW / P^2 rows of P * P * 3 values in the order (row, column, channel).

    Raises:
        ValueError: if the image is not a whole number of patches.
    """
    *batch, height, width, channels = image.shape
    if height % size or width % size:
        raise ValueError(
            f"An image of {height} x {width} pixels is not a whole number of patches "
            f"of {size} x {size}; choose an image size that {size} divides."
        )
    rows, columns = height // size, width // size
    cut = image.reshape(*batch, rows, size, columns, size, channels)
    axis = len(batch)
    cut = cut.swapaxes(axis + 1, axis + 2)
    return cut.reshape(*batch, rows * columns, size * size * channels)


def sinusoidal_grid(height: int, width: int, dim: int) -> Float[np.ndarray, "N D"]:
    """Returns sinusoidal positions of a grid: half the columns say the row."""
    rows = sinusoidal_positions(height, dim // 2)
    columns = sinusoidal_positions(width, dim // 2)
    grid = [
        np.repeat(rows, width, axis=0),
        np.tile(columns, (height, 1)),
    ]
    return np.concatenate(grid, axis=-1)


class VisionEncoder(nn.Module):
    """Patches, a linear map, learnable positions and a transformer (Eq. 6).

    Attributes:
        image_size: (height, width) in pixels that the position table is made for.
        patch_size: P, the side of a patch in pixels.
        width: D, the width of a patch token.
        num_layers: transformer layers.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: spread of the first weights of linears and positions.
        drop_path_rate: stochastic depth of the last layer, in training.
        positions_init: "normal", or "sinusoidal" where training starts from scratch:
            a small model finds out where a patch is only after thousands of steps.
    """

    image_size: tuple[int, int]
    patch_size: int
    width: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    init_std: float
    drop_path_rate: float
    positions_init: str

    @nn.compact
    def __call__(
        self, image: Float[Array, "B H W 3"], *, deterministic: bool
    ) -> Float[Array, "B N D"]:
        """Encodes normalised images into patch features z_v."""
        if image.shape[-3:-1] != tuple(self.image_size):
            raise ValueError(
                f"Images of {image.shape[-3:-1]} pixels (height, width) were given to "
                f"a vision encoder made for {tuple(self.image_size)}; resize the "
                "images or build the model with their size."
            )
        patches = patchify(image, self.patch_size)
        xavier = nn.initializers.xavier_uniform()
        x = linear(patches, self.width, "patch_embedding", xavier)
        positions = self.param("positions", self._first_positions)
        x = TransformerEncoder(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            init_std=self.init_std,
            drop_path_rate=self.drop_path_rate,
            name="encoder",
        )(x + positions, deterministic=deterministic)
        return layer_norm("norm")(x)

    def _first_positions(self, key: Array) -> Float[Array, "1 N D"]:
        """Returns what the learnable position table starts from."""
        grid = [side // self.patch_size for side in self.image_size]
        if self.positions_init == "sinusoidal":
            return jnp.asarray(sinusoidal_grid(*grid, self.width))[None]
        if self.positions_init != "normal":
            raise ValueError(
                f"Unknown positions_init {self.positions_init!r}; it is one of "
                "'normal', 'sinusoidal'."
            )
        normal = nn.initializers.truncated_normal(self.init_std)
        return normal(key, (1, grid[0] * grid[1], self.width))
