import json
import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog

from restr_jax.training.metric_writer import MetricWriter


def events_of(workdir):
    """Reads the events in TensorBoard's order, by file name."""
    events = []
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[12 + length + 4 :]
    return events


def test_lines_and_tensorboard_agree(tmp_path):
    writer = MetricWriter(str(tmp_path), 0)
    for step in (5, 10):
        writer.write(step, {"loss": 1 / step, "learning_rate": 0.5})
        # Written in one call, so that a kill loses no reported line.
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["step"] == step
        shown = [e for e in events_of(tmp_path) if e.HasField("summary")]
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
    starts = [e for e in events_of(tmp_path) if e.HasField("session_log")]
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
