import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from restr_jax.evaluation import predictions, score, score_run

NUMBERS = ("num_images", "num_expressions", "oiou", "miou", "precision", "ci95")


@pytest.fixture(scope="module")
def scored(gref_workdir):
    """Returns a scored workdir of the sample: config, row, file of predictions."""
    config, workdir = gref_workdir
    (row,) = score_run.score_workdir(config, str(workdir))
    (path,) = (workdir / "eval" / "predictions").glob("*.jsonl")
    return config, row, path


@pytest.fixture
def changed(scored, tmp_path):
    """Returns a function that writes a changed file of predictions."""
    _, _, path = scored

    def make(change):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = change(lines) or lines
        target = tmp_path / "theirs.jsonl"
        target.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return target

    return make


def test_offline_scores_match_results_json(scored):
    config, row, path = scored
    again = score.score_file(path, config.data.data_dir)
    for name in (*NUMBERS, "stretched", "dataset", "split", "threshold"):
        assert again[name] == row[name], name
    buckets = [{k: v for k, v in b.items() if k != "paper"} for b in row["by_length"]]
    assert again["by_length"] == buckets
    assert again["headline"] == row["oiou"]


def test_kinds_and_shuffled_lines_are_scored_too(shapes_workdir, tmp_path):
    config, workdir = shapes_workdir
    rows = score_run.score_workdir(config, str(workdir))
    (path,) = (workdir / "eval" / "predictions").glob("*.jsonl")
    lines = path.read_text().splitlines()
    order = np.random.default_rng(0).permutation(len(lines))
    (tmp_path / "a.jsonl").write_text("\n".join(lines[i] for i in order) + "\n")
    again = score.score_file(tmp_path / "a.jsonl", config.data.data_dir)
    assert again["by_kind"] == rows[0]["by_kind"] and again["ci95"] == rows[0]["ci95"]


def test_conventions_differ_as_their_papers_do(scored, changed, caplog):
    config, row, path = scored
    data_dir = config.data.data_dir
    lavt = score.score_file(path, data_dir, convention="lavt")
    assert lavt["headline"] == row["stretched"]["oiou"]
    cris = score.score_file(path, data_dir, convention="cris")
    assert cris["headline"] == row["miou"]
    assert "threshold 0.5, but convention cris expects 0.35" in caplog.text


def test_precision_counts_an_equal_iou_except_strictly(scored, changed):
    config, _, _ = scored

    def half_of_it(lines):
        # The first half of the true pixels: the IoU is 1/2 if their number is even.
        for line, truth in zip(lines, truths(config), strict=True):
            inside = np.flatnonzero(truth)
            mask = np.zeros(truth.size, np.uint8)
            mask[inside[: len(inside) // 2]] = 1
            if len(inside) % 2:
                mask[inside] = 1
            line["mask"] = encode(mask.reshape(truth.shape))

    def truths(config):
        from restr_jax.data import preprocess, splits

        split = splits.open_split(config.data.data_dir, "gref/google", "val")
        for i, sentences in enumerate(split.sentences):
            record = split.source[i]
            image = preprocess.decode_image(record["image"], "")
            for k in range(len(sentences)):
                counts = record["objects"]["mask"][record["expressions"]["object"][k]]
                yield preprocess.decode_mask(counts, image.shape[:2])

    evens = [truth.sum() % 2 == 0 for truth in truths(config)]
    path = changed(half_of_it)
    lenient = score.score_file(path, config.data.data_dir)
    strict = score.score_file(path, config.data.data_dir, convention="cris")
    assert any(evens)
    assert lenient["precision"]["0.5"] == 1.0
    assert strict["precision"]["0.5"] == 1 - np.mean(evens)


def encode(mask):
    rle = mask_util.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def test_masks_without_a_stretched_one_are_stretched(scored, changed):
    config, row, _ = scored

    def drop(lines):
        for line in lines:
            del line["stretched_mask"]

    size = tuple(config.model.image_size)
    path = changed(drop)
    again = score.score_file(path, config.data.data_dir, stretch=size)
    assert again["oiou"] == row["oiou"]
    # Stretched by nearest pixels from the full size; close to the network's own mask.
    assert again["stretched"]["oiou"] == pytest.approx(
        row["stretched"]["oiou"], abs=0.02
    )


def test_missing_unknown_and_repeated_expressions_are_refused(scored, changed):
    config, _, _ = scored
    data_dir = config.data.data_dir
    with pytest.raises(ValueError, match=r"1 are missing \(\d+\), 0 are unknown"):
        score.score_file(changed(lambda lines: lines[1:]), data_dir)

    def rename(lines):
        lines[0]["sent_id"] = "of another set"

    with pytest.raises(
        ValueError, match=r"1 are missing .* 1 are unknown \(of another"
    ):
        score.score_file(changed(rename), data_dir)
    with pytest.raises(ValueError, match="1 expressions .* more than once"):
        score.score_file(changed(lambda lines: [*lines, lines[0]]), data_dir)


def test_masks_of_the_wrong_size_are_refused(scored, changed):
    config, _, _ = scored

    def shrink(lines):
        lines[1]["mask"] = encode(np.ones((48, 48), np.uint8))

    with pytest.raises(
        ValueError, match=r"mask of expression \d+ is \[48, 48\] pixels"
    ):
        score.score_file(changed(shrink), config.data.data_dir)

    def break_runs(lines):
        lines[1]["mask"]["counts"] = "0"

    with pytest.raises(ValueError, match="is not an RLE: its runs cover 0 pixels"):
        score.score_file(changed(break_runs), config.data.data_dir)

    def explode(lines):
        lines[1]["stretched_mask"] = {"size": [10**6, 10**6], "counts": "0"}

    with pytest.raises(ValueError, match="1000000 x 1000000 pixels are too many"):
        score.score_file(changed(explode), config.data.data_dir)


def test_runs_in_a_list_and_blank_lines_give_the_same_scores(scored, tmp_path):
    config, row, path = scored
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        pixels = mask_util.decode(line["mask"]).ravel(order="F")
        ends = np.flatnonzero(np.diff(pixels)) + 1
        edges = [*([0] if pixels[0] else []), 0, *ends.tolist(), pixels.size]
        line["mask"]["counts"] = np.diff(edges).tolist()
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text("\n \r\n".join(json.dumps(line) for line in lines) + "\n\n")
    again = score.score_file(theirs, config.data.data_dir)
    assert {name: again[name] for name in NUMBERS} == {n: row[n] for n in NUMBERS}


def test_stretched_masks_suffice_where_only_they_are_compared(scored, changed):
    config, row, _ = scored

    def drop(lines):
        for line in lines:
            del line["mask"]

    path, data_dir = changed(drop), config.data.data_dir
    lavt = score.score_file(path, data_dir, convention="lavt")
    assert lavt["headline"] == row["stretched"]["oiou"]
    for name in ("oiou", "miou", "precision"):
        assert lavt["stretched"][name] == row["stretched"][name]
    assert lavt["num_expressions"] == row["num_expressions"] and "oiou" not in lavt
    for convention in ("restr", "cris"):
        with pytest.raises(ValueError, match="a stretched_mask only, but"):
            score.score_file(path, data_dir, convention=convention)


@pytest.fixture
def mask_files(scored, tmp_path):
    """Returns a function that writes a folder of masks, and their prediction lines."""
    _, _, path = scored
    lines = [json.loads(line) for line in path.read_text().splitlines()]

    def make(save, field="mask"):
        folder = tmp_path / f"{save.__name__}-{field}"
        folder.mkdir()
        for line in lines:
            save(folder / line["sent_id"], mask_util.decode(line[field]))
        (folder / "._1.png").touch()  # A file of macOS.
        (folder / "notes.txt").touch()
        return folder

    return make


def save_npy(path, mask):
    np.save(path.with_suffix(".npy"), mask.astype(bool))


def save_255(path, mask):
    Image.fromarray(mask * 255).save(path.with_suffix(".png"))


def save_16_bits(path, mask):
    Image.fromarray(mask.astype(np.uint16)).save(path.with_suffix(".png"))


def save_drawn(path, mask):
    # White everywhere, and transparent outside of the object.
    drawn = np.full((*mask.shape, 4), 255, np.uint8)
    drawn[..., 3] = mask * 255
    Image.fromarray(drawn).save(path.with_suffix(".PNG"))


@pytest.mark.parametrize("save", [save_npy, save_255, save_16_bits, save_drawn])
def test_a_folder_of_masks_is_scored_as_its_lines(scored, mask_files, save):
    config, row, _ = scored
    named = {"split": "gref/google:val"}
    (folder,) = predictions.find(mask_files(save))
    again = score.score_file(folder, config.data.data_dir, **named)
    assert {name: again[name] for name in NUMBERS} == {n: row[n] for n in NUMBERS}
    with pytest.raises(ValueError, match="names no split .* add --split"):
        score.score_file(folder, config.data.data_dir)


def test_a_folder_of_stretched_masks_is_scored_as_lavt_scores(scored, mask_files):
    config, row, _ = scored
    folder, data_dir = mask_files(save_255, "stretched_mask"), config.data.data_dir
    named = {"split": "gref/google:val", "stretch": tuple(config.model.image_size)}
    again = score.score_file(folder, data_dir, convention="lavt", **named)
    assert again["headline"] == row["stretched"]["oiou"]
    with pytest.raises(ValueError, match=r"\.png: The mask of expression \d+ is \["):
        score.score_file(folder, data_dir, **named)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.array([[0, 1, 2]]), "it has 3 different values, expected 0 and one other"),
        (np.array([[0.25, 0.75, 0.75]]), "its values are 0.25 and 0.75, expected 0"),
        (np.array([[-1.0, 1.0, 1.0]]), "has 2 different values, expected 0 and one"),
        (np.array([["a", "b", "b"]]), "has 2 different values, expected 0 and one"),
        (np.zeros((1, 1, 3)), r"is \[1, 1, 3\] pixels .* its image is \[1, 3\]"),
        (b"", "is not a mask: "),
    ],
)
def test_a_file_that_is_no_mask_is_named(pixels, message, tmp_path):
    path = tmp_path / "7.npy"
    path.touch() if isinstance(pixels, bytes) else np.save(path, pixels)
    with pytest.raises(ValueError, match=rf"7\.npy.*{message}"):
        predictions.masks_of({"sent_id": "7", "file": path}, (1, 3), None)


def test_lines_and_masks_in_one_folder_are_refused(tmp_path):
    for name in ("a.jsonl", "1.png"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"in a\.jsonl and in 1\.png; keep"):
        predictions.find(tmp_path)


def test_lines_without_predictions_are_counted(scored, tmp_path):
    config, _, _ = scored
    path = tmp_path / "bad.jsonl"
    faulty = {
        '{"sent_id": "1"}': "it has neither mask nor stretched_mask",
        "not json": "it is not JSON (Expecting value: column 1)",
        "[]": "it is [], expected {...}",
        '{"sent_id": 1.5, "mask": {}}': "its sent_id is 1.5, expected text or a whole",
        '{"sent_id": "1", "mask": {"size": [1, 1]}}': "its mask lacks counts",
        '{"sent_id": "1", "mask": "a.png"}': "its mask is 'a.png', expected {",
    }
    for line, message in faulty.items():
        path.write_text(f"\n{line}\n")
        with pytest.raises(ValueError, match="bad.jsonl: 1 lines are no") as raised:
            score.score_file(path, config.data.data_dir)
        assert f"line 2: {message}" in str(raised.value)
    path.write_text("")
    with pytest.raises(ValueError, match="has no predictions"):
        score.score_file(path, config.data.data_dir)


def test_an_unnamed_split_must_be_given(scored, changed):
    config, row, _ = scored

    def forget(lines):
        for line in lines:
            del line["split"], line["threshold"]

    path = changed(forget)
    with pytest.raises(ValueError, match="add --split=unc:val"):
        score.score_file(path, config.data.data_dir)
    again = score.score_file(path, config.data.data_dir, split="gref/google:val")
    assert again["oiou"] == row["oiou"] and again["threshold"] is None


def test_the_command_scores_a_folder_without_jax(scored, tmp_path):
    config, row, path = scored
    command = [sys.executable, "-m", "restr_jax.evaluation.score"]
    folder = shutil.copytree(path.parent, tmp_path / "predictions")
    # macOS adds such files to archives.
    (folder / "._of_the_system.jsonl").write_bytes(b"\0\5\x16\7")
    given = [f"--predictions={folder}", f"--data_dir={config.data.data_dir}"]
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; "
        "runpy.run_module('restr_jax.evaluation.score', run_name='__main__'); "
        "sys.exit(3 if 'jax' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "score", *given], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["oiou"] == row["oiou"]
    failed = subprocess.run(
        [*command, f"--predictions={tmp_path}"], capture_output=True, text=True
    )
    assert failed.returncode == 1 and "No predictions (*.jsonl) at" in failed.stderr


def test_the_report_replaces_only_a_report(scored, tmp_path, monkeypatch, capsys):
    config, row, path = scored
    theirs = shutil.copy(path, tmp_path / "theirs.jsonl")
    command = ["score", f"--predictions={theirs}", f"--data_dir={config.data.data_dir}"]
    for name in ("report.json", "report.json", "theirs.jsonl"):
        monkeypatch.setattr(sys, "argv", [*command, f"--output={tmp_path / name}"])
        if name == "report.json":
            score.main()
            (written,) = json.loads((tmp_path / name).read_text())
            assert written["oiou"] == row["oiou"]
            continue
        with pytest.raises(SystemExit, match=f"{name} would be written over"):
            score.main()
    assert theirs.read_bytes() == path.read_bytes()
