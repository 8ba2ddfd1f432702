"""What a field means is what its annotation means, however that is written; what cannot be read is refused."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform import Beta, Hyper
from gradxform.core.schema import schema
from gradxform.core.value import Child, Pair, Value

if TYPE_CHECKING:
    from decimal import Decimal

Rate = Hyper
Documented = Annotated[Rate, "the step's size"]
MaybeBeta = Optional[Beta]  # noqa: UP045 - as some write it


def kinds(cls: type) -> dict[str, str]:
    return {f.name: f.kind for f in schema(cls)}


class Written(Value):
    plain: Hyper
    dotted: gx.Hyper
    alias: Rate
    documented: Documented
    union: Hyper | None = None
    optional: Optional[Beta] = None  # noqa: UP045
    alias_of_optional: MaybeBeta = None
    child: Child[Value] | None = None
    quoted: "Hyper" = 0.0  # noqa: UP037
    either: Hyper | int = 0.0
    word: Literal["Hyper"] = "Hyper"
    function: typing.Callable[[Hyper], Any] | None = None
    number: float = 1.0


def test_a_field_means_what_its_annotation_means():
    assert kinds(Written) == {
        "plain": "hyper",
        "dotted": "hyper",
        "alias": "hyper",
        "documented": "hyper",
        "union": "hyper",
        "optional": "beta",
        "alias_of_optional": "beta",
        "child": "child",
        "quoted": "hyper",
        "either": "hyper",
        "word": "static",
        "function": "static",
        "number": "static",
    }
    assert schema(Written) is schema(Written)


def test_what_is_a_branch_can_be_data():
    x = Written(1.0, 2.0, 3.0, 4.0, optional=0.75, child=Written(*4 * [0.0]))
    leaves = jax.tree.leaves(x)
    assert leaves[:6] == [1.0, 2.0, 3.0, 4.0, 0.75, 0.25]
    assert jax.tree.unflatten(jax.tree.structure(x), leaves) == x


class Passing(gx.Rule, abstract=True):
    def update(self, g, s, p, k):
        return g, s


class Descent(gx.Rule):
    """A user's rule with an alias, and a rate that may be missing."""

    learning_rate: Rate
    damping: Hyper | None = None
    momentum: MaybeBeta = None

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        u = g * -self.learning_rate
        u = u if self.damping is None else u / (1.0 + self.damping)
        return (u if self.momentum is None else u * (1 - self.momentum)), s


def test_aliases_and_optional_fields_are_hyperparameters():
    """They take schedules and tunables, are listed, and come through `jit` as data."""
    g = jnp.array([1.0, -2.0])
    tx = gx.lift(Descent(lambda t: 0.5 + t, gx.tunable(1.0), 0.75))
    state = tx.init(g)
    assert {k: float(x) for k, x in gx.hyperparams(tx, state).items()} == {
        "descent/learning_rate": 0.5,
        "descent/damping": 1.0,
        "descent/momentum": 0.75,
    }
    for t, damping in ((0, 1.0), (1, 3.0)):
        state = gx.with_hyperparams(state, damping=damping)
        u, state = tx.update(g, state)
        np.testing.assert_allclose(u, -(0.5 + t) / (1 + damping) * 0.25 * np.array([1.0, -2.0]), rtol=1e-6)
    through = jax.jit(lambda tx: tx.update(g, tx.init(g))[0])
    np.testing.assert_array_equal(through(gx.lift(Descent(0.5))), [-0.5, 1.0])
    np.testing.assert_allclose(through(gx.lift(Descent(0.5, momentum=0.25))), [-0.375, 0.75], rtol=1e-6)


def test_none_is_taken_where_the_annotation_says_so():
    class Needed(Passing):
        rate: Hyper | None

    class Plain(Passing):
        rate: Hyper

    assert Needed(None).rate is None
    with pytest.raises(TypeError, match="rate must be a number"):
        Plain(None)


def test_names_of_the_function_around_the_class():
    from gradxform import Hyper as LocalHyper

    Own = LocalHyper | None

    class Inside(Passing, abstract=True):
        rate: Own
        inner: Child[LocalHyper.__class__] | None = None

    assert kinds(Inside) == {"rate": "hyper", "inner": "child"}

    class Below(Inside):
        more: Beta = 0.5

    assert kinds(Below) == {"rate": "hyper", "inner": "child", "more": "beta"}


def test_annotations_that_are_objects():
    scope = {"gx": gx, "Passing": Passing, "Value": Value, "Child": Child, "Optional": Optional}
    text = "class Plain(Value):\n    a: gx.Hyper | None\n    b: Optional['gx.Beta']\n    c: Child[tuple]\n    d: int\n"
    exec(compile(text, "plain", "exec", dont_inherit=True), scope)
    assert not isinstance(scope["Plain"].__annotations__["a"], str)
    assert [*kinds(scope["Plain"]).values()] == ["hyper", "beta", "child", "static"]


def test_what_cannot_be_read_is_refused_by_name():
    class Hidden(Passing):
        weight: Decimal | None = None

    with pytest.raises(
        TypeError, match=r"'weight' of .*Hidden is annotated Decimal \| None, and name 'Decimal' is not "
    ):
        Hidden()
    with pytest.raises(TypeError, match="import or define it at the top of the module, outside of TYPE_CHECKING"):
        Hidden()


def test_names_that_come_later_are_refused():
    class Early(Passing):
        rate: Late

    Late = Hyper
    with pytest.raises(TypeError, match=r"'rate' of .*Early is annotated Late, and name 'Late' is not defined"):
        Early(0.1)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("tuple[Hyper, ...]", "inside a container a mark says nothing"),
        ("dict[str, Beta] | None", "inside a container a mark says nothing"),
        ("Hyper | Beta", "a field is one of Hyper, Beta and Child"),
        ("Child[int] | Hyper", "a field is one of Hyper, Beta and Child"),
        ("Hyper[", "'field' of .*Odd is annotated Hyper\\["),
        ("gx.Hyperr", "has no attribute 'Hyperr'|Hyperr"),
    ],
)
def test_what_says_two_things_or_nothing_is_refused(annotation, words):
    scope = {"gx": gx, "Passing": Passing, "Hyper": Hyper, "Beta": Beta, "Child": Child, "__name__": __name__}
    code = compile(f"class Odd(Passing):\n    field: {annotation!r} = 0.0\n", "odd", "exec", dont_inherit=True)
    exec(code, scope)
    with pytest.raises(TypeError, match=words):
        scope["Odd"]()


def _values() -> Iterator[type]:
    for module in pkgutil.walk_packages(gx.__path__, "gradxform."):
        importlib.import_module(module.name)
    waiting = [Value]
    while waiting:
        cls = waiting.pop()
        if cls.__module__.startswith("gradxform."):
            yield cls
        waiting += cls.__subclasses__()


def test_every_class_of_the_package_can_be_read():
    counted = [f.kind for cls in _values() if cls is not Value for f in schema(cls)]
    assert set(counted) == {"hyper", "beta", "child", "key", "static"}


def test_a_pair_is_a_beta_that_is_data():
    x = jax.tree.unflatten(jax.tree.structure(Written(*4 * [0.0], optional=0.5)), [jnp.ones(())] * 8)
    assert isinstance(x.optional, Pair)
