"""Faults that a user's rule may have: each is found, and answered with what to write instead."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

SMALL = {"w": jnp.zeros((4, 3)), "b": jnp.zeros(3)}
ARRAY = gx.Facts(reach=gx.Reach.ARRAY)


class Mean(NamedTuple):
    mean: Any


class Remembering(gx.Rule, abstract=True):
    def init(self, p: Any) -> Any:
        return Mean(jnp.zeros_like(p))


class OverTheArray(gx.Rule):
    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g - g.mean(), s


class OverRows(gx.Rule):
    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g / jnp.linalg.norm(g, axis=-1, keepdims=True) if g.ndim else g, s


class OfTheShape(gx.Rule):
    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g * g.size**0.5, s


class Branches(gx.Rule):
    facts = ARRAY

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return (g if g.sum() > 0 else -g), s


class DrawsWithNumpy(gx.Rule):
    facts = ARRAY

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g + np.random.standard_normal(g.shape).astype(np.float32), s


class ZeroByZero(Remembering):
    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        nu = 0.9 * s.mean + 0.1 * g * g
        return g / jnp.sqrt(nu), Mean(nu)


class Overflows(Remembering):
    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        fourth = 0.9 * s.mean + 0.1 * g**4
        return gx.quotient(g, fourth**0.25 + 1e-8, 1e-8), Mean(fourth)


class Narrow(gx.Rule):
    def init(self, p: Any) -> Any:
        return Mean(jnp.zeros_like(p, jnp.bfloat16))

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        mean = 0.9 * s.mean + 0.1 * g
        return mean, Mean(mean)


class DoesNotSayThatItCorrects(Remembering):
    corrects = False

    def scalars(self, t: Any) -> Any:
        return gx.debias(0.9, t)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        mean = 0.9 * s.mean + 0.1 * g
        return mean / k, Mean(mean)


class KeepsNoZero(gx.Rule):
    facts = gx.Facts(keeps_zero=True)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g + 0.1, s


class DecaysOtherwise(gx.Halves):
    rate: gx.Beta = 0.9
    facts = gx.Facts(decay_rates=("rate",))

    def init(self, p: Any) -> Any:
        return Mean(jnp.zeros_like(p))

    def remember(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return Mean(self.rate**2 * s.mean + g + 0.1)

    def emit(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return s.mean


class ReadsParameters(gx.Rule):
    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g + 0.1 * p, s


def momentum(begin: Any) -> Any:
    """A pair of functions with memory made by `begin`."""

    def update(g: Any, state: Any, params: Any = None) -> Any:
        m = jax.tree.map(lambda m, g: 0.9 * m + g, state[0], g)
        return m, (m, state[1])

    return gx.GradientTransformation(begin, update)


def narrow_pair(params: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, params), jnp.zeros(())


def one_array_twice(params: Any) -> Any:
    return params, jnp.zeros(())


FAULTS: dict[str, tuple[Any, str]] = {
    "over the array": (
        OverTheArray(),
        r"reach ELEMENT .* more than a row of it: facts = gx.Facts\(reach=gx.Reach.ARRAY",
    ),
    "over rows": (
        OverRows(),
        r"reach ELEMENT of itself and looks at whole rows: facts = gx.Facts\(reach=gx.Reach.ROW\)",
    ),
    "of the shape": (OfTheShape(), "in a buffer with other leaves it gives other updates, .* the array's shape"),
    "branches": (Branches(), r"cannot be compiled, .* number that is not known yet .* write jnp.where\(condition"),
    "draws with NumPy": (
        DrawsWithNumpy(),
        "two updates of one gradient and state differ, .* field annotated gx.OwnKey",
    ),
    "zero by zero": (
        ZeroByZero(),
        r"a gradient of 0, .* makes NaN or infinity: gx.quotient\(a, b, eps\) is 0 for 0 / 0",
    ),
    "overflows": (Overflows(), r"one element of 1e\+15 in a gradient makes .*mean infinite .* jnp.clip"),
    "narrow memory": (Narrow(), "it keeps .*mean in 16 bits, .* jnp.zeros_like.* gx.stored_as"),
    "corrects": (DoesNotSayThatItCorrects(), "whose gradient was None for two steps .* leave out `corrects = False`"),
    "keeps no zero": (KeepsNoZero(), "says keeps_zero and moves where the gradient is 0, .* leave keeps_zero out"),
    "decays otherwise": (DecaysOtherwise(), "decay_rates do not say what steps without a gradient make of its memory"),
    "reads parameters": (ReadsParameters(), r"reads p without saying so: facts = Facts\(needs_params=True\)"),
    "a pair in 16 bits": (
        momentum(narrow_pair),
        r"a step changes its state \(0/b from .*bfloat16.* to .*float32.* scan",
    ),
    "a parameter kept": (momentum(one_array_twice), "in the state of init 0/b is the same array as the parameter b"),
}


@pytest.mark.parametrize(("faulty", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(faulty: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        gx.testing.check(faulty, params=SMALL)


class Belief(NamedTuple):
    mu: Any
    nu: Any


class ScaleByBelief(gx.Rule):
    b1: gx.Beta = 0.9
    b2: gx.Beta = 0.999
    eps: gx.Hyper = 1e-16

    def init(self, p: Any) -> Any:
        return Belief(jnp.zeros_like(p), jnp.zeros_like(p))

    def scalars(self, t: Any) -> Any:
        return gx.debias(self.b1, t), gx.debias(self.b2, t)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = self.b2 * s.nu + (1 - self.b2) * (g - mu) ** 2 + self.eps
        return gx.quotient(mu / k[0], jnp.sqrt(nu / k[1]) + self.eps, self.eps), Belief(mu, nu)


def test_a_rule_without_faults_holds_and_says_what_does_not_apply() -> None:
    report = gx.testing.check(ScaleByBelief(), params=SMALL)
    assert report.faults == ()
    assert [reason.split(":")[0] for reason in report.apart] == ["a leaf that rests goes on where it stopped"]
    assert "holds:\n  - it compiles" in str(report)
    assert len(report.holds) == 13


def test_what_a_rule_reads_beside_the_gradient_is_there() -> None:
    assert gx.testing.check(gx.sophia(0.1), params={"w": jnp.zeros((4, 3))}).faults == ()
    with pytest.raises(AssertionError, match="needs 'grad'"):
        gx.testing.check(gx.lbfgs())


def test_a_class_is_no_rule() -> None:
    with pytest.raises(TypeError, match=r"tx must be a gradient transformation, got .*ScaleByBelief"):
        gx.testing.check(ScaleByBelief)
