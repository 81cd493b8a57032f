"""Start of `restr predict`: its imports, and the programs that it keeps."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from restr_jax.commands import program_cache

ROOT = pathlib.Path(__file__).parent.parent.parent
SCENE = ROOT / "restr_jax" / "shipped" / "shapes" / "examples" / "scene-1.png"
# Training, scoring, plots and the page need these.
UNUSED = {"array_record", "grain", "gradio", "matplotlib", "optax", "orbax", "pyarrow"}
UNUSED |= {"scipy", "tensorboardX", "tensorflow_datasets", "tensorstore"}
SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


def run(code, **environment):
    """Runs Python in the checkout; returns the list that it prints last."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=inherited | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Returns JAX's configuration without a cache, and restores it."""
    # The user's cache folder on Linux, and on macOS.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "Library" / "Caches"))
    monkeypatch.setenv("HOME", str(tmp_path))
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_predicting_imports_nothing_of_training():
    code = (
        "import json, sys, restr_jax; restr_jax.load('shapes'); "
        "import restr_jax.inference.predict, restr_jax.cli; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    loaded = set(run(code))
    assert {"jax", "flax", "safetensors"} <= loaded
    assert loaded & UNUSED == set()


def test_programs_are_kept_in_the_cache_folder_of_the_user(config, tmp_path):
    program_cache.keep_programs()
    folder = pathlib.Path(config.jax_compilation_cache_dir)
    assert folder.parent == tmp_path / "Library" / "Caches" / "restr_jax" / "programs"
    assert folder.stat().st_mode & 0o777 == 0o700  # JAX trusts its content.
    # JAX's defaults keep no program that compiles in less than a second.
    assert config.jax_persistent_cache_min_compile_time_secs == 0
    assert config.jax_persistent_cache_min_entry_size_bytes == -1
    program_cache.keep_programs()
    assert config.jax_compilation_cache_dir == str(folder)


def test_the_settings_of_the_user_take_precedence(config, tmp_path):
    own = str(tmp_path / "own")
    config.update("jax_compilation_cache_dir", own)
    program_cache.keep_programs()
    assert config.jax_compilation_cache_dir == own
    config.update("jax_compilation_cache_dir", None)
    config.update("jax_enable_compilation_cache", False)
    try:
        program_cache.keep_programs()
    finally:
        config.update("jax_enable_compilation_cache", True)
    assert config.jax_compilation_cache_dir is None
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_that_cannot_be_made_is_a_warning(config, tmp_path, caplog):
    (tmp_path / "Library").write_text("a file")
    program_cache.keep_programs()
    assert config.jax_compilation_cache_dir is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "JAX_ENABLE_COMPILATION_CACHE=false" in record.getMessage()


@pytest.mark.slow
def test_the_second_prediction_compiles_nothing(tmp_path):
    code = f"""
import json, jax, restr_jax.cli
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
arguments = ["--model=shapes", "-e", "circle", "-o", {str(tmp_path / "out")!r}]
restr_jax.cli.main(["predict", {str(SCENE)!r}, *arguments])
print(json.dumps(events))
"""
    counts = []
    for damage in (False, False, True):
        files = list(tmp_path.glob("**/*-cache"))
        for file in files:
            if damage:
                file.write_bytes(file.read_bytes()[:100])
        events = run(code, XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path))
        names = "cache_hits", "cache_misses"
        counts.append([events.count(f"/jax/compilation_cache/{n}") for n in names])
    # The image's program, and the expression's. Damaged ones are compiled again.
    assert counts == [[0, 2], [2, 0], [0, 2]]
