from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx


def shapes(tree, dtype=jnp.float32):
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, dtype), tree, is_leaf=lambda x: isinstance(x, tuple))


def gpt2_small():
    d = 768
    block = {
        "ln_1": {"scale": (d,), "bias": (d,)},
        "attn": {"kernel": (d, 3 * d), "bias": (3 * d,)},
        "attn_out": {"kernel": (d, d), "bias": (d,)},
        "ln_2": {"scale": (d,), "bias": (d,)},
        "mlp": {"kernel": (d, 4 * d), "bias": (4 * d,)},
        "mlp_out": {"kernel": (4 * d, d), "bias": (d,)},
    }
    ends = {"wte": (50257, d), "wpe": (1024, d), "ln_f": {"scale": (d,), "bias": (d,)}}
    return shapes({**ends, "h": [block] * 12})


def resnet50():
    def norm(n):
        return {"scale": (n,), "bias": (n,)}

    tree, width = {"conv1": (7, 7, 3, 64), "bn1": norm(64), "fc": {"kernel": (2048, 1000), "bias": (1000,)}}, 64
    for stage, (blocks, n) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        for i in range(blocks):
            block = {"conv1": (1, 1, width, n), "conv2": (3, 3, n, n), "conv3": (1, 1, n, 4 * n)}
            block |= {"bn1": norm(n), "bn2": norm(n), "bn3": norm(4 * n)}
            if i == 0:
                block |= {"down": (1, 1, width, 4 * n), "down_bn": norm(4 * n)}
            tree[f"stage{stage}_block{i}"], width = block, 4 * n
    return shapes(tree)


def lora(rank=8):
    base = {"kernel": (256, 256)}
    low = shapes({"lora_a": (256, rank), "lora_b": (rank, 256)})
    return {f"layer_{i}": {**shapes(base, jnp.bfloat16), **low} for i in range(6)}


def nbytes(state):
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state))


GROUPED = gx.groups(
    [(~gx.ndim_at_least(2), {"weight_decay": 0.0}, "vectors")],
    default=gx.chain(
        gx.clip_by_global_norm(1.0), gx.adamw(gx.warmup_cosine_decay_schedule(1e-4, 6e-4, 10, 100), weight_decay=0.1)
    ),
)
TUNED = gx.adamw(gx.tunable(6e-4), b1=gx.tunable(0.9))
FROZEN = gx.chain(gx.freeze(~gx.named("lora_a", "lora_b")), gx.adamw(2e-4, weight_decay=0.0))
MODELS = {
    "gpt2-small": (gpt2_small, 148, 124_439_808),
    "resnet-50": (resnet50, 161, 25_557_032),
    "lora": (lora, 18, 6 * (256 * 256 + 2 * 8 * 256)),
}


@pytest.mark.parametrize(
    ("model", "tx", "expected"),
    [
        ("gpt2-small", GROUPED, 4 + 8 * 124_439_808),
        ("gpt2-small", TUNED, 4 + 4 + 8 + 8 * 124_439_808),
        ("gpt2-small", gx.measure(gx.adamw(1e-3), grad_norm=True), 4 + 4 + 8 * 124_439_808),
        ("gpt2-small", gx.sgd(0.1), 4),
        ("resnet-50", gx.momentum(0.1), 4 + 4 * 25_557_032),
        ("resnet-50", gx.adam(1e-3, mu_dtype=jnp.bfloat16), 4 + 6 * 25_557_032),
        ("lora", FROZEN, 4 + 8 * 6 * 2 * 8 * 256),
        ("lora", gx.adamw(1e-3), 4 + 8 * 6 * (256 * 256 + 2 * 8 * 256)),
    ],
)
def test_bytes_are_exact_on_shapes_alone(model, tx, expected):
    make, leaves, parameters = MODELS[model]
    found = gx.explain(tx, make())
    assert (len(found.rows), found.parameters) == (leaves, parameters)
    assert found.state_bytes == expected
    assert found.state_bytes == nbytes(jax.eval_shape(tx.init, make()))
    assert found.parameter_bytes == nbytes(make())


@pytest.mark.parametrize(("model", "tx"), [("resnet-50", gx.adam(1e-3, mu_dtype=jnp.bfloat16)), ("lora", FROZEN)])
def test_bytes_are_those_of_a_state_in_memory(model, tx):
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), MODELS[model][0]())
    state = tx.init(params)
    found = gx.explain(tx, params)
    assert found == gx.explain(tx, MODELS[model][0]())
    assert found.state_bytes == sum(x.nbytes for x in jax.tree.leaves(state))
    memories = jax.tree.structure(params).flatten_up_to(state.leaves)
    assert [row.state_bytes for row in found.rows] == [sum(x.nbytes for x in jax.tree.leaves(m)) for m in memories]


def test_the_rows():
    rows = {row.path: row for row in gx.explain(GROUPED, gpt2_small()).rows}
    assert rows["h/3/mlp/kernel"][1:-1] == (
        (768, 3072), "float32", "default", "0.0001", "0.1",
        ("clip_by_global_norm", "adam", "weight_decay", "learning_rate"), 8 * 768 * 3072,
    )  # fmt: skip
    assert (rows["h/3/mlp/bias"].group, rows["h/3/mlp/bias"].weight_decay) == ("vectors", "0")


def test_frozen_parameters_have_no_rate_and_no_state():
    rows = {row.path: row for row in gx.explain(FROZEN, lora()).rows}
    assert rows["layer_0/kernel"][2:-1] == ("bfloat16", "-", "-", "-", ("freeze",), 0)
    assert rows["layer_0/lora_a"][4:-1] == ("0.0002", "0", ("adam", "weight_decay", "learning_rate"), 8 * 256 * 8)


def test_what_follows_the_direction_is_in_the_rules():
    tx = gx.chain(gx.adamw(0.1), gx.layerwise_decay(0.5, ["wte"]))
    rows = {row.path: row for row in gx.explain(tx, gpt2_small()).rows}
    assert rows["wte"].rules == ("adam", "weight_decay", "learning_rate", "scale")
    assert rows["wpe"].rules == ("adam", "weight_decay", "learning_rate")


def test_the_table():
    lines = str(gx.explain(FROZEN, lora())).splitlines()
    assert len(lines) == 1 + 18 + 1
    assert " ".join(lines[0].split()) == "path shape dtype group learning rate weight decay rules state"
    assert lines[1].split()[0] == "layer_0/kernel"
    # 6 (256² + 2·8·256) = 417 792 parameters: 6·256²·2 + 6·2·8·256·4 bytes, and 8 bytes of state for each adapter's.
    assert lines[-1] == "417,792 parameters in 884.7 kB, state 196.6 kB (0.47 B per parameter)"


def test_numbers_numpy_and_integers():
    params = {"a": np.zeros(3), "b": 1.0, "n": jnp.zeros(2, jnp.int32), "none": None}
    found = gx.explain(gx.adam(0.1), params)
    assert [(row.path, row.dtype, row.state_bytes) for row in found.rows] == [
        ("a", "float32", 24),
        ("b", "float32", 8),
        ("n", "int32", 0),
    ]
    assert found.state_bytes == sum(x.nbytes for x in jax.tree.leaves(gx.adam(0.1).init(params)))


def test_what_init_refuses_is_refused():
    with pytest.raises(ValueError, match=r"matching\('decoder'\) matches no parameter"):
        gx.explain(gx.groups([("decoder", gx.sgd(0.1))], default=gx.sgd(0.1)), lora())


def test_wrappers_inside_a_chain_are_opened():
    p = {"enc": jnp.ones((2, 3)), "head": jnp.ones(3)}
    tx = gx.chain(
        gx.clip_by_global_norm(1.0),
        gx.groups([("enc", gx.guard(gx.adamw(0.1, weight_decay=0.3)))], default=gx.guard(gx.sgd(0.2, momentum=0.9))),
    )
    enc, head = gx.explain(tx, p).rows
    assert (enc.group, enc.learning_rate, enc.weight_decay, enc.state_bytes) == ("enc", "0.1", "0.3", 2 * 4 * 6)
    assert enc.rules == ("clip_by_global_norm", "guard", "adam", "weight_decay", "learning_rate")
    assert (head.group, head.learning_rate, head.weight_decay, head.state_bytes) == ("default", "0.2", "-", 4 * 3)
