"""Words absent from training, and trained and frozen word tables."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
import safetensors.numpy

import restr_jax
from restr_jax import experiment, shipped
from restr_jax.models import build_model, parameters
from restr_jax.training import train_state
from restr_jax.training.optimizer import frozen_of, make_optimizer
from restr_jax.training.train_step import make_train_step

TRAINING_LACKS = "crimson", "zebra"


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Returns a GloVe file, and its table; the scenes lack the last two words."""
    rng = np.random.default_rng(0)
    words = ["The", "the", "red", "circle", "square", "don't", *TRAINING_LACKS]
    table = {word: rng.normal(0.0, 0.4, 32).astype(np.float32) for word in words}
    path = tmp_path_factory.mktemp("glove") / "glove.txt"
    lines = [f"{w} {' '.join(map(str, v))}\n" for w, v in table.items()]
    path.write_text("".join(lines))
    return path, table


@pytest.fixture
def config(tiny_config, vectors):
    """Returns the config of a short run from GloVe: frozen table, dropped words."""
    config = tiny_config("shapes")
    config.data.glove = str(vectors[0])
    config.data.word_dropout = 0.2
    config.optimizer.freeze_words = True
    config.optimizer.total_steps = 4
    config.model.image_size = (16, 16)  # Smaller to compile.
    config.model.vision.num_layers = 1
    config.model.fusion.num_layers = 2
    config.eval.num_figures, config.eval.shuffled_text = 0, False
    return config


def table_of(params):
    return np.asarray(params["language"]["words"]["embedding"])


def test_training_words_come_first_and_additional_glove_words_after(
    config, vectors, tmp_path
):
    alone = config.copy_and_resolve_references()
    alone.data.glove = ""
    words = experiment.start(alone, str(tmp_path / "a"), training=True).vocabulary.words
    run = experiment.start(config, str(tmp_path / "b"), training=True)
    assert run.vocabulary.words == (*words, *TRAINING_LACKS)
    config.data.glove_words = 1
    config.data.min_word_count = 10_000  # GloVe has only a few of the scenes' words.
    run = experiment.start(config, str(tmp_path / "c"), training=True)
    assert run.vocabulary.words == ("<pad>", "<unk>", "the")
    given = tmp_path / "words.txt"
    given.write_text("<pad>\n<unk>\nthe\nsquare\n")
    config.data.vocabulary, config.data.glove_words = str(given), 400_000
    run = experiment.start(config, str(tmp_path / "d"), training=True)
    further = ("red", "circle", *TRAINING_LACKS)
    assert run.vocabulary.words == ("<pad>", "<unk>", "the", "square", *further)


@pytest.mark.slow
def test_a_word_absent_from_training_uses_its_own_vector(config, vectors, tmp_path):
    runs.finish(config, tmp_path)
    model = restr_jax.load(tmp_path)
    path, table = vectors
    vocabulary, found = model.trained.vocabulary, table_of(model.trained.params)
    for word in TRAINING_LACKS:
        np.testing.assert_array_equal(found[vocabulary.ids[word]], table[word])
    image = model.encode(np.full((40, 50, 3), 90, np.uint8))
    known, nobody_s = image.segment(["crimson circle", "blickish circle"])
    assert known.unknown == () and nobody_s.unknown == ("blickish",)
    assert (known.patch_probability != nobody_s.patch_probability).any()
    assert image.segment("zebra").unknown == ()
    # The table is frozen: it equals its initial values bit for bit.
    run = experiment.start(config, str(tmp_path), training=False)
    np.testing.assert_array_equal(found, table_of(run.fresh_state().params))
    checkpoints = run.checkpoints(read_only=True)
    restored = checkpoints.restore(4, run.abstract_state).state
    checkpoints.close()
    assert int(restored.step) == 4


def test_a_frozen_table_has_no_moments_and_a_trained_one_has_two(config, tmp_path):
    for frozen, copies in ((True, 0), (False, 2)):
        config.optimizer.freeze_words = frozen
        run = experiment.start(config, str(tmp_path / str(frozen)), training=True)
        state = run.abstract_state
        shape = table_of_shape(state.params)
        shapes = [x.shape for x in jax.tree.leaves(state.opt_state)]
        assert shapes.count(shape) == copies


def table_of_shape(params):
    return params["language"]["words"]["embedding"].shape


def small_step(frozen, words):
    """Returns a compiled step of a small model with many words, and its inputs."""
    from configs import common

    config = common.get_config("tiny")
    config.model.image_size = (16, 16)
    for part, layers in (("vision", 1), ("language", 1), ("fusion", 2)):
        sizes = {"width": 32, "mlp_dim": 32, "num_heads": 2, "num_layers": layers}
        config.model[part].update(sizes)
    config.optimizer.freeze_words = frozen
    config.optimizer.update(warmup_steps=0, learning_rate=0.1, clip_norm=1.0)
    config.dtype = "float32"
    model = build_model(config.model, words)
    optimizer = make_optimizer(config.optimizer)
    step = make_train_step(model, optimizer, config)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 255, (2, 16, 16, 3), np.uint8),
        "box": np.array([[0, 0, 16, 16]] * 2, np.int32),
        "tokens": np.array([[[2, 3, 0, 0]], [[4, 1, 5, 0]]], np.int32),
        "valid": np.ones((2, 1), bool),
        "row": np.arange(2, dtype=np.int32),
        "mask": rng.random((2, 1, 16, 16)) < 0.5,
    }
    state = jax.jit(
        lambda: train_state.create(parameters.init(model, 4, seed=0), optimizer)
    )()
    run = jax.jit(lambda state, batch: step(state, batch, None), donate_argnums=0)
    return run.lower(state, batch).compile(), state, batch


def test_a_frozen_table_is_bit_identical_and_takes_no_extra_memory():
    words = 100_000
    compiled, state, batch = small_step(True, words)
    before = jax.device_get(state.params)
    for _ in range(3):
        state, sums = compiled(state, batch)
    assert float(sums["gradient_norm"]) > 0.0
    after = jax.device_get(state.params)
    np.testing.assert_array_equal(table_of(after), table_of(before))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), after, before)
    assert np.mean(jax.tree.leaves(changed)) > 0.9
    bytes_of_table = 4 * words * 32
    memory = compiled.memory_analysis()
    assert memory.argument_size_in_bytes < 1.5 * bytes_of_table
    assert memory.temp_size_in_bytes < 0.5 * bytes_of_table


def test_a_trained_table_changes_only_for_seen_words():
    compiled, state, batch = small_step(False, 1_000)
    before = table_of(jax.device_get(state.params))
    for _ in range(2):
        state, _ = compiled(state, batch)
    after = table_of(jax.device_get(state.params))
    moved = np.abs(after - before).max(-1)
    assert (moved[1:6] > 0.05).all() and moved[0] == 0.0
    # Only weight decay changes the others.
    np.testing.assert_allclose(after[6:], before[6:], rtol=2e-4)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("min_word_count", -1, "min_word_count is -1; .* integer of at least 0"),
        ("glove_words", -5, "glove_words is -5; .* integer of at least 0"),
        ("word_dropout", 1.0, r"word_dropout is 1.0; .* in \[0, 1\)"),
        ("word_dropout", -0.1, "word_dropout is -0.1; .* a probability"),
        ("word_dropout", float("nan"), "word_dropout is nan"),
    ],
)
def test_counts_and_probabilities_of_words_are_checked(
    config, tmp_path, key, value, message
):
    config.data[key] = value
    with pytest.raises(ValueError, match=message) as raised:
        experiment.start(config, str(tmp_path / "run"), training=True)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_a_workdir_older_than_these_keys_is_still_read(trained, tmp_path):
    config, workdir = trained
    left_out = shutil.ignore_patterns("checkpoints", "eval")
    shutil.copytree(workdir, tmp_path / "old", ignore=left_out)
    path = tmp_path / "old" / "config.json"
    stored = json.loads(path.read_text())
    for key in ("min_word_count", "word_dropout", "glove_words"):
        del stored["data"][key]
    del stored["optimizer"]["freeze_words"]
    path.write_text(json.dumps(stored))
    run = experiment.start(config, str(tmp_path / "old"), training=True)
    assert "<unk>" in run.vocabulary.words
    config.data.word_dropout = 0.1
    with pytest.raises(ValueError, match="word_dropout: absent there, 0.1 now"):
        experiment.start(config, str(tmp_path / "old"), training=True)


def test_many_words_do_not_allow_many_layers(tmp_path):
    # Tracing 5,000 layers would take hours before the model is refused.
    shutil.copytree(shipped.folder("shapes"), tmp_path, dirs_exist_ok=True)
    stored = json.loads((tmp_path / "config.json").read_text())
    stored["model"]["vision"]["num_layers"] = 5_000
    (tmp_path / "config.json").write_text(json.dumps(stored))
    path = tmp_path / "weights.safetensors"
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = safetensors.numpy.load_file(path)
    width = stored["model"]["language"]["width"]
    arrays["language/words/embedding"] = np.zeros((6_000, width), np.float16)
    path.write_bytes(safetensors.numpy.save(arrays, metadata))
    with pytest.raises(ValueError, match="vision.num_layers is 5000"):
        restr_jax.load(tmp_path)


def test_no_gradient_reaches_frozen_words(config):
    config.optimizer.freeze_words = True
    is_frozen = frozen_of(config.optimizer)
    params = {"language": {"words": {"embedding": jnp.ones((2, 3))}, "b": jnp.ones(3)}}

    def total(params):
        language = train_state.with_frozen(params, is_frozen)["language"]
        return (language["words"]["embedding"] * language["b"]).sum()

    gradient = jax.grad(total)(params)["language"]
    assert not gradient["words"]["embedding"].any() and gradient["b"].all()
