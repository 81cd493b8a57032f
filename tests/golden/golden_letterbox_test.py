import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply

from restr_jax.data import preprocess
from restr_jax.data.masks import to_mask
from restr_jax.evaluation import metrics

CASES = ("landscape", "portrait", "square_up", "odd", "gray", "exact")
END_TO_END = ("landscape", "portrait", "odd")
TARGET = (64, 64)


@pytest.fixture
def of(golden):
    numbers = golden("released_preproc")

    def get(case, key):
        return numbers[f"{case}/{key}"]

    return get


def opened(of, case):
    """Returns the image as it is read, and the mask."""
    image, mask = of(case, "in/image_uint8"), of(case, "in/mask")
    if image.ndim == 2:  # A grey image is read as RGB.
        image = np.repeat(image[..., None], 3, axis=-1)
    return image, mask


@pytest.mark.parametrize("case", CASES)
def test_training_images_match_the_published_bytes(case, of):
    image, _ = opened(of, case)
    placed, box = preprocess.place_image(image, TARGET, "released")
    assert placed.dtype == np.uint8
    # No pixel becomes grey: the black margin beside the image stays black.
    np.testing.assert_array_equal(box, (0, 0, *TARGET))
    difference = placed.astype(int) - of(case, "train/image_uint8")
    # Enlarging gives exact ties between two levels; rounding may go either way.
    ties = 2 if case == "square_up" else 0
    assert np.count_nonzero(difference) <= ties and np.abs(difference).max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_training_masks_grow_like_the_published_ones(case, of):
    _, mask = opened(of, case)
    fitted = preprocess.fit_mask(mask, TARGET, "released")
    np.testing.assert_array_equal(fitted, of(case, "train/mask"))
    if case == "landscape":
        cut_at_half = preprocess.fit_mask(mask, TARGET, "letterbox")
        assert fitted.sum() == 567 and cut_at_half.sum() < 450


@pytest.mark.parametrize("case", CASES)
def test_scored_images_match_the_published_ones(case, of, assert_close):
    image, _ = opened(of, case)
    fitted = preprocess.fit_image(image, TARGET, "released")
    theirs = of(case, "eval/tensor")
    assert fitted.dtype == np.float32
    assert_close(fitted.transpose(2, 0, 1), theirs, 5e-5, case, absolute=True)


@pytest.mark.parametrize("case", CASES)
def test_restored_logits_match_the_published_ones(case, of, assert_close):
    size = of(case, "in/mask").shape
    logits = preprocess.restore(of(case, "back/in_logits"), size, "released")
    assert logits.shape == size and logits.dtype == np.float32
    assert_close(logits, of(case, "back/logits"), 5e-5, case, absolute=True)
    np.testing.assert_array_equal(to_mask(logits, 0.5), of(case, "back/mask"))


def test_scores_match_the_published_ones(of, golden):
    records = []
    for case in CASES:
        truth = of(case, "in/mask")
        enlarged = of(case, "back/in_logits")
        logits = preprocess.restore(enlarged, truth.shape, "released")
        overlap = metrics.overlap(to_mask(logits, 0.5), truth)
        assert overlap == (of(case, "back/intersection"), of(case, "back/union"))
        names = ("intersection", "union")
        described = {"image_id": case, "length": 1, "kind": ""}
        records.append(described | dict(zip(names, overlap, strict=True)))
    scores = metrics.summarize(records, [])
    percent = golden("released_preproc")["evaluate/cumulative_iou_percent"]
    np.testing.assert_allclose(100 * scores["oiou"], percent, rtol=1e-6)
    precision = golden("released_preproc")["evaluate/precision"]
    ours = list(scores["precision"].values())
    np.testing.assert_allclose(ours, precision, rtol=1e-6)


def test_an_image_becomes_the_published_mask(of, variant, assert_close):
    published = variant("released_tiny")
    fitted, tokens = [], []
    for case in END_TO_END:
        image, _ = opened(of, case)
        fitted.append(preprocess.fit_image(image, TARGET, "released"))
        tokens.append(of(case, "e2e/tokens")[None])
    output = apply(
        published.model,
        {"params": published.params},
        jnp.asarray(np.stack(fitted)),
        jnp.asarray(np.stack(tokens), jnp.int32),
    )
    for case, logits in zip(END_TO_END, output.pixel_logits[:, 0], strict=True):
        assert_close(logits, of(case, "e2e/pixel_logits"), 3e-5, case)
        size = of(case, "in/mask").shape
        restored = preprocess.restore(np.asarray(logits), size, "released")
        assert_close(restored, of(case, "e2e/logits_original_size"), 3e-5, case)
        np.testing.assert_array_equal(to_mask(restored, 0.5), of(case, "e2e/mask"))
