from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import gradxform as gx
from gradxform.core.tree import Leaf, open_tree
from gradxform.params.select import paths_selector, selector
from tests.trajectories import as_written

SHAPES = {
    "encoder/layer_0/kernel": (2, 3),
    "encoder/layer_0/bias": (3,),
    "encoder/norm/scale": (3,),
    "encoder/norm/bias": (3,),
    "decoder/conv.weight": (3, 3, 1, 2),
    "decoder/bn.gamma": (2,),
    "decoder/bn.beta": (2,),
    "temperature": (),
}
LEAVES = [Leaf(path, None, jnp.zeros(shape), {}) for path, shape in SHAPES.items()]


def chosen(where):
    return {leaf.path for leaf, yes in zip(LEAVES, where.select(LEAVES, None), strict=True) if yes}


BIASES = {"encoder/layer_0/bias", "encoder/norm/bias"}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (gx.named("bias"), BIASES),
        (gx.named("bias", "scale"), BIASES | {"encoder/norm/scale"}),
        (gx.named("temperature"), {"temperature"}),
        (gx.matching("norm"), {"encoder/norm/scale", "encoder/norm/bias"}),
        (gx.matching(r"^temp"), {"temperature"}),
        (gx.matching(r"layer_\d+/bias$"), {"encoder/layer_0/bias"}),
        (gx.under("encoder/norm"), {"encoder/norm/scale", "encoder/norm/bias"}),
        (gx.under("/encoder/norm/"), {"encoder/norm/scale", "encoder/norm/bias"}),
        (gx.under("temperature"), {"temperature"}),
        (gx.ndim_at_least(2), {"encoder/layer_0/kernel", "decoder/conv.weight"}),
        (gx.ndim_at_least(0), set(SHAPES)),
        (gx.ndim_at_least(9), set()),
        (gx.named("bias") & gx.under("encoder/norm"), {"encoder/norm/bias"}),
        (gx.named("scale") | gx.named("kernel"), {"encoder/norm/scale", "encoder/layer_0/kernel"}),
        (~gx.under("encoder"), {k for k in SHAPES if not k.startswith("encoder")}),
        (~(gx.under("encoder") | "^decoder"), {"temperature"}),
        (gx.under("encoder") & (lambda path, leaf: leaf.ndim == 2), {"encoder/layer_0/kernel"}),
        (gx.weights_only, {"encoder/layer_0/kernel", "decoder/conv.weight", "temperature"}),
        (paths_selector(["temperature", "decoder/bn.beta"]), {"temperature", "decoder/bn.beta"}),
    ],
    ids=as_written,
)
def test_selection(where, expected):
    assert chosen(where) == expected
    assert {path for path in SHAPES if where.matches(path, jnp.zeros(SHAPES[path]))} == expected


def test_under_stops_at_names():
    leaves = [Leaf("layer_1/w", None, jnp.zeros(1), {}), Leaf("layer_10/w", None, jnp.zeros(1), {})]
    assert gx.under("layer_1").select(leaves, None) == [True, False]


def test_named_is_the_whole_last_name():
    leaves = [Leaf(path, None, jnp.zeros(1), {}) for path in ("a/bias", "bias/a", "a/rebias", "a/bias_2")]
    assert gx.named("bias").select(leaves, None) == [True, False, False, False]


@pytest.mark.parametrize(
    ("path", "decayed"),
    [
        ("dense/kernel", True),
        ("dense/weight", True),
        ("dense.weight", True),
        ("dense/bias", False),
        ("dense.bias", False),
        ("norm/scale", False),
        ("norm/gamma", False),
        ("bn1.beta", False),
        ("layer_norm_gamma", False),
        ("layernorm_beta", False),
        ("scale", False),
        ("upscale/kernel", True),
        ("unbiased", True),
        ("gamma/kernel", True),
        ("alphabeta", True),
    ],
)
def test_weights_only_knows_both_vocabularies(path, decayed):
    assert gx.weights_only.matches(path, jnp.zeros(1)) is decayed


KERNEL, VECTOR = jnp.zeros((2, 2)), jnp.zeros(2)
UNDECAYED = {
    "haiku": {"linear/b", "mlp/~/linear_0/b", "layer_norm/scale", "layer_norm/offset", "batch_norm/offset"},
    "keras": {"dense/bias", "layer_normalization_1/gamma", "layer_normalization_1/beta", "rms_normalization/scale",
              "batch_normalization/moving_mean", "batch_normalization/moving_variance", "normalization/mean"},
    "torch": {"layer1.0.bn1.weight", "layer1.0.bn1.bias", "layer1.0.bn1.running_mean", "layer1.0.downsample.1.weight",
              "encoder.layers.0.self_attn.in_proj_bias", "encoder.layers.0.norm1.weight", "lstm.bias_ih_l0_reverse"},
    "by hand": {"layer_norm1/weight", "attention_norm/weight", "post_attention_layernorm/weight", "ln_f/weight",
                "blocks/0/ln_1/weight", "norms/0/weight", "final_rms/w", "gn/weight", "RMSNorm_0/weight"},
}  # fmt: skip
DECAYED = {
    "haiku": {"linear/w", "mlp/~/linear_0/w", "embed/embeddings", "conv2_d/w", "lstm/linear/w"},
    "keras": {"dense/kernel", "embedding/embeddings", "lstm/lstm_cell/recurrent_kernel",
              "separable_conv2d/depthwise_kernel", "multi_head_attention/query/kernel"},
    "torch": {"layer1.0.conv1.weight", "encoder.layers.0.self_attn.in_proj_weight", "fc.weight", "lstm.weight_ih_l0",
              "layer1.0.downsample.0.weight"},
    "by hand": {"norm_proj/weight", "norm/linear/weight", "norm1/kernel", "normal/weight", "attn/weight", "lora_b",
                "log_normal/weight", "unb", "rmsprop/weight", "biases_of/weight"},
}  # fmt: skip
"""The names that these libraries give to their parameters, written down by hand."""


@pytest.mark.parametrize("library", UNDECAYED)
def test_weights_only_knows_the_names_of(library):
    for path in UNDECAYED[library]:
        assert not gx.weights_only.matches(path, VECTOR), path
    for path in DECAYED[library]:
        assert gx.weights_only.matches(path, KERNEL), path


def weights_of(params):
    leaves = zip(*open_tree(params)[:2], strict=True)
    return {path for path, x in leaves if x is not None and gx.weights_only.matches(path, x)}


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.BatchNorm(use_running_average=False)(linen.Conv(4, (3, 3))(x))
        x = linen.GroupNorm(2)(linen.RMSNorm()(linen.LayerNorm()(x))).reshape(1, 16, 4)
        x = linen.RNN(linen.GRUCell(4))(linen.MultiHeadDotProductAttention(2, normalize_qk=True)(x))
        return linen.Embed(5, 4)(jnp.zeros(3, int)), linen.Dense(3)(x)


def test_weights_only_on_flaxs_own_parameters():
    params = LinenNet().init(jax.random.key(0), jnp.ones((1, 4, 4, 3)))
    leaves = zip(*open_tree(params)[:2], strict=True)
    assert weights_of(params) == {path for path, _ in leaves if path.endswith(("kernel", "embedding"))}


class NnxNet(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.body = nnx.Sequential(nnx.Linear(2, 4, rngs=rngs), nnx.LayerNorm(4, rngs=rngs), jnp.tanh)
        self.norm, self.attention = nnx.BatchNorm(4, rngs=rngs), nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False)
        self.embed, self.cell = nnx.Embed(3, 4, rngs=rngs), nnx.GRUCell(4, 4, rngs=rngs)


def test_weights_only_on_nnxs_own_parameters():
    params = nnx.state(NnxNet(), nnx.Param)
    leaves = zip(*open_tree(params)[:2], strict=True)
    assert weights_of(params) == {path for path, _ in leaves if path.endswith(("kernel", "embedding"))}


class EqxNet(eqx.Module):
    body: eqx.nn.Sequential
    layer_norm1: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    bn: eqx.nn.GroupNorm
    cell: eqx.nn.GRUCell
    norms: list

    def __init__(self):
        keys = iter(jax.random.split(jax.random.key(0), 5))
        conv, embed = eqx.nn.Conv1d(2, 3, 3, key=next(keys)), eqx.nn.Embedding(5, 3, key=next(keys))
        layers = [eqx.nn.Linear(2, 3, key=next(keys)), eqx.nn.LayerNorm(3), eqx.nn.Lambda(jnp.tanh), conv, embed]
        self.body, self.layer_norm1, self.bn = eqx.nn.Sequential(layers), eqx.nn.LayerNorm(3), eqx.nn.GroupNorm(1, 3)
        self.attention = eqx.nn.MultiheadAttention(2, 4, use_query_bias=True, key=next(keys))
        self.cell, self.norms = eqx.nn.GRUCell(2, 3, key=next(keys)), [eqx.nn.RMSNorm((2, 3)), eqx.nn.LayerNorm(3)]


def test_weights_only_on_equinoxs_own_parameters():
    projections = {f"attention/{name}_proj/weight" for name in ("query", "key", "value", "output")}
    body = {f"body/layers/{i}/weight" for i in (0, 3, 4)}
    cell = {"cell/weight_ih", "cell/weight_hh"}
    assert weights_of(eqx.filter(EqxNet(), eqx.is_array)) == projections | body | cell


@pytest.mark.parametrize(
    "path",
    ["dense.weight", "dense.bias", "bn1.gamma", "bn1.beta", "alphabet.weight", "alphabeta.weight", "gammas/kernel"],
)
def test_mindspore_decayed_is_the_substring_rule(path):
    """`filter(lambda x: 'beta' not in x.name and 'gamma' not in x.name, params)`, inside other words too."""
    assert gx.mindspore_decayed.matches(path, jnp.zeros(1)) is ("beta" not in path and "gamma" not in path)


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (gx.named("beta", "gamma"), "named('beta', 'gamma')"),
        (gx.matching("a|b"), "matching('a|b')"),
        (gx.under("enc/"), "under('enc')"),
        (gx.ndim_at_least(2), "ndim_at_least(2)"),
        (gx.weights_only, "weights_only"),
        (gx.mindspore_decayed, "mindspore_decayed"),
        (~gx.named("a"), "~named('a')"),
        (gx.named("a") & ~gx.under("b"), "(named('a') & ~under('b'))"),
        (gx.named("a") | "c", "(named('a') | matching('c'))"),
        (~(gx.named("a") | gx.named("b")), "~(named('a') | named('b'))"),
    ],
    ids=str,
)
def test_a_selector_prints_itself_as_written(where, shown):
    assert repr(where) == shown
    names = {n: getattr(gx, n) for n in ("named", "matching", "under", "ndim_at_least", "weights_only")}
    assert eval(shown, names | {"mindspore_decayed": gx.mindspore_decayed}) == where


def test_selectors_compare_and_hash_by_value():
    a, b = (gx.named("x") & ~gx.under("y") for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    assert a != gx.named("x") | ~gx.under("y")
    assert gx.named("x") != gx.matching("x")
    assert gx.adamw(0.1, mask=a) == gx.adamw(0.1, mask=b)
    assert hash(gx.adamw(0.1, mask=a)) == hash(gx.adamw(0.1, mask=b))
    assert gx.adamw(0.1, mask="x") == gx.adamw(0.1, mask=gx.matching("x"))
    assert not callable(a)


@pytest.mark.parametrize(
    "where",
    [
        gx.named("moment"),
        gx.named("bias", "moment"),
        gx.matching("moment"),
        gx.under("moment"),
        ~gx.named("moment"),
        gx.named("bias") | gx.under("moment"),
        gx.named("bias") & ~gx.matching("moment"),
    ],
    ids=as_written,
)
def test_matching_nothing_lists_the_paths(where):
    with pytest.raises(
        ValueError, match=r"'moment'\) matches no parameter; the paths are: encoder/layer_0/kernel, .*temp"
    ):
        where.select(LEAVES, None)


@pytest.mark.parametrize("where", [gx.ndim_at_least(9), gx.weights_only, gx.mindspore_decayed], ids=as_written)
def test_ready_made_selectors_may_match_nothing(where):
    leaves = [Leaf("beta", None, jnp.zeros(1), {})]
    assert where.select(leaves, None) == [False]
    assert (where & gx.named("beta")).select(leaves, None) == [False]


def test_an_empty_tree_is_no_error():
    assert gx.named("anything").select([], None) == []
    assert gx.adamw(0.1, mask=gx.named("anything")).init({}).leaves == {}


def test_both_parts_may_match_without_meeting():
    assert chosen(gx.named("kernel") & gx.under("decoder")) == set()


class Pair(NamedTuple):
    w: object
    b: object


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    w: object
    b: object


@pytest.mark.parametrize("make", [lambda w, b: {"w": w, "b": b}, Pair, Layer])
def test_names_are_the_same_in_every_container(make):
    params = [make(jnp.ones((2, 2)), jnp.ones(2)), (make(jnp.ones((2, 2)), jnp.ones(2)),)]
    tx = gx.add_decayed_weights(1.0, gx.matching("^0/w$") | gx.matching("^1/0/b$"))
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    found = [bool(u.any()) for u in jax.tree.leaves(updates)]
    expected = [p.ndim == 2 for p in jax.tree.leaves(params[0])] + [p.ndim == 1 for p in jax.tree.leaves(params[0])]
    assert found == expected


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: gx.named(), ValueError, "at least one name"),
        (lambda: gx.named(3), TypeError, "got 3 of type int"),
        (lambda: gx.matching("("), ValueError, r"malformed regular expression '\('"),
        (lambda: gx.matching(None), TypeError, "got None of type NoneType"),
        (lambda: gx.under(2), TypeError, "got 2 of type int"),
        (lambda: gx.ndim_at_least(-1), ValueError, "got -1"),
        (lambda: gx.ndim_at_least(True), TypeError, "got True"),
        (lambda: gx.ndim_at_least(1.0), TypeError, "got 1.0"),
        (lambda: gx.named("a") & 3, TypeError, "got 3 of type int"),
        (lambda: gx.adamw(0.1, mask="("), ValueError, "malformed"),
    ],
)
def test_bad_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_string_means_matching_and_a_function_a_predicate():
    assert selector("a/b") == gx.matching("a/b")

    def short(path, leaf):
        return len(path) < 12

    assert repr(selector(short)) == "short"
    assert chosen(selector(short)) == {"temperature"}
    assert selector(short) == selector(short)


HIDDEN = {
    "haiku": {
        "gpt/~/token_embed": {"embeddings": (32, 8)},
        "gpt": {"pos_embs": (16, 8)},
        "gpt/h0_attn/query": {"w": (8, 8, True), "b": (8,)},
        "gpt/h0_attn/linear": {"w": (8, 8, True), "b": (8,)},
        "gpt/h0_mlp/linear_1": {"w": (8, 32, True), "b": (32,)},
        "gpt/h0_ln_1": {"scale": (8,), "offset": (8,)},
        "conv_net/~/conv2_d": {"w": (3, 3, 8, 8, True), "b": (8,)},
        "lstm/linear": {"w": (16, 32, True), "b": (32,)},
        "gpt/lm_head": {"w": (8, 32)},
    },
    "maxtext": {
        "params": {
            "token_embedder": {"embedding": (32, 8)},
            "decoder": {
                "layers": {
                    "pre_self_attention_layer_norm": {"scale": (8, 2)},
                    "self_attention": {
                        "query": {"kernel": (8, 2, 4, 2, True)},
                        "key": {"kernel": (8, 2, 4, 2, True)},
                        "value": {"kernel": (8, 2, 4, 2, True)},
                        "out": {"kernel": (4, 2, 2, 8, True)},
                    },
                    "mlp": {
                        "wi_0": {"kernel": (8, 2, 32, True)},
                        "wi_1": {"kernel": (8, 2, 32, True)},
                        "wo": {"kernel": (32, 2, 8, True)},
                    },
                    "MoeBlock_0": {
                        "gate": {"kernel": (8, 2, 4)},
                        "wi_0": (4, 2, 8, 32, True),
                        "wi_1": (4, 2, 8, 32, True),
                        "wo": (4, 2, 32, 8, True),
                    },
                },
                "decoder_norm": {"scale": (8,)},
                "logits_dense": {"kernel": (8, 32)},
            },
        }
    },
    "keras": {
        "token_and_position_embedding": {
            "token_embedding": {"embeddings": (32, 8)},
            "position_embedding": {"embeddings": (16, 8)},
        },
        "transformer_decoder": {
            "self_attention": {
                "query": {"kernel": (8, 2, 4, True), "bias": (2, 4)},
                "attention_output": {"kernel": (2, 4, 8, True), "bias": (8,)},
            },
            "multi_head_attention": {"key": {"kernel": (8, 2, 4, True), "bias": (2, 4)}},
            "feedforward_intermediate_dense": {"kernel": (8, 32, True), "bias": (32,)},
            "feedforward_output_dense": {"kernel": (32, 8, True), "bias": (8,)},
            "layer_normalization": {"gamma": (8,), "beta": (8,)},
        },
        "batch_normalization": {"gamma": (8,), "moving_mean": (8,)},
        "gru": {"gru_cell": {"kernel": (8, 24, True), "recurrent_kernel": (8, 24, True), "bias": (2, 24)}},
        "predictions": {"kernel": (8, 10)},
    },
    "llama": {
        "tok_embeddings": {"weight": (32, 8)},
        "layers": [
            {
                "attention": {"wq": {"weight": (8, 8, True)}, "wo": {"weight": (8, 8, True)}},
                "feed_forward": {"gate_proj": {"weight": (32, 8, True)}, "down_proj": {"weight": (8, 32, True)}},
                "attention_norm": {"weight": (8,)},
            }
        ],
        "norm": {"weight": (8,)},
        "output": {"weight": (32, 8)},
    },
    "scanned": {
        "wte": (32, 8),
        "wpe": (16, 8),
        "blocks": {
            "ln_1": {"weight": (3, 8), "bias": (3, 8)},
            "attn": {"c_attn": {"weight": (3, 8, 24, True), "bias": (3, 24)}},
            "moe": {"router": {"weight": (3, 8, 4)}, "experts": {"w1": (3, 4, 8, 32, True)}},
            "bert": {"output": {"dense": {"kernel": (3, 8, 8, True), "bias": (3, 8)}}},
            "mamba": {"A_log": (3, 8, 16), "in_proj": (3, 8, 32, True)},
        },
        "cls_token": (1, 1, 8),
        "classifier": {"kernel": (8, 10)},
    },
}
"""Shapes of parameters by the names that libraries give them, with True behind those of hidden matrices."""


def hidden(tree):
    paths, leaves, _ = open_tree(tree)
    pairs = zip(paths, leaves, strict=True)
    return {path for path, x in pairs if x is not None and gx.hidden_matrices.matches(path, x)}


@pytest.mark.parametrize("library", HIDDEN)
def test_hidden_matrices_by_the_names_of(library):
    def is_shape(x):
        return isinstance(x, tuple)

    tree = jax.tree.map(lambda s: jnp.zeros([n for n in s if n is not True]), HIDDEN[library], is_leaf=is_shape)
    told = jax.tree.map(lambda s: jnp.asarray(s[-1] is True), HIDDEN[library], is_leaf=is_shape)
    paths, flags, _ = open_tree(told)
    assert hidden(tree) == {path for path, flag in zip(paths, flags, strict=True) if flag}


def test_hidden_matrices_of_linen():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Embed(16, 8)(x) + self.param("pos_embedding", linen.initializers.ones, (4, 8))
            x = x + linen.MultiHeadDotProductAttention(2)(linen.LayerNorm()(x))
            x = linen.Dense(8, name="mlp_out")(linen.gelu(linen.Dense(16, name="mlp_in")(x)))
            return linen.Dense(16, name="lm_head")(x)

    params = Net().init(jax.random.key(0), jnp.zeros((1, 4), int))["params"]
    attention = {f"MultiHeadDotProductAttention_0/{name}/kernel" for name in ("query", "key", "value", "out")}
    assert hidden(params) == attention | {"mlp_in/kernel", "mlp_out/kernel"}


def test_hidden_matrices_of_equinox():
    class Net(eqx.Module):
        embedding: eqx.nn.Embedding
        attention: eqx.nn.MultiheadAttention
        norm: eqx.nn.LayerNorm
        cell: eqx.nn.GRUCell
        conv: eqx.nn.Conv2d
        head: eqx.nn.Linear

        def __init__(self, key):
            self.embedding = eqx.nn.Embedding(16, 8, key=key)
            self.attention = eqx.nn.MultiheadAttention(2, 8, key=key)
            self.norm = eqx.nn.LayerNorm((3, 8))
            self.cell = eqx.nn.GRUCell(8, 8, key=key)
            self.conv = eqx.nn.Conv2d(8, 8, 3, key=key)
            self.head = eqx.nn.Linear(8, 16, key=key)

    params = eqx.filter(Net(jax.random.key(0)), eqx.is_inexact_array)
    attention = {f"attention/{name}_proj/weight" for name in ("query", "key", "value", "output")}
    assert hidden(params) == attention | {"cell/weight_ih", "cell/weight_hh", "conv/weight"}


def test_hidden_matrices_of_nnx():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(16, 8, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
            self.norm = nnx.RMSNorm(8, rngs=rngs)
            self.lora = nnx.LoRA(8, 2, 8, rngs=rngs)
            self.readout = nnx.Linear(8, 16, rngs=rngs)

    params = nnx.state(Net(nnx.Rngs(0)), nnx.Param)
    found = {path.removesuffix("/value") for path in hidden(params)}
    attention = {f"attention/{name}/kernel" for name in ("query", "key", "value", "out")}
    assert found == attention | {"lora/lora_a", "lora/lora_b"}
