import json

from benchmarks import photos_curve


def stage(folder, batch_size, rows, kept):
    (folder / "checkpoints").mkdir(parents=True)
    config = {"batch_size": batch_size, "data": {"expressions_per_image": 3}}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "metrics.jsonl").write_text("".join(lines))
    for step in kept:
        (folder / "checkpoints" / str(step)).mkdir()
    (folder / "checkpoints" / "best").mkdir()
    return folder


def logged(step, rate):
    return {"step": step, "expressions_per_second": rate}


def test_expressions_and_hours_add_up_over_stages(tmp_path):
    # 12 expressions a step; the second row is from before an interruption.
    rows = [logged(100, 1.0), logged(200, 2.0), {"step": 200, "val/oiou": 0.5}]
    small = stage(tmp_path / "small", 4, [*rows, logged(150, 9.0)], [200])
    large = stage(tmp_path / "large", 2, [logged(50, 0.5)], [50, 40])
    found = photos_curve.checkpoints([small, large])
    assert [row["checkpoint"] for row in found] == ["small/200", "large/40", "large/50"]
    assert [row["expressions"] for row in found] == [2400, 2640, 2700]
    first = 1200 / 1 / 3600 + 1200 / 2 / 3600
    hours = [first, first + 240 / 0.5 / 3600, first + 300 / 0.5 / 3600]
    assert [row["hours"] for row in found] == [round(h, 2) for h in hours]
