import json
import subprocess
import sys

import flax.traverse_util
import numpy as np
import pytest
import safetensors.numpy

from configs import common
from restr_jax.data.text import Vocabulary
from restr_jax.models import build_model, parameters
from restr_jax.pretrained import __main__, convert, load, weight_files
from restr_jax.training import train_state
from restr_jax.workdir import model_files
from restr_jax.workdir.checkpoint import Checkpoints


def run(monkeypatch, capsys, *arguments):
    """Runs the command and returns its output."""
    monkeypatch.setattr(sys, "argv", ["pretrained", *map(str, arguments)])
    __main__.main()
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, random_params):
    """Returns a function that makes a workdir of a preset's small model."""

    def make(preset, **changes):
        config = common.get_config("tiny", preset)
        for part in ("vision", "language", "fusion"):
            config.model[part].update(width=32, mlp_dim=64, num_heads=4)
        config.model.image_size = (16, 32)
        config.model.update(changes)
        folder = tmp_path_factory.mktemp(preset)
        (folder / "config.json").write_text(config.to_json())
        how = config.data.tokenizer, config.data.padding
        vocabulary = Vocabulary.from_sentences(["red circle"], *how)
        (folder / "vocabulary.txt").write_text(vocabulary.to_text())
        model = build_model(config.model, len(vocabulary))
        shapes = parameters.abstract(model, 5)
        params = random_params(shapes)
        checkpoints = Checkpoints(str(folder), 1)
        checkpoints.save(7, train_state.TrainState(7, params, ()), None)
        checkpoints.close()
        return folder, params

    return make


def test_the_command_converts_and_prints_the_mapping(
    vit_file, tiny_vit, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "vit.npz"
    printed = run(
        monkeypatch, capsys, f"--input={vit_file('google')}", f"--output={output}"
    )
    lines = [line.split() for line in printed.splitlines()]
    query = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/kernel"
    shapes = "48 x 4 x 12", "48 x 144"
    path = "vision/encoder/block_1/attention/qkv/kernel"
    assert [query, *shapes[0].split(), path, *shapes[1].split()] in lines
    assert "dropped: image classification head" in printed
    assert "layout of google. Wrote 122,688 values in 42 parameters" in printed
    weights = load.read(output)
    assert (weights.grid, weights.resize) == ((4, 4), "bilinear")
    assert weights.num_heads == {"vision": 4}
    for path, array in tiny_vit.arrays.items():
        np.testing.assert_array_equal(weights.arrays[path], array)
    with np.load(output) as file:
        notes = json.loads(str(file["metadata"]))
    assert notes["layout"] == "google" and notes["source"] == "google_vit_tiny.npz"
    digest = subprocess.check_output(["sha256sum", vit_file("google")], text=True)
    assert notes["sha256"] == digest.split()[0]


def test_pytorch_files_convert_and_positions_are_resized_on_demand(
    read_vit, write_pth, tiny_vit, tmp_path, monkeypatch, capsys
):
    path, output = write_pth(read_vit("huggingface"), "model.bin"), tmp_path / "w.npz"
    arguments = (f"--input={path}", f"--output={output}", "--positions=bicubic")
    run(monkeypatch, capsys, *arguments)
    weights = load.read(output)
    for path, array in tiny_vit.arrays.items():
        np.testing.assert_array_equal(weights.arrays[path], array)
    run(monkeypatch, capsys, *arguments, "--grid=3x5", "--format=huggingface")
    resized = load.read(output)
    assert resized.grid == (3, 5)
    np.testing.assert_array_equal(
        resized.arrays["vision/positions"],
        weights.on_grid((3, 5)).arrays["vision/positions"],
    )


def test_unknown_names_and_wrong_arguments_are_refused(
    tmp_path, vit_file, write_pth, monkeypatch, capsys
):
    path = write_pth({"conv1.weight": np.zeros((3, 3), np.float32)})
    output = tmp_path / "w.npz"
    with pytest.raises(SystemExit, match=r"conv1.weight, .*match no known layout"):
        run(monkeypatch, capsys, f"--input={path}", f"--output={output}")
    with pytest.raises(SystemExit, match="as a ViT in the timm layout does not fit"):
        given = f"--input={vit_file('google')}"
        run(monkeypatch, capsys, given, f"--output={output}", "--format=timm")
    with pytest.raises(SystemExit, match="FileNotFoundError: There is no file"):
        run(monkeypatch, capsys, "--input=absent.npz", f"--output={output}")
    assert not output.exists()
    for wrong, message in (
        ("--grid=30", "'30' is not a grid like 30x30"),
        ("--workdir=run", "must be given together"),
    ):
        with pytest.raises(SystemExit):
            run(monkeypatch, capsys, "--input=a.npz", "--output=b.npz", wrong)
        assert message in capsys.readouterr().err


def test_a_model_converts_to_the_released_layout_and_back(
    workdir, tmp_path, monkeypatch, capsys
):
    folder, params = workdir("released")
    output, back = tmp_path / "restr.safetensors", tmp_path / "back.npz"
    arguments = ("--export=released", f"--workdir={folder}", f"--output={output}")
    assert "Wrote " in run(monkeypatch, capsys, *arguments)
    with safetensors.safe_open(output, "np") as file:
        assert file.metadata() == {"format": "pt"}
    arrays = weight_files.read_arrays(output)
    assert convert.recognise(arrays) == "released"
    kernel = params["vision"]["encoder"]["block_1"]["mlp"]["fc1"]["kernel"]
    np.testing.assert_array_equal(arrays["encoder_v.blocks.1.mlp.fc1.weight"], kernel.T)
    # This model's images are not square.
    with pytest.raises(SystemExit, match="which is not a square"):
        run(monkeypatch, capsys, f"--input={output}", f"--output={back}")
    printed = run(
        monkeypatch,
        capsys,
        f"--input={output}",
        f"--output={back}",
        "--source_grid=2x4",
    )
    assert "dropped: unused image classification head" in printed
    weights = load.read(back)
    assert weights.grid == (2, 4)
    expected = flax.traverse_util.flatten_dict(params, sep="/")
    assert weights.arrays.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(weights.arrays[path], array)


def test_only_models_of_the_released_program_are_exported(workdir, tmp_path):
    output = tmp_path / "restr.safetensors"
    folder, _ = workdir("paper")
    with pytest.raises(ValueError, match="vision/class_token"):
        convert.export(folder, output)
    folder, _ = workdir("released", sigmoid_gate=True)
    with pytest.raises(ValueError, match="sigmoid_gate is True, expected False"):
        convert.export(folder, output)
    with pytest.raises(FileNotFoundError, match="There is no trained model in"):
        convert.export(tmp_path, output)
    assert not output.exists()


def test_an_output_that_init_from_would_refuse_is_refused_first(
    tmp_path, monkeypatch, capsys
):
    wrong = tmp_path / "vit"
    for given, suffix in (
        (["--input=absent.npz"], ".npz"),
        (["--export=released", "--workdir=absent"], ".safetensors"),
    ):
        with pytest.raises(SystemExit, match=f"{wrong} has to be .* ends in {suffix}"):
            run(monkeypatch, capsys, *given, f"--output={wrong}")


def test_a_tilde_is_the_home_folder(vit_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "vit.npz").symlink_to(vit_file("google"))
    monkeypatch.setenv("HOME", str(tmp_path))
    run(monkeypatch, capsys, "--input=~/vit.npz", "--output=~/new/out.npz")
    assert load.read("~/new/out.npz").grid == load.read(tmp_path / "new/out.npz").grid
    with pytest.raises(FileNotFoundError, match=f"no trained model in {tmp_path}/x"):
        model_files.read("~/x")
