import gzip
import io
import json
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
from fuzz.contract import FOLDER, ROOT, write
from PIL import Image

from restr_jax import shipped
from restr_jax.data import glove, photograph, preprocess
from restr_jax.data.text import Vocabulary
from restr_jax.inference import predict
from restr_jax.pretrained import weight_files
from restr_jax.workdir import model_files
from tfds_builders import fields, images, masks, rle
from tfds_builders.annotations import Problems
from tfds_builders.refer import annotations


@pytest.fixture
def cheap():
    """Asserts that the test needs less than 8 s and 40 MB."""
    tracemalloc.start()
    start = time.perf_counter()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20 and time.perf_counter() - start < 8


def zeros(size):
    packer = zlib.compressobj(9)
    chunks = [packer.compress(bytes(2**20)) for _ in range(size // 2**20)]
    return b"".join([*chunks, packer.flush()])


PACKED_ZEROS = zeros(2**27)  # 130 kB


def test_a_line_without_end_is_not_read_whole(cheap):
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03"
    path = write("bomb.txt.gz", head + PACKED_ZEROS[2:-4])
    with pytest.raises(ValueError, match=r"bomb.txt.gz, line 1 has"):
        glove.read(path, Vocabulary(["<pad>", "<unk>"]), 2, seed=0)


def part(kind, data):
    return struct.pack("<II", kind, len(data)) + data


def test_a_mat_file_is_not_unpacked_whole(cheap):
    file = io.BytesIO()
    scipy.io.savemat(file, {"segimg_t": np.zeros((6, 8))})
    path = write("bomb.mat", file.getvalue() + part(15, PACKED_ZEROS))
    with pytest.raises(ValueError, match="it takes more than 1,0"):
        masks.read_mask_file(path, 6, 8)


def test_packed_weights_do_not_fill_the_memory(cheap):
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros(2**23, np.uint8))
    content = file.getvalue()
    # Claim 16 times the real size.
    content = content.replace(struct.pack("<I", 2**23 + 128), struct.pack("<I", 2**27))
    with pytest.raises(ValueError, match="would unpack to 134,217,728 bytes"):
        weight_files.read_arrays(write("bomb.npz", content))


def test_an_unknown_file_among_weights_is_named():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(ValueError, match=r"w.npz .*'readme.txt' in it is not an"):
        weight_files.read_arrays(write("w.npz", file.getvalue()))


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_mask_of_another_size_is_not_decoded(suffix, cheap):
    Image.new("1", (5000, 5000)).convert("L").save(FOLDER / "bomb.png", suffix)
    with pytest.raises(ValueError, match=r"the mask is \[5000, 5000\] pixels"):
        masks.read_mask_file(FOLDER / "bomb.png", 6, 8)


# Ten bytes that cost pickle's C reader gigabytes, or hours.
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"(lp9999999999\n.",
        b"\x80\x02})" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(90)) + b"Ns.",
        b"\x80\x02\x8b\xff\xff\xff\x7f",
        b"\x80\x02T\xff\xff\xff\x7f",
        b"\x80\x04\x96" + b"\xff" * 7 + b"\x7f",
    ],
    ids=["memo", "text memo", "hash", "long", "string", "bytes"],
)
def test_a_pickle_takes_no_more_than_its_size(content, cheap):
    with pytest.raises(ValueError, match="bomb.p"):
        annotations.read_refs(write("bomb.p", content), Problems())


def test_long_runs_and_repeated_fields_take_linear_time(cheap):
    with pytest.raises(ValueError, match="too long"):
        rle.read_runs("o" * 300_000 + "0", 6, 8)
    pairs = ", ".join(f'"{i}": 0' for i in range(60_000))
    with pytest.raises(ValueError, match="field '59999' twice"):
        fields.parse_json(f'{{{pairs}, "59999": 0}}'.encode())


@pytest.mark.parametrize(
    ("points", "size", "message"),
    [
        ([0, 0] + [60, 60, -60, -60] * 999, (6, 8), "the outline of a polygon"),
        ([0, 0, 9e8, 9e8, 0, 9e8], (10**9, 10**9), "an image cannot have"),
        ([0, 0, 1, 1e9, 0, 1e9], (2 * 10**9, 2), "an image cannot have"),
        ([0, 0, 1, 1, 0, 1], (-6, -8), "an image cannot have"),
        ([0, 0, 1, 1, 0, 1], (0, 0), "an image cannot have"),
    ],
)
def test_a_polygon_takes_no_more_than_an_image(points, size, message, cheap):
    with pytest.raises(ValueError, match=message):
        masks.encode_segmentation([points], *size)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.vision.num_layers", 10**9),
        ("model.language.width", 10**9),
        ("model.image_size", [10**6, 10**6]),
        ("model.image_size", [-64, -64]),
        ("model.image_size", 64),
        ("model.patch_size", 0),
        ("model.fusion.num_heads", 0),
        ("model.fusion.num_heads", 7),
        ("model.fusion.kind", ["cme"]),
        ("data.max_words", 10**9),
        ("data.max_words", -1),
        ("data.tokenizer", {}),
    ],
)
def test_a_model_that_does_not_match_its_weights_is_not_built(path, value):
    source = shipped.folder("shapes")
    config = json.loads((source / "config.json").read_bytes())
    *inner, last = path.split(".")
    node = config
    for key in inner:
        node = node[key]
    node[last] = value
    folder = FOLDER / "model"
    folder.mkdir(exist_ok=True)
    for name in ("vocabulary.txt", "weights.safetensors"):
        (folder / name).write_bytes((source / name).read_bytes())
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="config.json does not fit|Unknown"):
        model_files.read(folder)


def test_postscript_is_not_run():
    # An endless program, in a file with a photograph's name.
    box = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"
    path = write("program.jpg", box)
    with pytest.raises(ValueError, match="Ghostscript"):
        photograph.to_pixels(path)
    with pytest.raises(ValueError, match="Ghostscript"):
        preprocess.decode_image(box, "it")
    with pytest.raises(ValueError, match="Ghostscript"):
        images.read_image(path)


@pytest.mark.parametrize(
    "module", ["tfds_builders.images", "restr_jax.data.preprocess"]
)
def test_no_reader_of_images_starts_ghostscript(module):
    code = (
        f"import {module}; from PIL import EpsImagePlugin; "
        "raise SystemExit(EpsImagePlugin.gs_binary is not False)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_an_expression_may_contain_any_separator_except_a_newline():
    line = {"image": "a.jpg", "expressions": ["left\u2028of \x85 it"]}
    path = write("said.jsonl", json.dumps(line, ensure_ascii=False).encode())
    (request,) = predict.find_requests([str(path)], [])
    assert request.expressions == tuple(line["expressions"])


def test_the_gzip_of_word_vectors_is_still_read():
    path = write("fine.txt.gz", gzip.compress(b"the 1 2\n"))
    table, absent = glove.read(path, Vocabulary(["<pad>", "<unk>", "the"]), 2, seed=0)
    assert table[2].tolist() == [1, 2] and absent == []
