"""Runs main.py in several processes and on other numbers of devices."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from restr_jax import train
from restr_jax.workdir import checkpoint

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = """
import json, ml_collections
def get_config():
    return ml_collections.ConfigDict(json.loads({!r}))
"""


@pytest.fixture(scope="module")
def config(tiny_config):
    config = tiny_config("shapes")
    config.eval.shuffled_text = False
    config.eval.num_figures = 0
    return config


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Returns a run on eight devices: its rows, its last parameters, its workdir."""
    workdir = tmp_path_factory.mktemp("whole")
    rows = train.train_and_evaluate(config, str(workdir))
    return rows, checkpoint.read_params(str(workdir / "checkpoints" / "8")), workdir


def run_main(config, folder, workdir, processes, devices, *extra):
    """Runs main.py and asserts that it succeeds."""
    for code, errors in ends_of(config, folder, workdir, processes, devices, *extra):
        assert code == 0, errors


def ends_of(config, folder, workdir, processes, devices, *extra):
    """Runs main.py with these numbers of processes and devices; returns all endings."""
    (folder / "config.py").write_text(CONFIG.format(config.to_json()))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "main.py", f"--config={folder / 'config.py'}"]
    command += [f"--workdir={workdir}", *extra]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    }
    started = []
    for i in range(processes):
        own = [
            "--distributed",
            f"--coordinator=localhost:{port}",
            f"--num_processes={processes}",
            f"--process_id={i}",
        ]
        started.append(
            subprocess.Popen(
                command + (own if processes > 1 else []),
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [process.communicate(timeout=400)[1] for process in started]
    codes = [process.returncode for process in started]
    return list(zip(codes, said, strict=True))


def assert_same_end(whole, workdir):
    rows, params, path = whole
    ours = checkpoint.read_params(str(workdir / "checkpoints" / "8"))
    pairs = jax.tree_util.tree_leaves_with_path(
        jax.tree.map(lambda a, b: np.abs(a - b).max(), ours, params)
    )
    for key, difference in pairs:
        # As in parallel_test.py: sums in another order; this bias has no effect.
        if not jax.tree_util.keystr(key).endswith("['qkv']['bias']"):
            assert difference < 2e-5, jax.tree_util.keystr(key)
    losses = [
        [
            (row["step"], row["loss"])
            for row in map(json.loads, (w / "metrics.jsonl").read_text().splitlines())
            if "loss" in row
        ]
        for w in (path, workdir)
    ]
    assert [step for step, _ in losses[1]] == [2, 4, 6, 8]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    (row,) = json.loads((workdir / "eval" / "results.json").read_text())
    assert row["num_expressions"] == rows[0]["num_expressions"]
    np.testing.assert_allclose(row["oiou"], rows[0]["oiou"], atol=2e-3)


@pytest.mark.parametrize(
    ("processes", "devices", "fsdp"),
    [(1, 1, 1), (1, 4, 2), (2, 2, 1)],
)
def test_a_run_of_eight_devices_continues_on_others(
    config, whole, tmp_path, processes, devices, fsdp
):
    workdir = shutil.copytree(whole[2], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "8")  # As if the run had stopped earlier.
    shutil.rmtree(workdir / "eval")
    extra = f"--config.fsdp={fsdp}"
    run_main(config, tmp_path, workdir, processes, devices, extra)
    assert_same_end(whole, workdir)


def test_two_processes_train_checkpoint_and_score_like_one(config, whole, tmp_path):
    workdir = tmp_path / "run"
    run_main(config, tmp_path, workdir, 2, 2, "--config.fsdp=4")
    assert_same_end(whole, workdir)
    # One process can score a run of two.
    shutil.rmtree(workdir / "eval")
    run_main(config, tmp_path, workdir, 1, 1, "--mode=eval")
    assert_same_end(whole, workdir)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_run_under_the_device_order_of_a_tpu_ends_the_same(
    config, whole, tmp_path, monkeypatch, mode
):
    real = jax.make_mesh

    def make_mesh(shape, names, *, devices, **options):
        devices = [devices[i] for i in (0, 1, 2, 3, 7, 6, 5, 4)]  # as on a v5e 2x4
        return real(shape, names, devices=devices, **options)

    monkeypatch.setattr(jax, "make_mesh", make_mesh)
    config = config.copy_and_resolve_references()
    config.parallel = mode
    train.train_and_evaluate(config, str(tmp_path))
    assert_same_end(whole, tmp_path)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--config.batch_size=6"], "config.batch_size is 6, which 4 devices"),
        (["--config.fsdp=3"], "config.fsdp is 3 with config.parallel=jit"),
        (["--config.fsdp=2", "--config.parallel=pmap"], "and to be 1 with pmap"),
    ],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_every_process_reports_unsupported_device_settings(
    config, tmp_path, processes, extra, message
):
    devices = 4 // processes
    workdir = tmp_path / "run"
    for code, errors in ends_of(config, tmp_path, workdir, processes, devices, *extra):
        assert code == 1 and "Traceback" not in errors, errors
        assert len([line for line in errors.splitlines() if message in line]) == 1
    assert not workdir.exists()
