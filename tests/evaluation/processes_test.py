import json
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest

from restr_jax.evaluation import score_run

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent
SCORE = """
import json, sys
import jax, ml_collections
process, port, workdir = sys.argv[1:]
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_default_matmul_precision", "highest")
jax.distributed.initialize(f"localhost:{port}", 2, int(process))
from restr_jax.evaluation import score_run
config = ml_collections.ConfigDict(json.load(open(f"{workdir}/config.json")))
rows = score_run.score_workdir(config, workdir)
print("ROWS", json.dumps(rows))
"""


def predictions(workdir):
    (path,) = (workdir / "eval" / "predictions").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_processes_give_the_scores_of_one(make_workdir, tmp_path, count_flips):
    config, workdir = make_workdir(tmp_path / "one", num_figures=1)
    both = shutil.copytree(workdir, tmp_path / "both")
    score_run.score_workdir(config, str(workdir))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCORE, str(process), str(port), str(both)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    said = [process.communicate(timeout=240) for process in started]
    for process, (_, errors) in zip(started, said, strict=True):
        assert process.returncode == 0, errors
    rows = [
        json.loads(line.removeprefix("ROWS "))
        for out, _ in said
        for line in out.splitlines()
        if line.startswith("ROWS ")
    ]
    written = json.loads((both / "eval" / "results.json").read_text())
    assert rows == [written, written]
    alone = predictions(workdir)
    # Every expression appears once, in the order of the split.
    assert [r["sent_id"] for r in predictions(both)] == [r["sent_id"] for r in alone]
    flipped, pixels = count_flips(predictions(both), alone)
    assert flipped <= pixels * 1e-5
    figures = both / "eval" / "figures"
    drawn = {path.name for path in figures.glob("shapes-val-8-*.jpg")}
    cases = json.loads((figures / "cases.json").read_text())
    assert drawn == {case["file"] for case in cases}
    assert len(cases) == 1
