"""Device-side preprocessing of a batch."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8


def normalise(
    image: UInt8[Array, "B H W 3"], box: Int[Array, "B 4"]
) -> Float[Array, "B H W 3"]:
    """Scales pixels to [-1, 1], bit for bit as `data.preprocess.normalise` does.

    Images are sent to the device as bytes, a quarter of their normalised size.

    Args:
        image: RGB.
        box: the position of each image in the input: top, left, height, width.

    Returns:
        Normalised images; pixels outside the box are 0, mid-grey.
    """
    # Each [B, 1, 1], to be compared with rows and columns.
    top, left, height, width = jnp.moveaxis(box[:, :, None, None], 1, 0)
    rows = jnp.arange(image.shape[1])[None, :, None]
    columns = jnp.arange(image.shape[2])[None, None, :]
    inside = (rows >= top) & (rows < top + height)
    inside &= (columns >= left) & (columns < left + width)
    # A product is the same on every device, a quotient is not.
    pixels = (image.astype(jnp.float32) - 127.5) * np.float32(1 / 127.5)
    return jnp.where(inside[..., None], pixels, 0.0)
