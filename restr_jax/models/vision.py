"""The vision encoder: a ViT without convolutions (Eq. 6)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from restr_jax.models.arithmetic import share
from restr_jax.models.layers import TransformerEncoder, layer_norm, linear
from restr_jax.models.positions import Grid, resize_grid, sinusoidal_grid


def patchify(image: Float[Array, "*b H W 3"], size: int) -> Float[Array, "*b N C"]:
    """Splits an image into non-overlapping patches, row by row.

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
            f"of {size} x {size}; choose an image size that is a multiple of {size}."
        )
    rows, columns = height // size, width // size
    # N = HW / P^2 patches of P * P * 3 values; no pixel belongs to two patches.
    cut = image.reshape(*batch, rows, size, columns, size, channels)
    axis = len(batch)
    # [..., h, P, w, P, 3] -> [..., h, w, P, P, 3]: pixels of a patch become adjacent.
    cut = cut.swapaxes(axis + 1, axis + 2)
    return cut.reshape(*batch, rows * columns, size * size * channels)


class VisionEncoder(nn.Module):
    """Patches, a linear map, learnable positions and a transformer (Eq. 6).

    Attributes:
        image_size: (height, width) in pixels that the position table is made for; the
            table is resized for images of another size.
        patch_size: P, the side of a patch in pixels.
        width: D, the width of a patch token.
        num_layers: transformer layers.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: standard deviation of the initial weights of linears and positions.
        drop_path_rate: stochastic depth of the last layer, in training.
        positions_init: "normal", or "sinusoidal" for training from scratch: a small
            model needs thousands of steps to learn the patches' positions.
        conv_init: initialise the patches' linear as the convolution that it equals
            (Xavier), with smaller weights than those of a linear.
        class_token: a learned token with its own position passes the encoder with the
            patches and is then dropped.
        resize_by_count: resize the position table only if the number of patches
            differs, not if only their arrangement does.
        remat: one of `layers.REMAT`.
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
    conv_init: bool
    class_token: bool
    resize_by_count: bool
    remat: str = "none"

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "B H W 3"],
        *,
        deterministic: bool,
        rows: Int[Array, "B"] | None = None,
    ) -> Float[Array, "B N D"]:
        """Encodes normalised images into patch features z_v; `rows` as in `ReSTR`."""
        # Eq. 6: the tokens are linearly projected patches plus learnable positions.
        patches = patchify(image, self.patch_size)
        x = linear(patches, self.width, "patch_embedding", self._first_kernel)
        # The print has N tokens. The released program adds a class token, as ViT does.
        if self.class_token:
            normal = nn.initializers.normal(self.init_std)
            token = self.param("class_token", normal, (1, 1, self.width))
            token = share(token, (x.shape[0], *token.shape[1:]))
            x = jnp.concatenate([token, x], axis=1)
        positions = self._positions(image.shape[-3:-1])
        # Eq. 6: z_v = Transformers(tokens), with the layers of Eqs. 1-5.
        x = TransformerEncoder(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            init_std=self.init_std,
            remat=self.remat,
            drop_path_rate=self.drop_path_rate,
            name="encoder",
        )(x + share(positions, x.shape), deterministic=deterministic, rows=rows)
        # The print applies LN to the output of a transformer encoder.
        x = layer_norm("norm")(x)
        return x[:, 1:] if self.class_token else x

    def _grid(self, size: tuple[int, int]) -> Grid:
        """Returns the numbers of patch rows and columns of an image."""
        return size[0] // self.patch_size, size[1] // self.patch_size

    def _positions(self, size: tuple[int, int]) -> Float[Array, "1 T D"]:
        """Returns the positions of an image's tokens, the class token's first."""
        table = self.param("positions", self._first_positions)
        old, new = self._grid(self.image_size), self._grid(size)
        # By count, 20 x 45 patches reuse a 30 x 30 table in its order, unresized.
        if old == new or (self.resize_by_count and np.prod(old) == np.prod(new)):
            return table
        # A class token has no place in the image, so its row is not interpolated.
        token, patches = jnp.split(table, [int(self.class_token)], axis=1)
        return jnp.concatenate([token, resize_grid(patches, old, new)], axis=1)

    def _first_kernel(
        self, key: Array, shape: tuple[int, int], dtype: Any
    ) -> Float[Array, "C D"]:
        """Returns the initial kernel of the patches' linear."""
        xavier = nn.initializers.xavier_uniform()
        if not self.conv_init:
            return xavier(key, shape, dtype)
        # A convolution's fan-out counts P * P positions, so its weights are smaller.
        size = self.patch_size
        return xavier(key, (size, size, 3, self.width), dtype).reshape(shape)

    def _first_positions(self, key: Array) -> Float[Array, "1 T D"]:
        """Returns the initial values of the learnable position table."""
        rows, columns = self._grid(self.image_size)
        if self.positions_init == "sinusoidal":
            grid = jnp.asarray(sinusoidal_grid(rows, columns, self.width))
            # The class token's position starts at zero: it has no place in the grid.
            return jnp.pad(grid, [(int(self.class_token), 0), (0, 0)])[None]
        if self.positions_init != "normal":
            raise ValueError(
                f"Unknown positions_init {self.positions_init!r}; set "
                "config.model.vision.positions_init to 'normal' or 'sinusoidal'."
            )
        normal = nn.initializers.normal(self.init_std)
        return normal(key, (1, rows * columns + self.class_token, self.width))
