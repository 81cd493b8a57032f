import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.parse

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import restr_jax
from restr_jax import cli, shipped
from restr_jax.export import hub
from restr_jax.workdir import model_files

ROOT = pathlib.Path(__file__).parent.parent.parent
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCENE = shipped.folder("shapes") / "examples" / "scene-1.png"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "shapes"
    hub.export(model_files.read("shapes"), folder)
    return folder


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the Hub does for the models below a folder."""

    folder: pathlib.Path
    seen: list[str]

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.seen.append(path)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._answer_api("/".join(parts[2:4]), parts[4], parts[5])
        file = self.folder / "/".join((*parts[:2], *parts[4:]))
        if not file.is_file():
            return self._send(404, b"", "EntryNotFound")
        return self._send(200, file.read_bytes())

    do_HEAD = do_GET

    def _answer_api(self, repo, kind, revision):
        folder = self.folder / repo
        if not folder.is_dir():
            return self._send(404, b"", "RepoNotFound")
        if revision not in ("main", "v1", COMMIT):
            return self._send(404, b"", "RevisionNotFound")
        files = sorted(p for p in folder.iterdir())
        if kind == "tree":
            content = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0"}
                for f in files
            ]
        else:
            named = [{"rfilename": file.name} for file in files]
            content = {"id": repo, "sha": COMMIT, "siblings": named}
        return self._send(200, json.dumps(content).encode())

    def _send(self, status, content, error=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(exported, tmp_path):
    """Serves the exported folder as lab/shapes; returns the class of its requests."""
    folder = tmp_path / "served"
    (folder / "lab").mkdir(parents=True)
    (folder / "lab" / "shapes").symlink_to(exported)
    (folder / "lab" / "other").mkdir()
    (folder / "lab" / "other" / "config.json").write_text("{}")
    handler = type("Handler", (Hub,), {"folder": folder, "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        handler.url = f"http://127.0.0.1:{server.server_port}"
        yield handler
        server.shutdown()
        thread.join()


@pytest.fixture
def client(endpoint, tmp_path, monkeypatch):
    """Connects the client to the endpoint, with an empty cache."""
    pytest.importorskip("huggingface_hub", reason="requirements-hub.txt")
    from huggingface_hub import constants

    for name, value in (
        ("ENDPOINT", endpoint.url),
        (
            "HUGGINGFACE_CO_URL_TEMPLATE",
            endpoint.url + "/{repo_id}/resolve/{revision}/{filename}",
        ),
        ("HF_HUB_CACHE", str(tmp_path / "cache")),
        ("AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json")),
        ("HF_HUB_OFFLINE", False),
    ):
        monkeypatch.setattr(constants, name, value)
    return endpoint


def test_the_folder_has_weights_words_and_cards(exported, caplog):
    names = "README.md card.json config.json model.safetensors vocabulary.txt"
    assert sorted(file.name for file in exported.iterdir()) == names.split()
    card = (exported / "README.md").read_text("utf-8")
    assert "| knows | drawings of coloured shapes only, no photographs |" in card
    assert "| size | 1,063,776 parameters, float16 |" in card
    assert "resized to 64 x 64; texts of up to 10 words" in card
    (exported / "README.md").write_text(card + "\nMine.\n")
    with caplog.at_level("INFO"):
        hub.export(model_files.read("shapes"), exported)
    assert (exported / "README.md").read_text("utf-8") == card + "\nMine.\n"
    assert f"hf upload OWNER/NAME {exported}" in caplog.text


def test_the_front_matter_is_read_by_the_client(exported):
    repocard = pytest.importorskip("huggingface_hub.repocard")
    data = repocard.ModelCard.load(exported / "README.md").data
    assert data.library_name == "restr-jax"
    assert data.pipeline_tag == "image-segmentation"
    assert data.tags == ["referring-image-segmentation", "jax"]


def test_the_folder_predicts_the_same_masks(exported):
    texts = ["the large circle", "small square"]
    ours = restr_jax.load("shapes").segment(SCENE, texts)
    theirs = restr_jax.load(exported).segment(SCENE, texts)
    for one, other in zip(ours, theirs, strict=True):
        assert one.found
        np.testing.assert_array_equal(one.logits, other.logits)


def test_formats_replace_each_other_but_no_other_model(tmp_path):
    trained = model_files.read("shapes")
    hub.export(trained, tmp_path / "a")
    model_files.write(trained, tmp_path / "a")
    weights = [f.name for f in (tmp_path / "a").glob("*.safetensors")]
    assert weights == ["weights.safetensors"]
    # The weights of another library's model have the same name.
    other = tmp_path / "vit"
    other.mkdir()
    (other / "config.json").write_text("{}")
    safetensors.numpy.save_file({"x": np.ones(2)}, other / "model.safetensors")
    with pytest.raises(FileExistsError, match="model.safetensors, .*config.json"):
        hub.export(trained, other)
    assert (other / "config.json").read_text() == "{}"
    with pytest.raises(ValueError, match="has the format None"):
        model_files.read(other)


def test_a_model_is_downloaded_once(client, exported):
    model = restr_jax.load("hf://lab/shapes")
    assert model.name == "hf://lab/shapes" and model.domain.startswith("drawings")
    expected = restr_jax.load(exported).segment(SCENE, "the large circle")
    found = model.segment(SCENE, "the large circle")
    np.testing.assert_array_equal(found.logits, expected.logits)
    files = [path for path in client.seen if "/resolve/" in path]
    assert not any(path.endswith("README.md") for path in files)
    client.seen.clear()
    restr_jax.load("hf://lab/shapes@v1")
    assert not [path for path in client.seen if "/resolve/" in path]


def test_a_downloaded_model_needs_no_network(client, monkeypatch):
    from huggingface_hub import constants

    restr_jax.load("hf://lab/shapes")
    client.seen.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert restr_jax.load("hf://lab/shapes").segment(SCENE, "circle").found
    assert client.seen == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://lab", "is not of the form hf://OWNER/NAME or"),
        ("hf://lab/a/b", "is not of the form"),
        ("hf://lab/absent", r"absent cannot be downloaded \(RepositoryNotFound"),
        ("hf://lab/shapes@v9", r"v9 cannot be downloaded \(RevisionNotFound"),
        ("hf://lab/other", r"other lacks vocabulary.txt, model.safetensors: it is no"),
    ],
)
def test_a_wrong_name_is_explained_in_one_line(client, name, message):
    with pytest.raises((OSError, ValueError), match=message) as raised:
        restr_jax.load(name)
    assert "\n" not in str(raised.value)


def test_only_models_of_the_hub_need_its_client(monkeypatch, tmp_path, exported):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # Its import fails.
    hub.export(restr_jax.load(exported).trained, tmp_path / "again")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'restr-jax\[hub\]'"):
        restr_jax.load("hf://lab/shapes")
    arguments = ["predict", str(SCENE), "-e", "circle", "--model=hf://lab/shapes"]
    with pytest.raises(SystemExit, match="^ModuleNotFoundError: hf://lab/shapes needs"):
        cli.main(arguments)


def test_the_command_exports_for_the_hub(tmp_path):
    out = tmp_path / "out"
    cli.main(["export", "--model=shapes", "--format=hub", f"--output={out}"])
    assert (out / "model.safetensors").is_file() and (out / "README.md").is_file()


@pytest.mark.slow
def test_the_command_predicts_with_a_model_of_the_endpoint(endpoint, tmp_path):
    pytest.importorskip("huggingface_hub", reason="requirements-hub.txt")
    env = os.environ | {
        "HF_ENDPOINT": endpoint.url,
        "HF_HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "restr_jax.cli", "predict", str(SCENE)]
    command += ["-e", "the large circle", "-o", str(tmp_path / "out")]
    command += ["--model=hf://lab/shapes"]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "loaded the model hf://lab/shapes, which knows drawings" in run.stderr
    with Image.open(tmp_path / "out" / "scene-1-1.png") as mask:
        found = np.asarray(mask) > 0
    expected = restr_jax.load("shapes").segment(SCENE, "the large circle").mask
    np.testing.assert_array_equal(found, expected)
