import importlib

import pytest

from configs import common
from restr_jax.data.text import Vocabulary
from restr_jax.models import build_model, parameters
from restr_jax.workdir import model_files


@pytest.fixture(scope="session")
def small():
    """Returns a model with random weights that exports in seconds."""
    words = ("<pad>", "<unk>", "the", "red", "circle", "left", "of", "square")
    config = common.get_config("tiny")
    config.model.image_size = (32, 48)
    config.data.max_words = 6
    config.data.resize = "letterbox"
    for part in ("vision", "language", "fusion"):
        config.model[part].width = 16
        config.model[part].mlp_dim = 32
    config.model.vision.num_layers = 1
    config.model.fusion.num_layers = 2
    model = build_model(config.model, len(words))
    params = parameters.init(model, config.data.max_words, seed=0)
    return model_files.Trained(config, Vocabulary(words), model, params, "nowhere")


@pytest.fixture(scope="session")
def exported(small, tmp_path_factory):
    """Returns a function that exports the small model once per format."""
    folders = {}

    def export(kind):
        if kind == "onnx":
            pytest.importorskip("jax2onnx", reason="the extra onnx")
        if kind not in folders:
            folder = tmp_path_factory.mktemp("export") / kind
            importlib.import_module(f"restr_jax.export.{kind}").export(small, folder)
            folders[kind] = folder
        return folders[kind]

    return export
