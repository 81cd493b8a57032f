import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import paper_cost
from configs import common, gref, shapes
from restr_jax import cost
from restr_jax.models import parameters
from restr_jax.models.layers import EncoderBlock, SelfAttention
from restr_jax.models.upsampling import double_leaky

ROOT = pathlib.Path(__file__).parent.parent


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def macs(function, *arguments):
    return sum(p.macs for p in cost.trace(function, *arguments).products)


def macs_of_module(module, *inputs, **options):
    variables = jax.eval_shape(
        lambda *x: module.init(jax.random.key(0), *x, **options), *inputs
    )
    return macs(lambda v, *x: module.apply(v, *x, **options), variables, *inputs)


def test_a_linear_layer_counts_inputs_times_outputs():
    assert macs_of_module(nn.Dense(7), array(2, 3, 5)) == 2 * 3 * 5 * 7


def test_attention_is_four_linears_and_two_products_of_tokens():
    # T = 6, D = 8; the heads share D.
    expected = 4 * 6 * 8 * 8 + 2 * 6 * 6 * 8
    for heads in (1, 2, 4):
        layer = SelfAttention(heads, 0.02)
        assert macs_of_module(layer, array(6, 8), None) == expected


def test_a_convolution_counts_outputs_times_window():
    convolution = nn.Conv(6, (3, 3), padding="SAME")
    assert macs_of_module(convolution, array(1, 8, 8, 4)) == 64 * 6 * 9 * 4
    grouped = nn.Conv(6, (3, 3), padding="SAME", feature_group_count=2)
    assert macs_of_module(grouped, array(1, 8, 8, 4)) == 64 * 6 * 9 * 2


def test_nested_programs_are_counted_once_per_run():
    x = array(4, 4)

    def product(x):
        return x @ x

    @jax.custom_vjp
    def custom(x):
        return x @ x

    custom.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T,))

    def loop(x):
        return jax.lax.scan(lambda c, _: (jax.jit(product)(c), None), x, length=5)[0]

    once = 4**3
    assert macs(product, x) == once
    assert macs(jax.jit(jax.jit(product)), x) == once
    assert macs(jax.checkpoint(product), x) == once
    assert macs(custom, x) == once
    assert macs(loop, x) == 5 * once
    # Forward, recomputed in the backward pass, and one for each factor's gradient.
    gradient = jax.grad(lambda x: jax.checkpoint(product)(jnp.sin(x)).sum())
    assert macs(gradient, x) == 3 * once
    assert macs(jax.vmap(product), array(3, 4, 4)) == 3 * once


def test_a_loop_of_unknown_length_is_refused():
    def search(x):
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="'while'.* not contain its cost"):
        cost.trace(search, array(4, 4))


def test_normalised_values_are_counted_by_norm():
    block = EncoderBlock(2, 12, 0.02, 0.0)
    x = array(1, 6, 8)
    variables = jax.eval_shape(
        lambda x: block.init(jax.random.key(0), x, None, deterministic=True), x
    )
    traced = cost.trace(
        lambda v, x: block.apply(v, x, None, deterministic=True), variables, x
    )
    assert traced.normalised == {("norm1",): 48, ("norm2",): 48}
    assert {p.path for p in traced.products} == {
        ("attention", "qkv"),
        ("attention",),
        ("attention", "out"),
        ("mlp", "fc1"),
        ("mlp", "fc2"),
    }


@pytest.fixture(scope="module")
def tiny():
    """Returns config and trace of a tiny model, 32 x 32 pixels in patches of 8."""
    config = common.get_config("tiny")
    config.model.image_size = (32, 32)
    return config, cost.trace_model(config.model, 10)


def layer_macs(tokens, width, mlp):
    return tokens * (4 * width**2 + 2 * width * mlp) + 2 * tokens**2 * width


def test_costs_of_the_parts_follow_from_their_sizes(tiny):
    config, traced = tiny
    vision, language = config.model.vision, config.model.language
    d, e, n, words = vision.width, language.width, 16, 10
    costs = {part: m for part, (_, m) in cost.cost_by_part(traced).items()}
    assert costs == {
        "vision": n * 8 * 8 * 3 * d + 3 * layer_macs(n, d, 256),
        "language": layer_macs(words, e, 128),
        "fusion": n * d * d
        + words * e * d
        + 2 * layer_macs(n + words, d, 256)
        + 2 * layer_macs(words + 1, d, 256),
        "patch scores": n * d,
        "decoder": n * 2 * d * d
        + 4 * n * d * d // 2
        + 16 * n * d // 2 * d // 4
        + 32 * 32 * d // 4,
    }


def test_parameters_of_the_parts_exclude_only_the_word_table(tiny):
    _, traced = tiny
    counted = sum(count for count, _ in cost.cost_by_part(traced).values())
    params = traced.variables["params"]
    every = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert every - counted == params["language"]["words"]["embedding"].size == 64


def test_the_compiler_counts_the_same_operations_and_a_few_more(tiny):
    # Two operations per multiply-add; elementwise operations add a little.
    _, traced = tiny

    def segment(variables, image, tokens):
        return traced.model.apply(variables, image, tokens, deterministic=True)

    compiled = jax.jit(segment).lower(traced.variables, *traced.inputs).compile()
    operations = 2 * sum(p.macs for p in traced.trace.products)
    assert 1.0 <= compiled.cost_analysis()["flops"] / operations <= 1.1

    product = jax.jit(jnp.matmul).lower(array(8, 16), array(16, 4)).compile()
    assert product.cost_analysis()["flops"] == 2 * 8 * 16 * 4


def test_the_table_of_a_config_ends_with_its_sums(tiny):
    config = shapes.get_config()
    lines = cost.describe(config).splitlines()
    rows = {
        name: (int(count.replace(",", "")), float(m.replace(",", "")))
        for name, count, m in (line.strip("| ").split(" | ") for line in lines[4:])
    }
    total = rows.pop("all")
    assert set(rows) == set(cost.PARTS)
    assert total[0] == sum(count for count, _ in rows.values())
    assert total[1] == pytest.approx(sum(m for _, m in rows.values()), abs=0.05)
    assert "(64 parameters a word)" in lines[0]


def test_upsampling_first_costs_four_times_ours(tiny):
    config, traced = tiny
    width = config.model.fusion.width

    def paper_order(kernels, x):
        for kernel in kernels:
            x = double_leaky(x) @ kernel
        return x

    kernels = [array(2 * width >> i, width >> i) for i in range(3)]
    found = cost.trace(paper_order, kernels, array(4, 4, 2 * width)).products
    theirs = sum(p.macs for p in found)
    ours = [p for p in traced.trace.products if paper_cost._upsampled_first(p)]
    assert len(ours) == 3
    assert theirs == 4 * sum(p.macs for p in ours)


@pytest.fixture(scope="module")
def trace_once():
    """Returns `cost.trace_model`, which traces a full-size model only once."""
    found = {}

    def trace(config, max_words):
        key = config.to_json(), max_words
        if key not in found:
            found[key] = cost.trace_model(config, max_words)
        return found[key]

    return trace


@pytest.fixture(scope="module")
def printed(trace_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_cost, "trace_model", trace_once)
        return paper_cost.figures(gref.get_config)


@pytest.mark.slow  # It traces the full-size models.
def test_every_figure_of_the_paper_is_reproduced_to_its_last_digit(printed):
    assert len(printed) == 12
    assert {f.printed for f in printed} == {
        28.35,
        14.18,
        31.36,
        15.96,
        122.87,
        108.70,
        52.29,
    }
    missed = {f.name: f.reached for f in printed if round(f.reached, 2) != f.printed}
    assert missed == {}


@pytest.mark.slow  # It traces the full-size models.
def test_this_model_computes_the_same_functions_at_a_lower_cost(printed):
    executed = {f.name: round(f.executed, 2) for f in printed}
    assert executed["Table 3b, VME, multiply-adds"] == 31.29
    assert executed["Table 3b, CME, multiply-adds"] == 15.92
    assert executed["Table 5, CME, multiply-adds"] == 46.56


@pytest.mark.slow
@pytest.mark.parametrize(("shared", "counted"), [(False, 122.89), (True, 108.72)])
def test_the_intermediate_numbers_of_the_reading_are_correct(
    trace_once, shared, counted
):
    assert all(f"{n:.2f}" in paper_cost.__doc__ for n in (counted, 52.22))
    config = gref.get_config()
    config.model.image_size, config.model.language.mlp_dim = (320, 320), 1200
    config.model.fusion.share_weights = shared
    params = trace_once(config.model, 20).variables["params"]
    tables = ("words/embedding", "positions")
    no_tables = parameters.count(params, lambda p: not p.endswith(tables))
    assert round(no_tables / 1e6, 2) == counted

    config = gref.get_config("released")
    config.model.image_size = (320, 320)
    products = trace_once(config.model, 20).trace.products
    upsampled_first = sum(
        p.macs * (4 if paper_cost._upsampled_first(p) else 1) for p in products
    )
    assert round(upsampled_first / 1e9, 2) == 52.22


@pytest.mark.parametrize("module", ["restr_jax.cost", "restr_jax.analysis"])
def test_an_unknown_key_is_reported(module):
    command = [sys.executable, "-m", module, "--config=configs/shapes.py"]
    given = ["--workdir=w"] if module == "restr_jax.analysis" else []
    done = subprocess.run(
        [*command, *given, "--config.batchsize=4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "There is no config key 'batchsize'" in done.stderr


@pytest.mark.slow  # Takes a minute: it traces the full-size models again.
def test_the_committed_tables_match_the_printed_ones():
    page = (ROOT / "docs" / "cost.md").read_text()
    commands = (
        ("restr_jax.cost", "--config=configs/gref.py"),
        ("benchmarks.paper_cost",),
    )
    for command in commands:
        result = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout in page
    assert cost.describe(gref.get_config("released")) in page
