"""Builds the wheel, installs it and trains with it, in a folder without a checkout."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
LINK = r"\]\((?!https?:|#)"  # of Markdown, relative


def setup_script():
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_description_has_no_relative_links():
    long_description = setup_script().long_description
    readme = "![A picture](docs/a.png) [page](docs/b.md#c), [paper](https://x.org) a[0]"
    assert long_description(readme, None) == " page, [paper](https://x.org) a[0]"
    assert long_description(readme, "https://y.org/z") == (
        "![A picture](https://y.org/z/raw/HEAD/docs/a.png) "
        "[page](https://y.org/z/blob/HEAD/docs/b.md#c), [paper](https://x.org) a[0]"
    )
    text = (ROOT / "README.md").read_text()
    assert re.search(LINK, text)
    assert not re.search(LINK, long_description(text, None))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Returns the wheel of the working tree, which building it leaves as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    unbuilt = shutil.ignore_patterns("__pycache__")
    for name in ("restr_jax", "tfds_builders", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=unbuilt)
    for path in [*(ROOT / name for name in FILES), *ROOT.glob("requirements*.txt")]:
        shutil.copy(path, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", str(source)]
    command += ["--no-build-isolation", f"--wheel-dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_has_all_files_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        (metadata,) = (n for n in packed if n.endswith("/METADATA"))
        header, _, description = archive.read(metadata).decode().partition("\n\n")
    modules = {
        str(path.relative_to(ROOT))
        for name in ("restr_jax", "tfds_builders", "configs")
        for path in (ROOT / name).rglob("*.py")
    }
    expected = {re.sub("^configs/", "restr_jax/configs/", name) for name in modules}
    assert expected == {name for name in packed if name.endswith(".py")}
    assert "restr_jax/py.typed" in packed
    assert "restr_jax/shipped/photos/weights.safetensors" in packed
    assert "restr_jax/shipped/photos/examples/two_women.jpg" in packed
    assert "tfds_builders/gref/CITATIONS.bib" in packed
    assert 'Requires-Dist: gradio<7,>=6.31; extra == "demo"' in header
    assert "Classifier: Typing :: Typed" in header
    assert description.startswith("# ReSTR in JAX")
    assert not re.search(LINK, description)


@pytest.mark.slow
def test_the_wheel_trains_scores_and_predicts(wheel, tmp_path, shapes_dir):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    bin = environment / "bin"
    (packages,) = environment.glob("lib/python*/site-packages")
    # The dependencies are those of the tests.
    paths = [*site.getsitepackages(), site.getusersitepackages()]
    (packages / "dependencies.pth").write_text("\n".join(paths))
    pip = [sys.executable, "-m", "pip", f"--python={bin / 'python'}", "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", str(wheel)], check=True)

    def restr(*arguments):
        done = subprocess.run(
            [bin / "restr", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done

    config = ["--config=shapes", "--workdir=run"]
    config += [f"--config.data.data_dir={shapes_dir}"]
    config += ["--config.optimizer.total_steps=2", "--config.optimizer.warmup_steps=1"]
    config += ["--config.checkpoint_every_steps=1", "--config.eval.every_steps=2"]
    config += ["--config.eval.num_figures=1", "--config.data.num_workers=1"]
    restr("train", *config)
    results = tmp_path / "run" / "eval" / "results.json"
    (row,) = json.loads(results.read_text())
    assert row["step"] == 2 and row["split"] == "test"
    results.unlink()
    restr("eval", *config)
    assert json.loads(results.read_text()) == [row]
    scene = ROOT / "restr_jax" / "shipped" / "shapes" / "examples" / "scene-1.png"
    restr("predict", scene, "-e", "red circle", "--model=run", "-o", "out")
    assert (tmp_path / "out" / "scene-1-1.png").exists()
    predictions = tmp_path / "run" / "eval" / "predictions"
    command = ["score", f"--predictions={predictions}", f"--data_dir={shapes_dir}"]
    (scored,) = json.loads(restr(*command).stdout)
    assert scored["oiou"] == pytest.approx(row["oiou"])
