import numpy as np
import pytest
import scipy.io
from PIL import Image
from pycocotools import mask as mask_util

from tfds_builders import masks

# Two parts on 6 x 8 pixels: columns 1-2 of rows 1-3, columns 5-7 of rows 0-1.
HEIGHT, WIDTH = 6, 8
TWO_PARTS = np.zeros((HEIGHT, WIDTH), bool)
TWO_PARTS[1:4, 1:3] = TWO_PARTS[0:2, 5:8] = True
SIZE = [HEIGHT, WIDTH]


def encode(segmentation):
    return masks.encode_segmentation(segmentation, HEIGHT, WIDTH)


def decode(counts):
    return mask_util.decode({"size": SIZE, "counts": counts.encode()}).astype(bool)


@pytest.mark.parametrize(
    "segmentation",
    [
        pytest.param(
            [[1, 1, 3, 1, 3, 4, 1, 4], [5, 0, 8, 0, 8, 2, 5, 2]], id="polygons"
        ),
        pytest.param(
            # The parts overlap: the mask is their union, not a sum or a difference.
            [
                [1, 1, 3, 1, 3, 3, 1, 3],
                [1, 2, 3, 2, 3, 4, 1, 4],
                [5, 0, 8, 0, 8, 2, 5, 2],
            ],
            id="overlapping polygons",
        ),
        pytest.param(
            # Runs of zeros and ones, column by column.
            {"size": SIZE, "counts": [7, 3, 3, 3, 14, 2, 4, 2, 4, 2, 4]},
            id="runs",
        ),
        pytest.param(
            {"size": [6.0, 8.0], "counts": [7.0, 3, 3, 3, 14, 2, 4, 2, 4, 2, 4]},
            id="runs of a table",
        ),
        pytest.param(
            # COCO's string: from the fourth on, each run is relative to the one two
            # before.
            {"size": SIZE, "counts": "7330;OF0000"},
            id="string",
        ),
        pytest.param(
            [
                {"size": SIZE, "counts": [7, 3, 3, 3, 32]},
                {"size": SIZE, "counts": [30, 2, 4, 2, 4, 2, 4]},
            ],
            id="list of runs",
        ),
        pytest.param(
            [
                {"size": SIZE, "counts": [7, 3, 3, 3, 32]},
                [5, 0, 8, 0, 8, 2, 5, 2],
            ],
            id="runs and polygon",
        ),
    ],
)
def test_every_encoding_gives_the_same_mask(segmentation):
    counts = encode(segmentation)
    np.testing.assert_array_equal(decode(counts), TWO_PARTS)
    assert counts == "7330;OF0000"


@pytest.mark.parametrize("counts", [[7, 3, 38], "73O"])
def test_a_mask_of_another_size_than_its_image_is_refused(counts):
    # The number of pixels is equal, so only the size differs.
    with pytest.raises(ValueError, match=r"the mask is \[8, 6\] .* image \[6, 8\]"):
        encode({"size": [WIDTH, HEIGHT], "counts": counts})


@pytest.mark.parametrize(
    "empty",
    [
        [],
        {"size": SIZE, "counts": [48]},
        [[20, 20, 25, 20, 25, 25]],
        [[0.0, 0.0, 0.1, 0.0, 0.1, 0.1]],
    ],
)
def test_a_mask_without_a_pixel_is_refused(empty):
    with pytest.raises(ValueError, match="the mask has no pixel"):
        encode(empty)


@pytest.mark.parametrize(
    ("garbage", "message"),
    [
        ([["a", "b", "c", "d", "e", "f"]], "could not convert"),
        ([[1, 1, 2]], r"a polygon is \[1, 1, 2\], not a list x, y"),
        ([1, 1, 2, 2, 3], r"a polygon is \[1, 1, 2, 2, 3\], not a list"),
        ({"size": SIZE, "counts": [7.5, 40.5]}, "its counts are not whole numbers"),
        ([[1, 1, 4, 4]], "a polygon has 2 points, fewer than 3"),
        ([[]], "a polygon has 0 points"),
        ("polygons", "'polygons'"),
        (None, "None"),
        ({"size": SIZE}, "counts"),
        ({"size": SIZE, "counts": [-4, 52]}, "cover"),
        # These crash pycocotools.
        ([[float("nan"), 0, 4, 0, 4, 4]], "far outside the image"),
        ([[float("inf"), 0, 4, 0, 4, 4]], "far outside the image"),
        ([[1e9, 0, 4, 0, 4, 4]], "far outside the image"),
    ],
)
def test_a_segmentation_of_no_known_form_is_refused(garbage, message):
    with pytest.raises(ValueError, match=f"segmentation cannot be read: .*{message}"):
        encode(garbage)


@pytest.mark.parametrize("counts", [[7, 3], [7, 3, 300], "73", "73Y:"])
def test_runs_that_do_not_cover_the_image_are_refused(counts):
    with pytest.raises(ValueError, match="cannot be read"):
        encode({"size": SIZE, "counts": counts})


@pytest.mark.parametrize(
    ("background", "dtype"), [(-1, np.int16), (1, np.uint8), (7, np.float64)]
)
def test_in_a_mat_file_the_object_is_zero(background, dtype, tmp_path):
    path = tmp_path / "1_2.mat"
    segimg = np.where(TWO_PARTS, 0, background).astype(dtype)
    scipy.io.savemat(path, {"segimg_t": segimg}, do_compression=True)
    assert masks.read_mask_file(path, HEIGHT, WIDTH) == "7330;OF0000"


@pytest.mark.parametrize(
    ("mode", "value"), [("L", 255), ("L", 1), ("1", 1), ("P", 3), ("RGB", (0, 9, 0))]
)
def test_in_an_image_the_object_is_nonzero(mode, value, tmp_path):
    image = Image.new(mode, (WIDTH, HEIGHT))
    if mode == "P":
        image.putpalette([0] * 768)
    for y, x in np.argwhere(TWO_PARTS).tolist():
        image.putpixel((x, y), value)
    image.save(tmp_path / "mask.png")
    path = tmp_path / "mask.png"
    assert masks.read_mask_file(path, HEIGHT, WIDTH) == "7330;OF0000"


def test_a_file_without_a_mask_is_refused(tmp_path):
    whole = tmp_path / "whole.mat"
    scipy.io.savemat(whole, {"segimg_t": np.zeros((6, 8))}, do_compression=True)
    other = tmp_path / "other.mat"
    scipy.io.savemat(other, {"segmentation": np.zeros((6, 8))})
    (tmp_path / "cut.mat").write_bytes(whole.read_bytes()[:-20])
    (tmp_path / "empty.png").write_bytes(b"")
    for name, message in (
        ("absent.mat", "missing"),
        ("absent.png", "missing"),
        ("cut.mat", "damaged"),
        ("empty.png", "not a mask"),
        ("other.mat", "no variable 'segimg_t'"),
    ):
        with pytest.raises(ValueError, match=message):
            masks.read_mask_file(tmp_path / name, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"the mask is \[6, 8\] .* image \[8, 6\]"):
        masks.read_mask_file(whole, WIDTH, HEIGHT)
    scipy.io.savemat(whole, {"segimg_t": np.ones((6, 8))})
    with pytest.raises(ValueError, match="the mask has no pixel"):
        masks.read_mask_file(whole, HEIGHT, WIDTH)


def test_a_flat_list_is_one_polygon():
    assert encode([1, 1, 3, 1, 3.0, 4, 1, 4]) == encode([[1, 1, 3, 1, 3, 4, 1, 4]])


@pytest.mark.parametrize("compact", [masks.compact, list])
def test_parts_without_an_area_are_skipped_beside_others(compact):
    square, line, point = [1, 1, 3, 1, 3, 4, 1, 4], [5, 5, 6, 6], [5, 5]
    rest, fault = masks.without_slivers(compact([line, square, point]))
    assert encode(rest) == encode([square])
    assert "(part 1 has 2, part 3 has 1)" in fault
    # Alone, they are the mask, which is refused.
    for whole in ([line, point], [square], square, {"size": SIZE, "counts": [48]}, []):
        assert masks.without_slivers(whole) == (whole, "")
