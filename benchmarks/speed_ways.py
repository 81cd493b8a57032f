"""Inference and training steps for benchmarks.speed, in JAX and in PyTorch."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import torch_restr
from benchmarks.torch_restr import TorchReSTR
from restr_jax import precision
from restr_jax.models import build_model
from restr_jax.training import train_state
from restr_jax.training.optimizer import make_optimizer
from restr_jax.training.train_step import make_train_step

VOCABULARY, WORDS = 12_112, 6


def make_batch(config, batch_size: int, expressions: int) -> dict[str, np.ndarray]:
    """Draws a random batch in the format of `pipeline.train_batches`."""
    rng, size = np.random.default_rng(0), tuple(config.model.image_size)
    shape = batch_size, expressions
    tokens = np.zeros((*shape, config.data.max_words), np.int32)
    tokens[..., :WORDS] = rng.integers(1, VOCABULARY, (*shape, WORDS))
    return {
        "image": rng.integers(0, 256, (batch_size, *size, 3), np.uint8),
        "box": np.tile(np.array([0, 0, *size], np.int32), (batch_size, 1)),
        "tokens": tokens,
        "valid": np.ones(shape, bool),
        "mask": rng.random((*shape, *size)) < 0.3,
        "row": np.arange(batch_size, dtype=np.int32),
    }


class Jax:
    """This package's programs, on one device."""

    def __init__(self, config, params):
        """Puts the parameters on the device; compiles nothing yet."""
        self.config, self.dtype = config, precision.compute_dtype(config.dtype)
        self.model = build_model(config.model, VOCABULARY)
        self.optimizer = make_optimizer(config.optimizer)
        self.params = jax.device_put(params)
        self.memory: dict[str, int] = {}

    def _run(self, name: str, function, *inputs, donate=()) -> Callable:
        compiled = jax.jit(function, donate_argnums=donate).lower(*inputs).compile()
        found = compiled.memory_analysis()
        self.memory[name] = found.argument_size_in_bytes + found.temp_size_in_bytes
        return compiled

    def _image(self, batch) -> jax.Array:
        return jnp.asarray(batch["image"] / 127.5 - 1.0, jnp.float32)

    def _apply(self, params, *inputs, method=None):
        params, inputs = precision.cast((params, inputs), self.dtype)
        call = functools.partial(self.model.apply, deterministic=True, method=method)
        return call({"params": params}, *inputs)

    def infer(self, batch) -> Callable:
        """Returns a function that runs the forward pass."""
        inputs = self.params, self._image(batch), jnp.asarray(batch["tokens"])
        run = self._run("infer", self._apply, *inputs)
        return lambda: jax.block_until_ready(run(*inputs))

    def further(self, batch) -> Callable:
        """Returns a function that segments one more expression of encoded images."""
        encode = functools.partial(self._apply, method=self.model.encode_image)
        visual = jax.jit(encode)(self.params, self._image(batch))

        def segment(params, visual, tokens):
            words = self._apply(params, tokens, method=self.model.encode_text)
            return self._apply(params, visual, *words, method=self.model.segment)

        inputs = self.params, visual, jnp.asarray(batch["tokens"])
        run = self._run("further", segment, *inputs)
        return lambda: jax.block_until_ready(run(*inputs))

    def train(self, batch) -> Callable:
        """Returns a function that runs a training step."""
        step = make_train_step(self.model, self.optimizer, self.config)
        params = jax.tree.map(jnp.copy, self.params)
        held = [train_state.create(params, self.optimizer)]
        batch = jax.device_put(batch)
        run = self._run(
            "train", lambda s, b: step(s, b, None), held[0], batch, donate=0
        )

        def once():
            held[0], sums = run(held[0], batch)
            return jax.block_until_ready((held[0], sums))

        return once


class Torch:
    """The same programs in PyTorch; K is 1."""

    def __init__(self, config, params, compiled: bool):
        """Builds the model with the same weights."""
        self.config = config
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = TorchReSTR(config.model, VOCABULARY)
        torch_restr.load(self.model, params)
        self.model.to(self.device)
        self.call = torch.compile(self.model) if compiled else self.model
        self.cast = functools.partial(
            torch.autocast,
            self.device,
            torch.bfloat16,
            enabled=precision.compute_dtype(config.dtype) == jnp.bfloat16,
        )

    def _inputs(self, batch) -> tuple[torch.Tensor, ...]:
        image = torch.from_numpy(batch["image"] / np.float32(127.5) - np.float32(1))
        tokens, mask = (torch.from_numpy(batch[k][:, 0]) for k in ("tokens", "mask"))
        return tuple(x.to(self.device) for x in (image, tokens, mask.float()))

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def infer(self, batch) -> Callable:
        """Returns a function that runs the forward pass."""
        image, tokens, _ = self._inputs(batch)

        def once():
            with torch.inference_mode(), self.cast():
                output = self.call(image, tokens)
            self._wait()
            return output

        return once

    def train(self, batch) -> Callable:
        """Returns a function that runs a training step."""
        image, tokens, mask = self._inputs(batch)
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.optimizer.learning_rate,
            weight_decay=self.config.optimizer.weight_decay,
            fused=True,
        )

        def once():
            optimizer.zero_grad(set_to_none=True)
            with self.cast():
                output = self.call(image, tokens)
            torch_restr.loss_of(output, mask, self.config.loss).backward()
            optimizer.step()
            self._wait()

        return once
