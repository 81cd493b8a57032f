# make demo    installs, segments example photographs, then trains and scores a toy model
# make serve   serves the model that `make demo` trained, in a browser
# make test    installs and runs the tests
# make lint    installs and checks the style

# The newest working Python; an empty shim of a version manager does not run.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
DEV := $(addprefix requirements-,dev.txt demo.txt onnx.txt hub.txt)

.PHONY: demo serve shipped photos docs test test-shapes test-slow test-browser test-tf test-gpu coverage \
	audit lint format

.venv/demo: requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: JAX has no \
	current release for older ones. Install it, or set PYTHON=/path/to/python3."; \
	exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv --upgrade-deps .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/dev: .venv/demo $(DEV)
	$(BIN)/pip install --quiet --disable-pip-version-check \
		$(addprefix -r ,requirements.txt $(DEV))
	touch $@

demo: .venv/demo
	$(BIN)/python -m restr_jax.cli predict -o runs/photographs \
		restr_jax/shipped/photos/examples/examples.jsonl
	$(BIN)/python -m tfds_builders.prepare shapes --data_dir=data
	$(BIN)/python main.py --config=configs/shapes.py --workdir=runs/demo

# Serves the model that `make demo` trained, or else the shipped one.
serve: .venv/demo requirements-demo.txt
	$(BIN)/pip install --quiet --disable-pip-version-check \
		-r requirements.txt -r requirements-demo.txt
	$(BIN)/python -m restr_jax.cli serve \
		--model=$(if $(wildcard runs/demo/checkpoints),runs/demo,photos)

# Retrains the shipped model of shapes; takes 45 minutes on two cores.
shipped: .venv/demo
	$(BIN)/python -m tfds_builders.prepare shapes --data_dir=data
	$(BIN)/python main.py --config=configs/shapes.py:long --workdir=runs/shipped
	$(BIN)/python -m restr_jax.cli export --model=runs/shipped --format=weights \
		--output=restr_jax/shipped/shapes
	$(BIN)/python -m tfds_builders.shapes.examples \
		--output=restr_jax/shipped/shapes/examples

# Retrains the model of photographs, from a folder as described in configs/photos.py.
PHOTOS ?= photos
INSTANCES := $(BIN)/python -m tfds_builders.prepare --data_dir=data/photos
PASTED := --manual_dir=$(PHOTOS) --option sources=coco,animals,singles

photos: .venv/demo
	$(INSTANCES) instances/animals --manual_dir=$(PHOTOS)/animals
	$(INSTANCES) instances/coco --manual_dir=$(PHOTOS)/coco
	$(INSTANCES) instances/singles --manual_dir=$(PHOTOS)/singles --option partial=.
	$(INSTANCES) instances/pasted $(PASTED) --option partial=singles \
		--option scenes=20000
	$(INSTANCES) instances/things $(PASTED) --option partial=animals,singles \
		--option scenes=8000 --option seed=2
	$(INSTANCES) instances/pairs $(PASTED) --option partial=coco,singles \
		--option scenes=5000 --option most_area=0.5 --option seed=3
	$(INSTANCES) instances/several --manual_dir=$(PHOTOS) \
		--option sources=coco,animals --option several=true --option seed=5
	mkdir -p runs
	$(BIN)/python -m restr_jax.pretrained --pixels=imagenet \
		--input=$(PHOTOS)/deit_tiny_patch16_224.safetensors \
		--output=runs/deit_tiny.npz
	$(BIN)/python main.py --config=configs/photos.py:small \
		--workdir=runs/photos_small --config.data.data_dir=data/photos \
		--config.init_from=runs/deit_tiny.npz \
		--config.data.glove=$(wildcard $(PHOTOS)/glove.6B.50d*)
	$(BIN)/python main.py --config=configs/photos.py --workdir=runs/photos \
		--config.data.data_dir=data/photos --config.init_from=runs/photos_small
	$(BIN)/python -m restr_jax.cli export --model=runs/photos --format=weights \
		--output=restr_jax/shipped/photos

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Lists the lines that the tests do not run, in this process or its workers.
coverage: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov=restr_jax --cov=tfds_builders \
		--cov-report=term-missing:skip-covered

# Checks every call against the shapes of its signature. Tracing takes twice as long, so these
# are only the tests of the model, its losses and its data.
test-shapes: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile \
		--jaxtyping-packages=restr_jax,beartype.beartype tests/models tests/data \
		tests/golden tests/training/losses_test.py tests/evaluation/metrics_test.py

test-slow: .venv/dev
	$(BIN)/python -m pytest -m slow

test-browser: .venv/dev
	@command -v chromium >/dev/null || { echo "The browser's tests need Chromium: \
	apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest -m browser tests/demo

# Checks the installed packages against PyPI's advisories; fails if PyPI gives no answer.
audit: .venv/dev
	$(BIN)/pip install --quiet --disable-pip-version-check "pip-audit>=2.9,<3"
	$(BIN)/pip-audit --strict

docs: .venv/dev
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	$(BIN)/mkdocs build --strict

# Uses a separate environment: nothing else here needs TensorFlow, and apache-beam needs an
# older beartype. Few of its modules are imported, so pip compiles none.
.venv-tf/dev: requirements.txt
	test -x .venv-tf/bin/python || $(PYTHON) -m venv --upgrade-deps .venv-tf
	.venv-tf/bin/pip install --quiet --disable-pip-version-check --no-compile \
		-r requirements.txt "tensorflow-cpu>=2.20" "apache-beam>=2.70" \
		"mlcroissant>=1.1" dill "pytest>=9.0,<10"
	touch $@

test-tf: .venv-tf/dev
	.venv-tf/bin/python -m pytest -m tf tests/builders

# Also a separate environment: the real compiler for NVIDIA GPUs, which needs no GPU. CUDA's
# libraries are not installed, since nothing runs.
.venv-gpu/dev: requirements.txt
	test -x .venv-gpu/bin/python || $(PYTHON) -m venv --upgrade-deps .venv-gpu
	.venv-gpu/bin/pip install --quiet --disable-pip-version-check --no-compile \
		-r requirements.txt
	version=$$(.venv-gpu/bin/python -c "import jaxlib; print(jaxlib.__version__)") && \
	.venv-gpu/bin/pip install --quiet --disable-pip-version-check --no-deps \
		jax-cuda12-pjrt==$$version jax-cuda12-plugin==$$version
	touch $@

# Compiles one training step for an H100; `python -m benchmarks.gpu_compile` has all cases.
test-gpu: .venv-gpu/dev
	.venv-gpu/bin/python -m benchmarks.gpu_compile --cases='^H100$$' \
		--results=.venv-gpu/compiled.json

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
