import json
import unicodedata

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from pycocotools import mask as mask_util

import restr_jax
from restr_jax import cli
from restr_jax.inference import predict


@pytest.fixture(scope="module")
def model():
    return restr_jax.load("shapes")


@pytest.fixture
def photographs(testdata):
    return sorted(testdata.rglob("COCO_train2014_*.jpg"))


def run(model, tmp_path, images, expressions=("red circle",)):
    requests = predict.find_requests([str(i) for i in images], expressions)
    return predict.predict(model, requests, str(tmp_path / "out"), 0.5)


def test_masks_have_the_size_of_the_photograph(model, tmp_path, photographs):
    rows = run(model, tmp_path, photographs[:1], ["the large red circle", "leftmost"])
    with Image.open(photographs[0]) as image:
        width, height = image.size
    out = tmp_path / "out"
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(rows))
    for n, row in enumerate(rows, start=1):
        name = f"{photographs[0].stem}-{n}"
        mask = np.asarray(Image.open(out / f"{name}.png"))
        assert mask.shape == (height, width)
        assert set(np.unique(mask)) <= {0, 255}
        assert row["area"] == (mask > 0).sum()
        np.testing.assert_array_equal(mask_util.decode(row["mask"]), mask > 0)
        assert Image.open(out / f"{name}-overlay.png").size == (width, height)


def test_files_folders_patterns_and_lines_are_found(tmp_path):
    for name in ("a.png", "b.JPG", "below/c.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    lines = tmp_path / "asked.jsonl"
    lines.write_text(
        '{"image": "a.png", "expressions": ["one", "two"]}\n\n'
        '{"image": "below/c.webp", "expressions": ["three"]}\n'
    )

    def found(*given):
        requests = predict.find_requests([str(tmp_path / g) for g in given], ["x"])
        return [(str(p.relative_to(tmp_path)), e) for p, e in requests]

    assert found("a.png") == [("a.png", ("x",))]
    assert found(".") == [(n, ("x",)) for n in ("a.png", "b.JPG", "below/c.webp")]
    assert found("*.png", "**/*.webp") == [
        ("a.png", ("x",)),
        ("below/c.webp", ("x",)),
    ]
    assert found("asked.jsonl") == [
        ("a.png", ("one", "two")),
        ("below/c.webp", ("three",)),
    ]
    for absent in ("d.png", "*.gif"):
        with pytest.raises(FileNotFoundError, match="There is no image"):
            found(absent)
    with pytest.raises(ValueError, match="give an --expression"):
        predict.find_requests([str(tmp_path / "a.png")], [])


def test_three_predictions_within_a_folder_keep_every_photograph(
    model, tmp_path, photographs
):
    inside = tmp_path / "photos"
    (inside / "below").mkdir(parents=True)
    for name in ("a.png", "a-1.jpg", "a-1-overlay.jpg", "below/b.webp"):
        Image.open(photographs[0]).save(inside / name)
    paths = sorted(path for path in inside.rglob("*") if path.is_file())
    before = [path.read_bytes() for path in paths]
    for expressions in (["red circle"], ["red circle", "leftmost"], ["square"]):
        requests = predict.find_requests([str(inside)], expressions)
        assert [request.path for request in requests] == paths
        predict.predict(model, requests, str(inside), 0.5)
        assert [path.read_bytes() for path in paths] == before
    # The rows are of the last prediction. They have lost a line of a killed one, and
    # an editor has dropped a mark: neither makes a photograph of a mask.
    with (inside / "predictions.jsonl").open("a") as file:
        file.write('"b.png"\n{"mask_file": 3}\n{"mask_file": "b.')
    for name in ("a-1.png", "a-1-overlay.png"):
        Image.open(inside / name).save(inside / name)
    (tmp_path / "moved").mkdir()
    (inside / "a-2.png").rename(inside / "moved.png")
    assert predict.find_requests([str(inside)], ["square"]) == requests


def test_a_shell_may_add_earlier_outputs(model, tmp_path, photographs, caplog):
    inside = tmp_path / "photos"
    inside.mkdir()
    Image.open(photographs[0]).save(inside / "a.png")
    for _ in range(2):
        given = [str(path) for path in sorted(inside.iterdir())]
        (request,) = predict.find_requests(given, ["square"])
        predict.predict(model, [request], str(inside), 0.5)
    skipped = "a-1-overlay.png", "a-1.png", "predictions.jsonl"
    for name in skipped:
        said = f"skipped {inside / name} (of an earlier prediction)"
        assert caplog.text.count(said) == 1
    assert predict.find_requests([str(inside / "*")], ["square"]) == [request]


@pytest.mark.parametrize(
    "name", ["a-1.png", "a-2-overlay.png", "predictions.jsonl", "edited"]
)
def test_files_of_the_user_are_never_written_over(model, tmp_path, photographs, name):
    inside, out = tmp_path / "photos", tmp_path / "out"
    inside.mkdir()
    Image.open(photographs[0]).save(inside / "a.jpg")
    run(model, tmp_path, [inside], ["red circle", "leftmost"])
    taken = out / name
    if name == "edited":  # Some editors keep the mark.
        taken = out / "a-1.png"
        with Image.open(taken) as mask:
            text = PngImagePlugin.PngInfo()
            text.add_text("Software", mask.info["Software"])
            mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(taken, pnginfo=text)
    elif name == "predictions.jsonl":
        taken.write_text('{"image": "a.jpg", "expressions": ["red circle"]}\n')
    else:
        Image.open(photographs[1]).save(taken)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for _ in range(3):
        with pytest.raises(ValueError, match=f"would write over {taken}. No earlier"):
            run(model, tmp_path, [inside], ["leftmost", "red circle"])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    taken.unlink()
    run(model, tmp_path, [inside], ["leftmost", "red circle"])


def test_remains_of_a_killed_prediction_are_written_over(model, tmp_path, photographs):
    (whole,) = run(model, tmp_path, photographs[:1])
    out = tmp_path / "out"
    mask, rows = out / whole["mask_file"], out / "predictions.jsonl"
    contents = mask.read_bytes(), rows.read_bytes()
    for share in (0.9, 0):
        for path, content in zip((mask, rows), contents, strict=True):
            path.write_bytes(content[: int(share * len(content))])
        run(model, tmp_path, photographs[:1])
        assert (mask.read_bytes(), rows.read_bytes()) == contents


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"image": "a.png"}',
        '{"image": 3, "expressions": ["x"]}',
        '{"image": "a.png", "expressions": "x"}',
        '{"image": "a.png", "expressions": []}',
        '{"image": "a.png", "expressions": [3]}',
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, line):
    path = tmp_path / "asked.jsonl"
    path.write_text('{"image": "a.png", "expressions": ["x"]}\n' + line + "\n")
    with pytest.raises(ValueError, match="asked.jsonl, line 2 is not of the form"):
        predict.find_requests([str(path)], [])


def test_bad_images_are_listed_and_the_rest_is_predicted(model, tmp_path, photographs):
    whole = photographs[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    images = [tmp_path / "cut.jpg", photographs[0], tmp_path / "text.png"]
    with pytest.raises(ValueError, match=r"2 of 3 images were skipped") as raised:
        run(model, tmp_path, images)
    assert "cut.jpg is damaged" in str(raised.value)
    assert "text.png is not a readable image" in str(raised.value)
    (line,) = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["image"] == str(photographs[0])


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("  ", "is empty"),
        ("zebra on stilts", "knows none of the words"),
        ("🦓", "knows none of the words"),
        ("красный круг", "knows none of the words"),
    ],
)
def test_an_expression_without_known_words_is_refused_before_anything_is_written(
    model, tmp_path, photographs, expression, message
):
    with pytest.raises(ValueError, match=message):
        run(model, tmp_path, photographs[:1], ["red circle", expression])
    assert not list(tmp_path.iterdir())


def test_ten_thousand_characters_are_truncated(model, tmp_path, photographs):
    (long,) = run(model, tmp_path, photographs[:1], ["red circle " * 1000])
    (short,) = run(model, tmp_path, photographs[:1], ["red circle " * 5])
    assert long["mask"] == short["mask"]


def test_images_of_one_name_get_distinct_outputs_or_are_refused(model, tmp_path):
    for name in ("one/a.png", "one/a.bmp", "two/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    run(model, tmp_path, [tmp_path / "one"])
    assert (tmp_path / "out" / "a.png-1.png").exists()
    assert (tmp_path / "out" / "a.bmp-1.png").exists()
    with pytest.raises(ValueError, match="would write the same files a.png-"):
        run(model, tmp_path, [tmp_path / "one", tmp_path / "two"])


def test_the_command_predicts_with_the_shipped_model(tmp_path, photographs, capsys):
    arguments = ["predict", str(photographs[0]), "-e", "red circle", "-o"]
    cli.main([*arguments, str(tmp_path / "out"), "--model=shapes"])
    assert (tmp_path / "out" / f"{photographs[0].stem}-1.png").exists()
    with pytest.raises(SystemExit, match="FileNotFoundError: There is no image absent"):
        cli.main(["predict", "absent.jpg", "-e", "red circle"])
    with pytest.raises(SystemExit, match="There is no trained model in nowhere"):
        cli.main([*arguments, str(tmp_path), "--model=nowhere"])


def test_an_empty_mask_is_logged_with_its_highest_probability(
    model, tmp_path, photographs, caplog
):
    requests = predict.find_requests([str(photographs[0])], ["red circle"])
    with caplog.at_level("INFO"):
        (row,) = predict.predict(model, requests, str(tmp_path), 0.9999999)
    assert not row["found"] and row["area"] == 0 and row["score"] < 0.9999999
    highest = f"the highest probability is {row['score']:.2f}, below 1.00"
    assert f"nothing found for 'red circle' ({highest})" in caplog.text
    assert not np.asarray(Image.open(tmp_path / row["mask_file"])).any()


def test_paths_of_other_systems_are_found(tmp_path, monkeypatch):
    one, two = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (f"photos/{two}.png", "photos/1.png", "photos/._1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = [
        {"image": image, "expressions": ["x"]}
        for image in ("photos\\1.png", f"photos/{one}.png", "photos\\2.png")
    ]
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "asked.jsonl").write_text(text, encoding="utf-8")

    def found(given):
        requests = predict.find_requests([given], ["x"])
        return [str(r.path.relative_to(tmp_path)) for r in requests]

    assert found("~/asked.jsonl") == [
        "photos/1.png",
        f"photos/{two}.png",
        "photos\\2.png",
    ]
    assert found(f"~/photos/{one}.png") == [f"photos/{two}.png"]
    assert found("~/photos/1*.png") == ["photos/1.png"]
    # macOS writes "._1.png" beside "1.png" on other disks.
    assert found("~/photos") == ["photos/1.png", f"photos/{two}.png"]


def test_the_output_may_start_with_a_tilde(model, tmp_path, monkeypatch, photographs):
    monkeypatch.setenv("HOME", str(tmp_path))
    requests = predict.find_requests([str(photographs[0])], ["red circle"])
    predict.predict(model, requests, "~/out", 0.5)
    assert (tmp_path / "out" / "predictions.jsonl").stat().st_size
