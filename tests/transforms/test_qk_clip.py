"""QK-clip against algorithm 1 of Kimi K2, its heads one by one in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import double, near, walk

D = np.random.default_rng(0).normal
SHAPES = {"q": (5, 3, 4), "k": (5, 3, 4), "rotary": (5, 3, 2), "fused": (6, 5), "stack": (2, 5, 3, 4), "v": (5, 3, 4)}
LOGITS = {name: 4 * D(size=(20, *heads)) for name, heads in [*dict.fromkeys(SHAPES, (3,)).items(), ("stack", (2, 3))]}
STEPS = {name: 0.1 * D(size=(20, *shape)) for name, shape in SHAPES.items()}


def clipped(name, w, tau):
    """MuonClip's second half, after each step: `W_h <- gamma_h^(1/2) W_h`, of rotary queries `gamma_h W_h`."""
    found = []
    for g, most in zip(STEPS[name], LOGITS[name], strict=True):
        w = w - 0.5 * g
        for head in np.ndindex(most.shape):
            gamma = min(1.0, tau / most[head]) if most[head] > 0 else 1.0
            part = {
                "rotary": np.s_[:, head[0]],
                "fused": np.s_[2 * head[0] : 2 * head[0] + 2],
                "stack": np.s_[head[0], :, head[-1]],
            }.get(name, np.s_[:, head[0]])
            w[part] *= 1.0 if name == "v" else gamma if name == "rotary" else np.sqrt(gamma)
        found.append(w)
    return np.stack(found)


CLIPS = [
    ("^[qk]$", gx.qk_clip(1.5)),
    ("rotary", gx.qk_clip(1.5, power=1.0)),
    ("fused", gx.qk_clip(1.5, axis=0)),
    ("stack", gx.qk_clip(1.5, axis=(-2, 0))),
]


@pytest.mark.reference("Kimi Team 2025, algorithm 1", "qk_clip")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
def test_follows_the_paper(dtype):
    """Heads as an axis, as parts of one, in stacked layers with the axes the other way round; what has no logits."""
    tx = gx.chain(gx.sgd(0.5), gx.groups(CLIPS, default=gx.chain()))
    params = {name: D(size=shape) for name, shape in SHAPES.items()}
    given = {name: x.swapaxes(1, 2) if name == "stack" else x for name, x in LOGITS.items() if name != "v"}
    with double():
        after, _ = walk(tx, params, STEPS, dtype, max_logits=jax.tree.map(lambda x: jnp.asarray(x, dtype), given))
    paths = {name: clipped(name, x, 1.5) for name, x in params.items()}
    near(after, paths, 2e-6 if dtype == jnp.float32 else 1e-12)


def test_what_is_not_finite_or_not_above_leaves_the_step_to_the_bit():
    p, u = jnp.asarray(D(size=(6, 2)), jnp.float32), jnp.asarray(D(size=(6, 2)), jnp.float32)
    tx = gx.qk_clip(4.0, axis=0)
    updates, _ = tx.update(u, tx.init(p), p, max_logits=jnp.asarray([4.0, jnp.nan, jnp.inf, -jnp.inf, 0.0, -8.0]))
    np.testing.assert_array_equal(updates, u)
    whole = gx.qk_clip(4.0, axis=None)
    updates, _ = whole.update(u, whole.init(p), p, max_logits=jnp.asarray(16.0, jnp.bfloat16))
    np.testing.assert_allclose(p + updates, (p + u) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(-2, (2, 3)), (-2, ()), (None, (4,)), (-2, (3,)), (-2, (0,)), ((0, 0), (4, 4)), (2, (2,))],
    ids=str,
)
def test_logits_that_do_not_fit_are_refused_by_the_path(axis, shape):
    tx, p = gx.qk_clip(axis=axis), {"q": jnp.ones((4, 2))}
    with pytest.raises(
        ValueError, match=r"(?s)max_logits has shape .*, and \(4, 2\) has no such parts along axes .*'q'"
    ):
        tx.update(p, tx.init(p), p, max_logits={"q": jnp.ones(shape)})
    with pytest.raises(ValueError, match="qk_clip needs 'max_logits'"):
        tx.update(p, tx.init(p), p)


def test_the_largest_logits_of_micro_batches():
    p = {"q": jnp.ones((4, 2))}
    tx = gx.accumulate(gx.chain(gx.sgd(0.0), gx.qk_clip(4.0)), 2, extras={"max_logits": ("max", {"q": jnp.zeros(4)})})
    state = tx.init(p)
    for most in (jnp.asarray([1.0, 16.0, 2.0, -3.0]), jnp.asarray([4.0, 1.0, 64.0, -5.0])):
        updates, state = tx.update(p, state, p, max_logits={"q": most})
    np.testing.assert_allclose(1 + updates["q"][:, 0], [1.0, 0.5, 0.25, 1.0], rtol=1e-6)
