"""Fixtures for all tests; eight fake devices, full float32 precision."""

import fcntl
import gc
import os
import pathlib
import sys
from importlib import metadata

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Tests and their child processes share programs; the cache compiles each one once.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
# These small programs run only a few times, so optimising them costs more than it
# saves. Both cores have a worker, so a program is not split for a second thread.
FLAGS = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_copy_insertion_use_region_analysis=true",
]
if metadata.version("jaxlib").startswith("0.10."):  # Unknown, so fatal, to jaxlib 0.12.
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))

import jax  # noqa: E402

sys.path.insert(0, str(ROOT))  # configs/ is not in the package.

# Set before JAX starts: tests of several devices need several.
if not jax.config.jax_platforms:  # JAX_PLATFORMS selects other devices.
    jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_collection_finish():
    """Exempts all imported modules from garbage collection, a tenth of tracing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture
def compiled():
    """Returns a list that gains an entry whenever JAX compiles or loads a program."""
    events = []

    def note(name, seconds, **_):
        if name.endswith("backend_compile_duration"):
            events.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield events
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.fixture(scope="session")
def testdata():
    """Returns the folder of small data sets and golden numbers."""
    return pathlib.Path(__file__).parent / "testdata"


@pytest.fixture(scope="session")
def real_samples():
    """Returns the folder of samples of the published sets; skips if there is none."""
    beside = ROOT.parent / "shared" / "data"
    folder = pathlib.Path(os.environ.get("RESTR_REAL_SAMPLES", beside))
    if not folder.is_dir():
        pytest.skip("there are no samples of the published sets (tests/testdata)")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, request):
    """Returns a function that fills a folder once for all workers of pytest-xdist."""

    def made(name, fill):
        base = tmp_path_factory.getbasetemp()
        if hasattr(request.config, "workerinput"):
            base = base.parent  # Shared by the workers.
        folder = base / name
        with (base / f"{name}.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            if not lock.read():
                folder.mkdir()
                fill(folder)
                lock.write("filled")
        return folder

    return made


@pytest.fixture(scope="session")
def shapes_dir(made_once):
    """Returns a data_dir with a small `shapes`."""
    from tfds_builders import prepare
    from tfds_builders.shapes import shapes_dataset_builder

    def fill(folder):
        with pytest.MonkeyPatch.context() as patch:
            few = {"train": 40, "val": 8, "test": 8}
            patch.setattr(shapes_dataset_builder.Builder, "SCENES", few)
            prepare.prepare("shapes", str(folder))

    return str(made_once("shapes", fill))


@pytest.fixture(scope="session")
def gref_dir(made_once, testdata):
    """Returns a data_dir with `gref` built from the small sample."""
    from tfds_builders import prepare

    def fill(folder):
        prepare.prepare("gref/google", str(folder), str(testdata / "refer"))

    return str(made_once("gref", fill))


@pytest.fixture(scope="session")
def tiny_config(shapes_dir, gref_dir):
    """Returns a function that makes the config of a run of eight steps, in seconds."""
    from configs import common

    def make(dataset):
        config = common.get_config("tiny")
        config.data.dataset = dataset
        config.data.data_dir = {"shapes": shapes_dir, "gref/google": gref_dir}[dataset]
        config.data.max_words = 10
        config.data.expressions_per_image = 3 if dataset == "shapes" else 1
        config.model.image_size = (32, 32)
        config.model.patch_size = 4
        for part in ("vision", "language", "fusion"):
            config.model[part].width = 32
            config.model[part].mlp_dim = 64
        config.model.vision.num_layers, config.model.fusion.num_layers = 1, 2
        config.optimizer.total_steps = 8
        config.optimizer.warmup_steps = 2
        config.optimizer.learning_rate = 1e-3
        config.log_every_steps = 2
        config.checkpoint_every_steps = 4
        config.eval.every_steps = 4
        config.eval.images_per_device = 1
        config.eval.num_figures = 1
        config.eval.shuffled_text = dataset == "shapes"
        return config

    return make


@pytest.fixture(scope="session")
def trained_once(tiny_config, made_once):
    """Returns the config and workdir of a finished run, which others may be scoring."""
    import runs

    from restr_jax import train

    config = tiny_config("shapes")

    def fill(folder):
        with runs.shared_steps():
            train.train_and_evaluate(config, str(folder))

    return config, made_once("trained", fill)


@pytest.fixture
def trained(trained_once):
    """Returns a copy of the config, and the workdir, of a finished run."""
    config, workdir = trained_once
    return config.copy_and_resolve_references(), workdir
