"""What stands on the wrong side is refused with the right side named; what does as it says is not."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

SGD, CLIP, TRACE = gx.sgd(0.1), gx.clip_by_global_norm(1.0), gx.trace(0.9)
DECAY, UNSCALE = gx.add_decayed_weights(0.1), gx.unscale(8.0)
SCALED, FIXED = gx.dynamic_loss_scale(SGD), gx.static_loss_scale(SGD, 8.0)
GUARDED, SUMMED = gx.guard(SGD), gx.accumulate(gx.scale_by_adam(), 2)
OUTSIDE = "the loss scale goes outside: "


def sam(tx, up=SGD, **options):
    return gx.sam(tx, up, **options)


REFUSED = {
    "clip, loss scale": (lambda: gx.chain(CLIP, SCALED), OUTSIDE + "dynamic_loss_scale(chain(...))"),
    "clip, fixed scale": (lambda: gx.chain(CLIP, FIXED), OUTSIDE + "static_loss_scale(chain(...))"),
    "named": (lambda: gx.named_chain(("a", gx.clip(1.0)), ("b", SCALED)), "clip(max_delta=1.0) before dynamic"),
    "decay": (lambda: gx.chain(DECAY, SCALED), OUTSIDE),
    "memory": (lambda: gx.chain(TRACE, SCALED), OUTSIDE),
    "noise": (lambda: gx.chain(gx.add_noise(0.1, 0.5, 0), SCALED), OUTSIDE),
    "hides NaN": (lambda: gx.chain(gx.zero_nans(), SCALED), OUTSIDE),
    "masked clip": (lambda: gx.chain(gx.masked(gx.clip(1.0), "w"), SCALED), OUTSIDE),
    "optax clip": (lambda: gx.chain(optax.clip(1.0), SCALED), OUTSIDE),
    "deep": (lambda: gx.chain(CLIP, gx.master_weights(gx.lookahead(SCALED, 2, 0.5))), OUTSIDE),
    "guard": (lambda: gx.guard(SCALED), OUTSIDE + "dynamic_loss_scale(guard(...))"),
    "deep guard": (lambda: gx.guard(gx.chain(gx.identity(), gx.master_weights(SCALED))), OUTSIDE),
    "accumulate fixed": (lambda: gx.accumulate(FIXED, 2), OUTSIDE + "static_loss_scale(accumulate(...))"),
    "apply_if_finite": (lambda: gx.apply_if_finite(SCALED, 3), OUTSIDE + "dynamic_loss_scale(apply_if_finite(...))"),
    "measure": (lambda: gx.measure(SCALED, grad_norm=True), OUTSIDE + "dynamic_loss_scale(measure(...))"),
    "sam": (lambda: sam(SCALED), OUTSIDE + "dynamic_loss_scale(sam(...))"),
    "adversary": (lambda: sam(SGD, SCALED), OUTSIDE + "dynamic_loss_scale(sam(...))"),
    "lookahead anew": (lambda: gx.lookahead(SCALED, 2, 0.5, reset_state=True), OUTSIDE),
    "guard anew": (lambda: gx.lookahead(GUARDED, 2, 0.5, reset_state=True), "guard goes outside: guard(look"),
    "clip, parts": (lambda: gx.chain(CLIP, gx.groups([(gx.ndim_at_least(0), SCALED)])), OUTSIDE),
    "decay, parts": (lambda: gx.chain(DECAY, gx.groups([(gx.ndim_at_least(0), SCALED)])), OUTSIDE),
    "groups": (lambda: gx.groups([("w", SCALED)], default=SGD), "around all of them: dynamic_loss_scale(groups(...))"),
    "all groups": (lambda: gx.groups([("w", SCALED)], default=SCALED), "around all of them"),
    "masked": (lambda: gx.masked(SCALED, "w"), "around all of them"),
    "twice": (lambda: gx.dynamic_loss_scale(FIXED), "divides the gradient twice"),
    "unscale inside": (lambda: gx.dynamic_loss_scale(gx.chain(UNSCALE, SGD)), "divides the gradient twice"),
    "unscale before": (lambda: gx.chain(UNSCALE, SCALED), "divides the gradient twice"),
    "clip, unscale": (lambda: gx.chain(CLIP, UNSCALE, SGD), "unscale goes first"),
    "half of sam": (lambda: sam(gx.chain(UNSCALE, SGD)), "put unscale into both, or in front of sam"),
    "sam guard": (lambda: sam(GUARDED), "guard goes outside: guard(sam(...))"),
    "guard opaque": (lambda: gx.guard(sam(SGD, opaque_mode=True)), "leave opaque_mode out: guard(sam(...))"),
    "scale opaque": (lambda: gx.dynamic_loss_scale(sam(SGD, opaque_mode=True)), "leave opaque_mode out"),
    "accumulate opaque": (lambda: gx.accumulate(sam(SGD, opaque_mode=True), 2), "leave opaque_mode out"),
    "clip, opaque": (lambda: gx.chain(CLIP, sam(SGD, opaque_mode=True)), "put it into both transformations of sam"),
    "memory, guard": (lambda: gx.chain(TRACE, GUARDED), "guard goes outside, around both: guard(...)"),
    "history, guard": (lambda: gx.chain(gx.clip_by_percentile(50.0), GUARDED), "guard goes outside"),
    "accumulate, decay": (lambda: gx.chain(SUMMED, DECAY), "accumulate goes outside, around both: accumulate(...)"),
    "accumulate, table": (lambda: gx.chain(SUMMED, gx.scale_by_learning_rate([1.0, 0.5])), "accumulate goes outside"),
    "accumulate, free": (lambda: gx.schedule_free(gx.accumulate(SGD, 2), 0.1), "accumulate goes outside"),
    "accumulate, optax": (lambda: gx.chain(SUMMED, optax.trace(0.9)), "accumulate goes outside"),
    "sam, scale": (lambda: gx.chain(sam(SGD), gx.scale(0.5)), "sam goes outside, around both: sam(...)"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_remedy(make, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


ALLOWED = {
    "linear stages": lambda: gx.chain(gx.centralize(), gx.scale(2.0), gx.freeze("b"), gx.mean_across("d"), SCALED),
    "in groups": lambda: gx.chain(gx.masked(gx.centralize(), "w"), gx.layerwise_decay(0.5, ["w", "b"]), SCALED),
    "groups inside": lambda: gx.dynamic_loss_scale(gx.groups([("w", SGD)], default=gx.adam(0.1))),
    "behind": lambda: gx.chain(SCALED, DECAY, gx.ema_of_params(0.9)),
    "update norm": lambda: gx.measure(SCALED, update_norm=True, param_norm=True),
    "decay, unscale": lambda: gx.chain(DECAY, UNSCALE, SGD),
    "unscale in groups": lambda: gx.groups([("w", gx.chain(UNSCALE, SGD))], default=gx.chain(UNSCALE, gx.adam(0.1))),
    "packed": lambda: gx.packed(gx.chain(gx.scale(0.5), UNSCALE, gx.adam(0.1))),
    "sam, both": lambda: sam(gx.chain(UNSCALE, SGD), gx.chain(UNSCALE, SGD)),
    "sam, guards": lambda: sam(GUARDED, GUARDED),
    "guard in opaque": lambda: sam(GUARDED, opaque_mode=True),
    "sam, freeze": lambda: gx.chain(sam(SGD), gx.freeze("b")),
    "guards": lambda: gx.chain(CLIP, gx.guard(TRACE), gx.guard(SGD)),
    "one group": lambda: gx.groups([(gx.ndim_at_least(0), SCALED)]),
    "every call": lambda: gx.chain(gx.accumulate(SGD, 1), DECAY),
    "no way uphill": lambda: gx.chain(sam(SGD, sync_period=1), gx.scale(0.5)),
    "accumulate, rate": lambda: gx.chain(SUMMED, gx.clip(1.0), gx.scale_by_learning_rate(gx.tunable(0.1))),
    "accumulate, rounding": lambda: gx.chain(SUMMED, gx.round_updates("kahan")),
}


@pytest.mark.parametrize("make", ALLOWED.values(), ids=ALLOWED)
def test_not_refused(make):
    make()


def test_a_line_search_inside_a_loss_scale_gets_the_gradient_of_the_loss():
    p, scale = jnp.asarray([1.0, -2.0]), 256.0

    def loss(p):
        return jnp.sum(jnp.asarray([3.0, 0.5]) * p**2)

    tx = gx.chain(gx.sgd(1.0), gx.scale_by_backtracking_linesearch(20))
    value, grad = jax.value_and_grad(loss)(p)
    expected, _ = tx.update(grad, tx.init(p), p, value=value, grad=grad, value_fn=loss)
    scaled = gx.static_loss_scale(tx, scale)
    found, _ = scaled.update(scale * grad, scaled.init(p), p, value=value, grad=scale * grad, value_fn=loss)
    np.testing.assert_array_equal(found, expected)
