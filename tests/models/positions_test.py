import math

import jax.numpy as jnp
import numpy as np
import pytest

from restr_jax.models import positions

KEPT = 256  # The golden file keeps at most this many values per array.


def kept(array):
    flat = np.ravel(array)
    step = -(-flat.size // KEPT)
    while flat.size > KEPT and math.gcd(step, flat.size) > 1:
        step += 1
    return flat[:: step if flat.size > KEPT else 1]


@pytest.mark.parametrize(
    ("method", "kind", "old", "news"),
    [
        ("bilinear", "runtime_bilinear", (4, 4), [(6, 5), (3, 2), (8, 8)]),
        ("bicubic", "load_bicubic", (6, 6), [(8, 8), (9, 7), (4, 4), (6, 6)]),
    ],
)
def test_tables_are_resized_as_in_the_released_program(
    testdata, method, kind, old, news
):
    with np.load(testdata / "golden" / "released_tiny_resize.npz") as golden:
        table = golden[f"{kind}/in/pos_embed_{old[0]}x{old[1]}"]
        for new in news:
            expected = golden[f"{kind}/out/pos_embed_{new[0]}x{new[1]}"]
            found = positions.resize_table(table, old, new, method)
            assert found.dtype == np.float32
            assert found.shape == (1, 1 + new[0] * new[1], table.shape[-1])
            np.testing.assert_array_equal(found[:, 0], table[:, 0])
            error = np.abs(kept(found) - kept(expected)).max()
            assert error <= 1e-6 * np.abs(expected).max()


def test_interpolation_matches_a_computation_by_hand():
    # The centres lie at -1/6, 1/2 and 7/6.
    np.testing.assert_allclose(
        positions.half_pixel_matrix(2, 3, "bilinear"),
        [[1, 0], [0.5, 0.5], [0, 1]],
    )
    np.testing.assert_allclose(
        positions.half_pixel_matrix(2, 4, "bilinear"),
        [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]],
    )
    # Without smoothing: the outer values have no weight.
    np.testing.assert_allclose(
        positions.half_pixel_matrix(4, 1, "bilinear"), [[0, 0.5, 0.5, 0]]
    )
    # Halfway, Keys's kernel gives a / 8 to the far neighbours, 1 / 2 - a / 8 to the
    # near ones.
    np.testing.assert_allclose(
        positions.half_pixel_matrix(4, 1, "bicubic"),
        [[-0.09375, 0.59375, 0.59375, -0.09375]],
    )


@pytest.mark.parametrize("new", [(5, 3), (2, 2), (7, 9)])
def test_the_model_resizes_positions_the_same_way_at_run_time(new):
    table = np.random.default_rng(0).normal(size=(1, 12, 6)).astype(np.float32)
    found = positions.resize_table(table, (3, 4), new, "bilinear")
    expected = positions.resize_grid(jnp.asarray(table), (3, 4), new)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sinusoids_alternate_sine_and_cosine():
    table = positions.sinusoidal_positions(3, 4)
    angles = [2 * 1.0, 2 * 10000 ** (-2 / 4)]
    expected = [
        np.sin(angles[0]),
        np.cos(angles[0]),
        np.sin(angles[1]),
        np.cos(angles[1]),
    ]
    np.testing.assert_allclose(table[2], expected, rtol=1e-6)
    assert table[0].tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="even width, not 5"):
        positions.sinusoidal_positions(3, 5)
