import importlib
import os
import pathlib
import subprocess
import sys

import pytest

from restr_jax import cli, command_line, version

ROOT = pathlib.Path(__file__).parent.parent.parent
COMMANDS = "predict serve export train eval prepare convert score".split()


def test_without_a_command_the_help_lists_all_of_them(capsys):
    cli.main([])
    lines = capsys.readouterr().out.splitlines()
    # Each has a line of its own that says what it does.
    listed = [line.split() for line in lines if line.startswith("    ")]
    assert [words[0] for words in listed] == COMMANDS
    assert all(len(words) > 2 for words in listed)


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"restr {version.__version__}\n"


@pytest.mark.parametrize("name", ["prepare", "convert", "score"])
def test_other_commands_read_their_own_arguments(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["restr"])
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--speed=3"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"usage: restr {name} ")


def test_configurations_have_names():
    names = command_line.config_names()
    assert {"gref", "photos", "ablations/cme_4", "ablations/table_5_cme"} < set(names)
    assert not {"common", "__init__", "ablations/__init__"} & set(names)
    for name in names:
        module = importlib.import_module(f"configs.{name.replace('/', '.')}")
        assert module.get_config().batch_size > 0


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["--config=gref"], [f"--config={ROOT}/configs/gref.py"]),
        (["--config", "gref:umd"], ["--config", f"{ROOT}/configs/gref.py:umd"]),
        (["-config=unc"], [f"-config={ROOT}/configs/unc.py"]),
        (
            ["--config=ablations/cme_4:shapes"],
            [f"--config={ROOT}/configs/ablations/cme_4.py:shapes"],
        ),
        # Paths stay as they are, and so do other flags.
        (["--config=configs/gref.py:tiny"], ["--config=configs/gref.py:tiny"]),
        (["--config=other.py"], ["--config=other.py"]),
        (["--workdir=gref"], ["--workdir=gref"]),
        (["--config.data.dataset=gref"], ["--config.data.dataset=gref"]),
        (["--config"], ["--config"]),
    ],
)
def test_a_name_stands_for_its_file(given, found):
    assert command_line._with_config_file(["main.py", *given]) == ["main.py", *found]


def test_the_configurations_of_the_package_are_used_in_any_folder(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise ValueError('not ours')")
    done = subprocess.run(
        [sys.executable, "-m", "restr_jax.cli", "eval", "--config=shapes:long"]
        + ["--workdir=run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "FileNotFoundError: run holds no trained model" in done.stderr
    assert "Traceback" not in done.stderr
