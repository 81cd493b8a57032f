"""Reading JSON in parts gives the same values as reading it whole, in less memory."""

import json
import tracemalloc

import pytest

from tfds_builders import json_stream

NAMES = "images", "annotations"
PLAIN = {"images": [{"id": 1}], "annotations": []}
ODD = [
    12345,
    -1.5e-7,
    'a "quoted" \\ ü 象 \ud83d end',
    [[], {}, [1, 2.25]],
    {"]": "}", "": {"deep": [None, True, False]}},
    "",
    0,
    float("inf"),
]


def read(path):
    found = {name: [] for name in NAMES}
    for name, entry in json_stream.entries(path, NAMES):
        found[name].append(entry)
    return found


def write(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 3])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_parts_of_any_length_give_the_same_values(
    chunk, indent, ascii_only, tmp_path, monkeypatch
):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    content = {"info": ODD, "images": ODD, "n": 3, "annotations": ODD[::-1], "x": {}}
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)
    path = write(tmp_path, text.encode("utf-8", "surrogatepass"))
    assert read(path) == {name: content[name] for name in NAMES}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be"])
def test_encodings_are_those_of_json(encoding, tmp_path):
    assert read(write(tmp_path, json.dumps(PLAIN).encode(encoding))) == PLAIN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected {, character 0"),
        ("[]", "it is not an object"),
        ('{"images": [], "images": []}', "it has the field 'images' twice"),
        ('{"images": [' + "[" * 99_999, "nested too deeply"),
        ('{"images": [], "annotations": []', "expected ,"),
        ('{"images": [], "annotations": [],}', "expected a name"),
        ('{"images": [1 2], "annotations": []}', "expected ,, character 14"),
        ('{"images": [1,], "annotations": []}', "Expecting value, character 14"),
        ('{"images": [nul], "annotations": []}', "Expecting value, character 12"),
        ('{"images": ["a], "annotations": []}', "it is not JSON"),
        ('{"images": [], "annotations": []} {', "extra data after its end"),
        ('{"images": []}', "no list of annotations"),
        ('{"images": [], "annotations": {}}', "no list of annotations"),
    ],
)
def test_a_file_of_another_form_is_named(content, message, tmp_path, monkeypatch):
    for chunk in (1, 1 << 20):
        monkeypatch.setattr(json_stream, "_CHUNK", chunk)
        with pytest.raises(ValueError, match=message.replace("{", r"\{")):
            read(write(tmp_path, content.encode()))


def test_text_truncated_anywhere_is_refused(tmp_path):
    whole = json.dumps(PLAIN).encode()
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="it "):
            read(write(tmp_path, whole[:length]))


def test_a_large_file_takes_little_memory(tmp_path):
    outline = [[float(i) for i in range(200)]]
    entries = [{"id": i, "segmentation": outline} for i in range(8_000)]
    text = json.dumps({"images": [], "annotations": entries})
    path = write(tmp_path, text.encode())
    size = len(text)
    del text, entries
    tracemalloc.start()
    count = sum(1 for _ in json_stream.entries(path, NAMES))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8_000 and size > 8e6 and peak < size * 0.75
