import io
import json

import events
from PIL import Image
from tensorboardX.proto.event_pb2 import SessionLog

from restr_jax.training.metric_writer import MetricWriter


def test_lines_and_tensorboard_agree(tmp_path):
    writer = MetricWriter(str(tmp_path), 0)
    for step in (5, 10):
        writer.write(step, {"loss": 1 / step, "learning_rate": 0.5})
        # Written in one call, so that a kill loses no reported line.
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["step"] == step
        shown = [e for e in events.read(tmp_path) if e.HasField("summary")]
        assert shown[-1].step == step
    writer.close()
    values = [(e.step, e.summary.value[0]) for e in shown]
    assert [(step, v.tag, round(v.simple_value, 6)) for step, v in values] == [
        (5, "loss", 0.2),
        (5, "learning_rate", 0.5),
        (10, "loss", 0.1),
        (10, "learning_rate", 0.5),
    ]


def test_a_resumed_run_drops_later_metrics(tmp_path, monkeypatch):
    first = MetricWriter(str(tmp_path), 0)
    for step in (5, 10, 15):
        first.write(step, {"loss": float(step)})
    first.close()
    # A real resume is another process, and its number is in the event file's name.
    monkeypatch.setattr("os.getpid", lambda: 10**9)
    second = MetricWriter(str(tmp_path), 10, lines=2)
    second.write(15, {"loss": -1.0})
    second.close()
    rows = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [row["loss"] for row in rows] == [5.0, 10.0, -1.0]
    starts = [e for e in events.read(tmp_path) if e.HasField("session_log")]
    assert [(e.step, e.session_log.status) for e in starts] == [(11, SessionLog.START)]
    assert len(list(tmp_path.glob("events.*"))) == 2


def test_a_line_keeps_its_place_whatever_its_bytes(tmp_path):
    lines = b'{"step": 5, "loss": 1.0}\n\xff\xfe\n{"step": 15, "loss": 3.0}\n'
    (tmp_path / "metrics.jsonl").write_bytes(lines)
    writer = MetricWriter(str(tmp_path), 10, lines=2)
    writer.write(15, {"loss": -1.0})
    writer.close()
    found = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(found) == writer.lines == 3
    assert [json.loads(found[i]) for i in (0, 2)] == [
        {"step": 5, "loss": 1.0},
        {"step": 15, "loss": -1.0},
    ]


def picture(color):
    file = io.BytesIO()
    Image.new("RGB", (6, 2), color).save(file, "JPEG")
    return file.getvalue()


def test_rates_configuration_and_pictures_are_for_tensorboard_only(tmp_path):
    writer = MetricWriter(str(tmp_path), 0)
    writer.write_config('{"seed": 3}')
    writer.write(5, {"loss": 0.5}, {"learning_rate/vision": 0.25})
    writer.write_pictures(5, {"val/case-1": ("the red circle", picture("red"))})
    assert writer.last == {"loss": 0.5}
    writer.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 5, "loss": 0.5}
    shown = events.shown(tmp_path)
    assert list(shown) == [
        ("config/text_summary", 1),
        ("loss", 5),
        ("learning_rate/vision", 5),
        ("val/case-1", 5),
    ]
    text = shown["config/text_summary", 1]
    assert text.metadata.plugin_data.plugin_name == "text"
    assert text.tensor.string_val == [b'```json\n{"seed": 3}\n```']
    assert shown["learning_rate/vision", 5].simple_value == 0.25
    value = shown["val/case-1", 5]
    assert value.metadata.display_name == "the red circle"
    assert (value.image.width, value.image.height) == (6, 2)
    assert value.image.encoded_image_string == picture("red")


def test_a_resumed_run_shows_configuration_and_pictures_once(tmp_path, monkeypatch):
    for process, (first, lines) in enumerate([(0, 0), (0, 0), (4, 1), (4, 1)]):
        monkeypatch.setattr("os.getpid", lambda process=process: 10**9 + process)
        writer = MetricWriter(str(tmp_path), first, lines)
        assert writer.last.get("val/oiou") == (0.25 if first else None)
        writer.write_config(f'{{"process": {process}}}')
        if first == 0:
            writer.write(4, {"val/oiou": 0.25})
            writer.write_pictures(4, {"val/case-1": ("", picture("red"))})
        writer.write_pictures(8, {"val/case-1": ("", picture("blue"))})
        writer.close()
    written = [e.step for e in events.read(tmp_path) if e.HasField("session_log")]
    assert written == [1, 5, 5]  # None in the first file.
    shown = events.shown(tmp_path)
    assert [key for key in shown if key[0] == "val/case-1"] == [
        ("val/case-1", 4),
        ("val/case-1", 8),
    ]
    configs = {step: x for (tag, step), x in shown.items() if tag.startswith("config")}
    assert list(configs) == [1, 5]
    assert b'"process": 3' in configs[5].tensor.string_val[0]
