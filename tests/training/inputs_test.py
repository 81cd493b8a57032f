import jax
import numpy as np

from restr_jax.data import preprocess
from restr_jax.training import inputs


def test_normalising_on_device_and_host_is_bit_identical():
    values = np.arange(256, dtype=np.uint8).reshape(8, 32, 1).repeat(3, axis=2)
    pairs = [
        preprocess.place_image(values, (48, 32), mode)
        for mode in ("stretch", "letterbox")
    ]
    pairs.append((np.zeros((48, 32, 3), np.uint8), np.zeros(4, np.int32)))  # padding
    images, boxes = map(np.stack, zip(*pairs, strict=True))
    found = jax.jit(inputs.normalise)(images, boxes)
    expected = np.stack([preprocess.normalise(*pair) for pair in pairs])
    np.testing.assert_array_equal(found, expected)
    # A letterboxed 8 x 32 image fills rows 20 to 28. Its darkest and lightest pixels
    # are -1 and 1, the margin is 0.
    assert found[1, 20, 0, 0] == -1 and found[1, 27, 31, 2] == 1
    assert not found[1, :20].any() and not found[1, 28:].any() and not found[2].any()
