"""What a batch goes through on the device before the model sees it."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8


def normalise(
    image: UInt8[Array, "B H W 3"], box: Int[Array, "B 4"]
) -> Float[Array, "B H W 3"]:
    """Brings pixels to [-1, 1], bit for bit as `data.preprocess.normalise` does.

    Images travel to the device as bytes, a quarter of what they take normalised.

    Args:
        image: RGB.
        box: where in the input each image lies: top, left, height, width.

    Returns:
        Normalised images; what lies beside the box is 0, mid-grey.
    """
    top, left, height, width = jnp.moveaxis(box[:, :, None, None], 1, 0)
    rows = jnp.arange(image.shape[1])[None, :, None]
    columns = jnp.arange(image.shape[2])[None, None, :]
    inside = (rows >= top) & (rows < top + height)
    inside &= (columns >= left) & (columns < left + width)
    # A product is the same number on every device, a quotient is not.
    pixels = (image.astype(jnp.float32) - 127.5) * np.float32(1 / 127.5)
    return jnp.where(inside[..., None], pixels, 0.0)
