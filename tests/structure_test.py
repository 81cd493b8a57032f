import ast
import pathlib
import re
import subprocess
import sys

import pytest

from configs import common, gref, grefcoco, shapes

ROOT = pathlib.Path(__file__).parent.parent
# Ratchets: lower them when the longest file or function gets shorter.
MAX_FILE_LINES = 330
MAX_FUNCTION_LINES = 70


def imports_of(folder):
    """Yields (file, imported module) for a file or all files of a folder."""
    path = ROOT / folder
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                yield str(file.relative_to(ROOT)), node.module
                for name in node.names:
                    yield str(file.relative_to(ROOT)), f"{node.module}.{name.name}"
            elif isinstance(node, ast.Import):
                for name in node.names:
                    yield str(file.relative_to(ROOT)), name.name


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("restr_jax/models", ("configs", "restr_jax.data", "restr_jax.parallel")),
        ("restr_jax/models", ("restr_jax.train", "restr_jax.evaluation")),
        ("restr_jax/models", ("restr_jax.training", "restr_jax.workdir")),
        ("restr_jax/data", ("jax", "flax", "restr_jax.models", "configs")),
        ("restr_jax/evaluation/metrics.py", ("jax", "restr_jax")),
        (
            "restr_jax/training/losses.py",
            ("restr_jax.data", "configs", "restr_jax.parallel"),
        ),
        ("tfds_builders", ("restr_jax", "configs", "jax")),
        ("configs", ("restr_jax", "jax")),
    ],
)
def test_imports_follow_the_layers(folder, forbidden):
    found = list(imports_of(folder))
    assert found
    wrong = [
        (file, module)
        for file, module in found
        if any(module == f or module.startswith(f + ".") for f in forbidden)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "folder", ["restr_jax", "tfds_builders", "configs", "benchmarks"]
)
def test_files_and_functions_stay_short(folder):
    long = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text()
        lengths = {"file": (len(text.splitlines()), MAX_FILE_LINES)}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = node.end_lineno - node.lineno + 1
                lengths[f"{node.name}:{node.lineno}"] = length, MAX_FUNCTION_LINES
        name = str(path.relative_to(ROOT))
        long += [(name, k, n) for k, (n, most) in lengths.items() if n > most]
    assert long == []


def test_no_room_imports_itself_through_others():
    arrows = {}
    for package in ("restr_jax", "tfds_builders", "configs", "benchmarks"):
        for file, imported in imports_of(package):
            module = (
                file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            )
            start, end = (".".join(m.split(".")[:2]) for m in (module, imported))
            if (start, end) == ("restr_jax", "restr_jax.inference"):
                continue  # `restr_jax.load` is imported on first use.
            place = ROOT / end.replace(".", "/")
            if start != end and (place.is_dir() or place.with_suffix(".py").exists()):
                arrows.setdefault(start, set()).add(end)
    assert len(arrows) > 20

    def reached_from(room):
        found, ahead = set(), [room]
        while ahead:
            new = arrows.get(ahead.pop(), set()) - found
            found |= new
            ahead += new
        return found

    assert [room for room in arrows if room in reached_from(room)] == []
    # For the same reason, nothing inside the package imports the package itself.
    inside = [file.read_text() for file in (ROOT / "restr_jax").rglob("*.py")]
    assert [
        text for text in inside if re.search("^import restr_jax$", text, re.M)
    ] == []


def test_the_roots_of_the_packages_stay_small():
    assert len(list((ROOT / "restr_jax").glob("*.py"))) <= 12
    assert len(list((ROOT / "tfds_builders").glob("*.py"))) <= 13


@pytest.mark.parametrize(
    ("module", "only_file"),
    [
        ("orbax", "restr_jax/workdir/checkpoint.py"),
        ("jax.sharding", "restr_jax/parallel.py"),
        ("tensorboardX", "restr_jax/training/metric_writer.py"),
        ("grain", "restr_jax/data/pipeline.py"),
    ],
)
def test_each_library_is_imported_by_one_module(module, only_file):
    users = {f for f, m in imports_of("restr_jax") if m.split(".")[0] == module}
    users |= {f for f, m in imports_of("restr_jax") if m.startswith(module)}
    assert users == {only_file}


def test_nothing_imports_tensorflow():
    code = (
        "import sys, restr_jax.train, restr_jax.inference.predict; "
        "import tfds_builders.prepare; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("words", ["", "B/16", "tiny"])
def test_experiments_set_only_declared_keys(words):
    declared = set(common.get_config().to_dict())
    config = gref.get_config(words)
    assert set(config.to_dict()) == declared
    assert set(grefcoco.get_config(words).to_dict()) == declared
    assert set(shapes.get_config().to_dict()) == declared
    for part in ("vision", "language", "fusion"):
        assert set(config.model[part]) == set(common.get_config().model[part])


def test_a_size_matches_its_name():
    assert gref.get_config().model.vision.width == 768
    assert gref.get_config("tiny").model.vision.width == 128
    steps = [shapes.get_config(w).optimizer.total_steps for w in ("", "long")]
    assert steps[0] < steps[1]


@pytest.mark.parametrize("words", ["huge", "tiny,B/16"])
def test_unknown_or_contradictory_words_are_refused(words):
    with pytest.raises(ValueError, match="choose at most one of each"):
        gref.get_config(words)


def test_every_key_has_a_comment():
    source = (ROOT / "configs" / "common.py").read_text()
    body = source[source.index("def _data") : source.index("config.update(")]
    keys = [line for line in body.splitlines() if re.match(r" +\w+\.\w+ = ", line)]
    assert len(keys) > 40
    silent = [k for k in keys if "#" not in k and " = _" not in k]
    # Standard transformer keys need no comment.
    plain = ("num_layers", "num_heads", "beta1", "beta2", "weight_decay", "total_steps")
    assert [k for k in silent if not any(p in k for p in (*plain, "lr_scale"))] == []
