import csv
import json

from restr_jax.evaluation import report
from tfds_builders import published


def row(step, oiou, **more):
    made = {
        "dataset": "gref/google",
        "split": "val",
        "step": step,
        "checkpoint": f"runs/demo/checkpoints/{step}",
        "checkpoint_id": "0123456789abcdef",
        "dataset_id": "fedcba9876543210",
        "preset": "paper",
        "resize": "stretch",
        "threshold": 0.5,
        "empty_rule": "an empty prediction has IoU 0",
        "version": "0.1.0",
        "num_images": 2,
        "num_expressions": 3,
        "oiou": oiou,
        "ci95": [0.0, 1.0],
        "miou": 0.25,
        "precision": {str(x): 0.5 for x in (0.5, 0.6, 0.7, 0.8, 0.9)},
        "stretched": {"oiou": 0.125, "miou": 0.5},
        "by_length": [
            {"min": 1, "max": 5, "count": 3, "oiou": oiou, "ci95": [0.1, 0.9]}
        ],
    }
    return report.with_paper(made) | more


def test_rows_are_added_and_a_repeated_one_is_replaced(tmp_path):
    report.add_rows(tmp_path, [row(20, 0.1), row(10, 0.2)])
    rows = report.add_rows(tmp_path, [row(20, 0.3)])
    assert [(r["step"], r["oiou"]) for r in rows] == [(10, 0.2), (20, 0.3)]
    assert json.loads((tmp_path / "results.json").read_text()) == rows


def test_a_row_of_the_same_weights_at_another_path_is_replaced(tmp_path):
    moved = row(20, 0.1, checkpoint="/elsewhere/demo/checkpoints/20")
    rows = report.add_rows(tmp_path, [row(20, 0.1), row(10, 0.2), moved])
    assert [r["checkpoint"] for r in rows] == [
        "/elsewhere/demo/checkpoints/20",
        "runs/demo/checkpoints/10",
    ]
    # Other weights, or the same ones with other inputs, are another result.
    others = [moved | {"checkpoint_id": "1"}, moved | {"resize": "letterbox"}]
    for i, other in enumerate(others):
        other["checkpoint"] = f"other/{i}/checkpoints/20"
    assert len(report.add_rows(tmp_path, others)) == 4
    # The same path with other weights was trained again.
    retrained = row(10, 0.3, checkpoint_id="2")
    assert len(report.add_rows(tmp_path, [retrained])) == 4


def test_another_threshold_is_another_row(tmp_path):
    rows = report.add_rows(tmp_path, [row(1, 0.1), row(1, 0.2, threshold=0.35)])
    assert len(rows) == 2


def test_the_csv_has_every_scalar(tmp_path):
    report.add_rows(tmp_path, [row(10, 0.2), row(20, 0.3, oiou_shuffled_text=0.05)])
    with (tmp_path / "results.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["oiou"] == "0.2"
    assert first["precision.0.5"] == "0.5"
    assert first["oiou_shuffled_text"] == ""
    assert second["oiou_shuffled_text"] == "0.05"


def test_the_report_states_score_paper_and_interval(tmp_path):
    report.add_rows(tmp_path, [row(10, 0.2, oiou_shuffled_text=0.0625)])
    text = (tmp_path / "report.md").read_text()
    for part in (
        "0.2000",
        "0.5448",
        "0.1000 to 0.9000",
        "0.5872",
        "0.0625",
        "| demo |",
    ):
        assert part in text


def test_a_score_on_the_selection_split_is_marked(tmp_path):
    on = "gref/google:val"
    # Rows of earlier versions name no selection split.
    rows = [row(10, 0.2), row(20, 0.3, selected_on=on), row(30, 0.4, selected_on=None)]
    rows.append(row(20, 0.1, split="test", selected_on=on))
    assert [report.chosen_here(r) for r in rows] == [False, True, False, False]
    assert "biased upwards" in report.to_markdown(rows)
    assert "biased upwards" not in report.to_markdown(rows[2:])


def test_buckets_are_those_of_table_2():
    assert published.length_buckets("gref/google") == [
        (1, 5),
        (6, 7),
        (8, 10),
        (11, 20),
    ]
    assert report.PAPER_OIOU["gref/google", "val"] == 0.5448


def test_scores_of_expressions_that_fit_nothing_have_their_own_table():
    scores = {"n_acc": 0.75, "t_acc": 0.9, "giou": 0.5, "ciou": 0.4}
    emptied = {"n_acc": 1.0, "t_acc": 0.8, "giou": 0.6, "ciou": 0.3}
    scores |= {"num_no_target": 7, "under_50": emptied}
    text = report.to_markdown([row(10, 0.2), row(20, 0.3, **scores)])
    assert "| 7 | no pixel | 0.7500 | 0.9000 | 0.5000 | 0.4000 |" in text
    assert "| 7 | fewer than 50 pixels | 1.0000 | 0.8000 | 0.6000 | 0.3000 |" in text
    assert text.count("N-acc") == 3  # two in the note, one in the table
    assert "N-acc" not in report.to_markdown([row(10, 0.2)])
