"""What a user's rule does wrong is one line that names it, with what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.mistakes import loss_and_aux


class Mean(NamedTuple):
    mean: Any


class Other(NamedTuple):
    mean: Any
    count: Any


def rule(kind: Any = gx.Rule, **methods: Any) -> Any:
    """A rule of a class made of these methods; annotated fields as pairs (annotation, default)."""
    fields = {name: x for name, x in methods.items() if isinstance(x, tuple) and name != "facts"}
    body = methods | {name: default for name, (_, default) in fields.items()}
    body["__annotations__"] = {name: annotation for name, (annotation, _) in fields.items()}
    return type("Mine", (kind,), body)


def one_step(cls: Any, params: Any = None, g: Any = None) -> Any:
    tx = gx.lift(cls())
    params = {"w": jnp.ones((2, 2))} if params is None else params
    return tx.update(params if g is None else g, tx.init(params), params)


def same(self: Any, g: Any, s: Any, p: Any, k: Any) -> Any:
    return g, s


def zeros(self: Any, p: Any) -> Any:
    return Mean(jnp.zeros_like(p))


READS_P: dict[str, Any] = {
    "adds": rule(update=lambda self, g, s, p, k: (g + p, s)),
    "multiplies": rule(update=lambda self, g, s, p, k: (g + 0.1 * p, s)),
    "its dtype": rule(update=lambda self, g, s, p, k: (g.astype(p.dtype), s)),
    "its norm": rule(update=lambda self, g, s, p, k: (g * jnp.linalg.norm(p), s), facts=gx.Facts(reach=gx.Reach.ARRAY)),
    "like it": rule(update=lambda self, g, s, p, k: (g + jnp.zeros_like(p), s)),
    "compares": rule(update=lambda self, g, s, p, k: (jnp.where(p > 0, g, 0), s)),
    "in emit": rule(gx.Halves, remember=lambda self, g, s, p, k: s, emit=lambda self, g, s, p, k: g - p),
    "in remember": rule(
        gx.Halves, init=zeros, remember=lambda self, g, s, p, k: Mean(s.mean + p), emit=lambda self, g, s, p, k: g
    ),
    "in factor": rule(gx.Factor, factor=lambda self, g, p, k: jnp.sum(p * g), facts=gx.Facts(reach=gx.Reach.ARRAY)),
}


@pytest.mark.parametrize("cls", READS_P.values(), ids=READS_P)
def test_it_reads_p_without_saying_so(cls: Any) -> None:
    with pytest.raises(TypeError, match=r"mine reads p without saying so: facts = Facts\(needs_params=True\)") as told:
        one_step(cls)
    assert "at leaf 'w'" in told.value.__notes__
    tx, p = gx.chain(gx.add_decayed_weights(0.1), gx.lift(cls())), jnp.ones((2, 2))
    state = tx.init(p)
    with pytest.raises(TypeError, match="mine reads p without saying so"):
        tx.update(p, state, p)


def test_it_may_ask_whether_there_is_a_parameter() -> None:
    one_step(rule(update=lambda self, g, s, p, k: (g if p is None else g + p, s)))


MISTAKES: dict[str, tuple[Any, str]] = {
    "no init": (rule(update=lambda self, g, s, p, k: (g + s.mean, s)), "mine reads s, and has no init"),
    "no scalars": (
        rule(init=zeros, update=lambda self, g, s, p, k: (g * k[0], s)), "mine reads k, and has no scalars"
    ),
    "one result": (
        rule(update=lambda self, g, s, p, k: g),
        r"update of Mine must return the update and the memory, `return u, s`; got an array of shape \(2, 2\)",
    ),
    "memory alone": (rule(init=zeros, update=lambda self, g, s, p, k: s), "must return the update and the memory"),
    "nothing": (rule(update=lambda self, g, s, p, k: None), "must return the update and the memory"),
    "three": (rule(update=lambda self, g, s, p, k: (g, s, k)), "must return the update and the memory"),
    "the other way round": (
        rule(init=zeros, update=lambda self, g, s, p, k: (s, g)), "must return an update in floating point, got a Mean"
    ),
    "no update": (rule(update=lambda self, g, s, p, k: (None, s)), "mine must return an update in floating point"),
    "a number": (rule(update=lambda self, g, s, p, k: (1.0, s)), r"in floating point, got 1\.0 of type float"),
    "integers": (
        rule(update=lambda self, g, s, p, k: (jnp.sign(g).astype(int), s)), r"got an array of .* and dtype int32"
    ),
    "complex": (rule(update=lambda self, g, s, p, k: (g * 1j, s)), r"mine made a complex update \(complex64\)"),
    "another shape": (rule(update=lambda self, g, s, p, k: (g[0], s)), r"turned an update of shape \(2, 2\) into"),
    "other memory": (
        rule(init=zeros, update=lambda self, g, s, p, k: (g, Other(g, g))),
        r"mine must return memory as its init makes it, Mean\(mean\), got Other\(mean, count\)",
    ),
    "an array for memory": (
        rule(init=zeros, update=lambda self, g, s, p, k: (g, g)), r"Mean\(mean\), got an array of shape"
    ),
    "no memory": (rule(init=zeros, update=lambda self, g, s, p, k: (g, None)), r"Mean\(mean\), got a NoneType"),
    "memory from nowhere": (
        rule(update=lambda self, g, s, p, k: (g, Mean(g))), "returns a Mean as its memory, and its init makes none"
    ),
    "complex memory": (
        rule(init=zeros, update=lambda self, g, s, p, k: (g, Mean(1j * g))), "returns complex memory where its init"
    ),
    "memory of another shape": (
        rule(init=zeros, update=lambda self, g, s, p, k: (g, Mean(g[0]))), r"the memory of mine has shape \(2, 2\)"
    ),
    "dict": (rule(init=lambda self, p: {"m": p}, update=same), r"init of mine must return a NamedTuple .* got a dict"),
    "list": (rule(init=lambda self, p: [p], update=same), r"init of mine must return a NamedTuple .* got a list"),
    "tuple": (rule(init=lambda self, p: (p, p), update=same), r"init of mine must return a NamedTuple .* got a tuple"),
    "array": (rule(init=lambda self, p: 0 * p, update=same), r"init of mine must return a NamedTuple .* got an array"),
    "vectors": (
        rule(scalars=lambda self, t: jnp.ones(3), update=same), r"scalars of mine must be numbers.* shape \(3,\)"
    ),
    "a word": (rule(scalars=lambda self, t: ("fast", t), update=same), "scalars of mine must be numbers.* got 'fast'"),
    "many": (rule(gx.Factor, factor=lambda self, g, p, k: jnp.ones(2)), "factor of mine must return one number"),
    "no factor": (rule(gx.Factor, factor=lambda self, g, p, k: None), "factor of mine must return one number"),
}  # fmt: skip


@pytest.mark.parametrize(("cls", "said"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("under", [lambda f, *a: f(*a), lambda f, *a: jax.jit(f)(*a)], ids=["unjitted", "jit"])
def test_what_it_returns(cls: Any, said: str, under: Callable[..., Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        under(lambda p: one_step(cls, {"w": p}), jnp.ones((2, 2)))


def test_what_its_init_makes_is_told_of_shapes_too() -> None:
    with pytest.raises(TypeError, match="must return a NamedTuple") as told:
        gx.lift(rule(init=lambda self, p: [p], update=same)()).init({"w": jax.ShapeDtypeStruct((2,), jnp.float32)})
    assert "at leaf 'w'" in told.value.__notes__


def test_tree_wide_memory_from_nowhere() -> None:
    cls = rule(gx.TreeRule, measure=lambda self, gs, s, t: (1.0, Mean(t)), update=same)
    with pytest.raises(TypeError, match="returns a Mean as its memory"):
        one_step(cls)


@pytest.mark.parametrize("given", [gx.cosine_decay_schedule(0.1, 5), lambda count: 0.1, gx.tunable(0.1), [0.1, 0.2]])
@pytest.mark.parametrize("annotation", [float, int, "float", "float | None"])
def test_a_schedule_where_there_is_none(given: Any, annotation: Any) -> None:
    cls = rule(limit=(annotation, 1.0), update=same)
    with pytest.raises(TypeError, match=r"Mine has 'limit', which is no hyperparameter and takes no .*: Hyper"):
        cls(given)
    assert cls(2.0).limit == 2.0


@pytest.mark.parametrize("given", [[1, 2], {"a": 1}, np.ones(2), {1}])
def test_what_cannot_be_compared(given: Any) -> None:
    cls = rule(sizes=(tuple, ()), update=same)
    with pytest.raises(TypeError, match=r"Mine has 'sizes', which must be hashable, got .*: write a tuple"):
        cls(given)
    assert cls((1, 2)).sizes == (1, 2)


def test_a_function_may_be_a_field() -> None:
    assert rule(of=(Callable, abs), update=same)(max).of is max
    assert gx.lift(rule(of=(Any, abs), update=same)(max)).init(jnp.ones(2)).leaves == {}


def test_a_number_without_annotation_is_no_field() -> None:
    class Mine(gx.Rule):
        decay = 0.9

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            return g * self.decay, s

    with pytest.raises(TypeError, match="'decay'; it takes none; to make decay a field, annotate it in the class"):
        Mine(decay=0.5)


def test_a_loss_and_its_aux_are_a_pair() -> None:
    assert loss_and_aux((jnp.float32(1.0), "aux"), True) == (1.0, "aux")
    with pytest.raises(TypeError, match=r"must return the pair \(loss, aux\)"):
        loss_and_aux((jnp.float32(1.0), "aux", "more"), True)
