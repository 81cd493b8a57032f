import numpy as np
import pytest

from restr_jax.evaluation import metrics


def record(intersection, union, *, image="a", length=1, kind="", stretched=(1, 1)):
    return {
        "image_id": image,
        "length": length,
        "kind": kind,
        "intersection": intersection,
        "union": union,
        "stretched_intersection": stretched[0],
        "stretched_union": stretched[1],
    }


def test_overlap_counts_pixels():
    prediction = np.array([[True, True], [False, False]])
    truth = np.array([[True, False], [True, False]])
    assert metrics.overlap(prediction, truth) == (1, 3)


def test_cumulative_and_mean_iou_match_a_computation_by_hand():
    records = [record(1, 2), record(90, 100)]
    summary = metrics.summarize(records, [(1, 20)])
    assert summary["oiou"] == 91 / 102
    assert summary["miou"] == (0.5 + 0.9) / 2
    assert summary["num_expressions"] == 2
    assert summary["num_images"] == 1


def test_precision_counts_an_iou_equal_to_the_threshold():
    records = [record(1, 2), record(7, 10), record(6, 10), record(9, 10)]
    precision = metrics.summarize(records, [])["precision"]
    assert precision == {"0.5": 1.0, "0.6": 0.75, "0.7": 0.5, "0.8": 0.25, "0.9": 0.25}


def test_an_empty_prediction_scores_zero():
    assert metrics.ious([record(0, 50), record(0, 0)]).tolist() == [0.0, 0.0]
    assert metrics.cumulative_iou([record(0, 0)]) == 0.0


def test_adding_over_batches_equals_scoring_at_once():
    rng = np.random.default_rng(0)
    records = [record(i, i + int(j)) for i, j in rng.integers(1, 1000, (50, 2))]
    halves = records[:20], records[20:]
    sums = [
        sum(r[c] for r in half) for c in ("intersection", "union") for half in halves
    ]
    assert metrics.cumulative_iou(records) == (sums[0] + sums[1]) / (sums[2] + sums[3])


def test_stretched_scores_use_their_own_columns():
    records = [record(1, 2, stretched=(3, 4)), record(1, 2, stretched=(1, 4))]
    stretched = metrics.summarize(records, [])["stretched"]
    assert stretched["oiou"] == stretched["miou"] == 0.5
    # 3/4 and 1/4.
    assert stretched["precision"]["0.7"] == 0.5 and stretched["precision"]["0.8"] == 0


def test_length_buckets_include_their_ends_and_skip_empty_ones():
    records = [record(1, 2, length=n) for n in (1, 2, 3, 5)]
    rows = metrics.summarize(records, [(1, 2), (3, 4), (5, 5), (6, 20)])["by_length"]
    assert [(r["min"], r["max"], r["count"]) for r in rows] == [
        (1, 2, 2),
        (3, 4, 1),
        (5, 5, 1),
    ]


def test_kinds_are_scored_separately():
    records = [record(1, 2, kind="relation"), record(3, 3, kind="attribute")]
    by_kind = metrics.summarize(records, [])["by_kind"]
    assert by_kind == {
        "attribute": {"count": 1, "oiou": 1.0},
        "relation": {"count": 1, "oiou": 0.5},
    }
    assert "by_kind" not in metrics.summarize([record(1, 2)], [])


def test_bootstrap_draws_images_not_expressions():
    one_image = [record(i, 10, image="a") for i in range(10)]
    low, high = metrics.bootstrap_interval(one_image)
    # With a single image, every bootstrap sample is the same.
    assert low == high == metrics.cumulative_iou(one_image)
    many = [record(i, 10, image=str(i)) for i in range(10)]
    low, high = metrics.bootstrap_interval(many)
    assert low < metrics.cumulative_iou(many) < high
    assert metrics.bootstrap_interval(many) == (low, high)


def test_an_empty_list_of_records_is_an_error():
    with pytest.raises(ValueError, match="No expression to score"):
        metrics.summarize([], [])


def test_scores_of_three_masks_match_a_computation_by_hand():
    # 3 x 3 masks: 4 of 5 pixels shared, 2 of 6, and an empty prediction.
    truth = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
    first = truth.copy()
    first[2, 2] = True
    second = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0]], bool)
    nothing = np.zeros((3, 3), bool)
    overlaps = [metrics.overlap(m, truth) for m in (first, second, nothing)]
    assert overlaps == [(4, 5), (2, 6), (0, 4)]
    records = [
        {"image_id": "a", "length": 1, "kind": "", "intersection": i, "union": u}
        for i, u in overlaps
    ]
    scores = metrics.summarize(records, [])
    assert scores["oiou"] == 6 / 15
    assert scores["miou"] == pytest.approx((4 / 5 + 2 / 6 + 0) / 3)
    assert scores["precision"]["0.8"] == pytest.approx(1 / 3)
    strict = metrics.summarize(records, [], strictly=True)
    assert strict["precision"]["0.8"] == 0.0


def answer(intersection, union, pixels, *, no_target=False, **more):
    answered = {"no_target": no_target, "pixels": pixels}
    return record(intersection, union, **more) | answered


def test_expressions_that_fit_nothing_are_scored_separately():
    meant = [answer(1, 2, 1), answer(90, 100, 95), answer(0, 8, 0)]
    nothing = [
        answer(0, 0, 0, no_target=True, kind="nothing", image="b"),
        answer(0, 0, 0, no_target=True, image="c"),
        answer(0, 40, 40, no_target=True, kind="nothing", stretched=(0, 5)),
        answer(0, 50, 50, no_target=True),
    ]
    summary = metrics.summarize(meant + nothing, [(1, 20)])
    alone = metrics.summarize(meant, [(1, 20)])
    # The usual metrics cover the three expressions that have an object.
    assert {key: summary[key] for key in alone} == alone
    assert summary["num_expressions"] == 3 and summary["num_images"] == 1
    assert summary["oiou"] == 91 / 110 and "by_kind" not in summary
    assert summary["num_no_target"] == 4
    assert summary["n_acc"] == 2 / 4
    assert summary["t_acc"] == pytest.approx(2 / 3)
    assert summary["giou"] == pytest.approx((0.5 + 0.9 + 0 + 1 + 1 + 0 + 0) / 7)
    assert summary["ciou"] == pytest.approx(91 / (2 + 100 + 8 + 40 + 50))


def test_predictions_of_fewer_than_50_pixels_are_emptied_by_the_rule_of_the_paper():
    # Of the first object, 49 of its 60 pixels are found; of the second, 50 of 80.
    meant = [answer(49, 60, 49), answer(50, 80, 50)]
    nothing = [answer(0, 49, 49, no_target=True), answer(0, 50, 50, no_target=True)]
    scores = metrics.summarize(meant + nothing, [])["under_50"]
    assert scores["n_acc"] == 1 / 2 and scores["t_acc"] == 1 / 2
    assert scores["giou"] == pytest.approx((0 + 50 / 80 + 1 + 0) / 4)
    assert scores["ciou"] == pytest.approx(50 / (60 + 80 + 0 + 50))
    # Beside an object of 30 pixels, 20 wrong ones do not count in the union.
    other = answer(10, 50, 30)
    scores = metrics.summarize([other, *meant, *nothing], [])["under_50"]
    assert scores["ciou"] == pytest.approx(50 / (30 + 60 + 80 + 0 + 50))


def test_without_such_expressions_nothing_is_added():
    assert "n_acc" not in metrics.summarize([answer(1, 2, 1)], [])
    with pytest.raises(ValueError, match="only expressions that fit nothing"):
        metrics.summarize([answer(0, 0, 0, no_target=True)], [])
