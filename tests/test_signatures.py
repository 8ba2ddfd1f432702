"""Where optax has a function of a name, ours takes the same arguments in the same order."""

from __future__ import annotations

import inspect

import optax
import pytest

import gradxform as gx

SHARED = sorted(
    name
    for name in set(dir(gx)) & set(dir(optax))
    if inspect.isfunction(getattr(gx, name)) and callable(getattr(optax, name))
)
OTHER_DEFAULTS = {
    "freeze": {"mask"},
    "lbfgs": {"linesearch"},
    "scale_by_factored_rms": {"decay_rate_fn"},
    "fromage": {"min_norm"},
}


def parameters(library, name):
    return list(inspect.signature(getattr(library, name)).parameters.values())


@pytest.mark.parametrize("name", SHARED)
def test_arguments_and_order_are_optaxs(name):
    ours, theirs = parameters(gx, name), parameters(optax, name)
    extra = ours[len(theirs) :]
    assert all(p.kind == p.KEYWORD_ONLY and p.default is not p.empty for p in extra)
    for a, b in zip(ours, theirs, strict=False):
        assert a.kind == b.kind
        assert a.name == b.name or a.kind == a.VAR_POSITIONAL
    assert len(ours) >= len(theirs)


@pytest.mark.parametrize("name", SHARED)
def test_defaults_are_optaxs(name):
    theirs = {p.name: p.default for p in parameters(optax, name)}
    ours = {p.name: p.default for p in parameters(gx, name) if p.name in theirs}
    for argument in OTHER_DEFAULTS.get(name, ()):
        assert ours.pop(argument) != theirs[argument]
    for argument, default in ours.items():
        assert default == theirs[argument], argument


def test_the_names_meant_are_compared():
    """A guard against an empty list: these must be among the shared names."""
    assert {"adam", "adamw", "nadamw", "lars", "lamb", "trace", "clip_by_global_norm", "partition"} <= set(SHARED)
