"""A pair of functions as a transformation."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from gradxform.core.admit import shown
from gradxform.core.plain import got
from gradxform.core.state import REMEDY
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import OptState, Params, Structure, Updates


class Foreign(GradientTransformation):
    """A pair of functions `(init, update)`, as it is."""

    pair: tuple[Callable[..., OptState], Callable[..., tuple[Updates, OptState]]]

    def __init__(self, init: Any, update: Any) -> None:
        _check_takes("init", init, "init(params)", [1])
        _check_takes("update", update, "update(updates, state, params=None)", [2, 3])
        super().__init__((init, update))

    @property
    def name(self) -> str:
        return "foreign"

    def __repr__(self) -> str:
        """By the functions' names: `optax.chain(scale_by_adam, scale)`, or as a user wrote it."""
        init, update = self.pair
        home, made, inner = _made_by(update)
        if made:
            return f"{home}{made}({', '.join(inner) or '...'})"
        return f"GradientTransformation({_called(init)}, {_called(update)})"

    @property
    def takes(self) -> list[str] | None:
        """The names of what update takes; None where it takes any."""
        parameters = _parameters(self.pair[1])
        return None if any(p.kind == p.VAR_KEYWORD for p in parameters) else [p.name for p in parameters]

    def _init(self, params: Params) -> OptState:
        return self.pair[0](params)

    def _update(
        self, updates: Updates, state: OptState, params: Params, extra: dict[str, Any]
    ) -> tuple[Updates, OptState]:
        update = self.pair[1]
        if self.takes is not None:
            extra = {name: extra[name] for name in self.takes if name in extra}
        args = (updates, state, params) if _fits(update, 3) else (updates, state)
        try:
            out = update(*args, **extra)
        except Exception as error:
            self._refuse_other(state, updates if params is None else params, error)
            raise
        if not isinstance(out, Sequence) or len(out) != 2:
            raise TypeError(f"update must return a pair (updates, state), got {out!r} from {update!r}")
        return out[0], out[1]

    def _refuse_other(self, state: OptState, params: Params, error: Exception) -> None:
        """Say in words what the pair says in its own, where the state is another than it makes."""
        try:
            wanted = jax.eval_shape(self.pair[0], params)
        except Exception:
            return
        structure: Structure = jax.tree.structure(wanted)
        if structure != jax.tree.structure(state):
            what = f"the state holds {shown(state)}, wanted is {shown(wanted)}; {REMEDY}"
            raise ValueError(f"{self.name}: {what}") from error


def _called(f: Callable[..., Any]) -> str:
    return str(getattr(f, "__name__", None) or type(f).__name__)


def _made_by(f: Callable[..., Any]) -> tuple[str, str, list[str]]:
    """The library and the function that made a function, and what made those that it calls one after another.

    A function around another's update (optax's `with_extra_args_support`) counts as that.
    """
    held = inspect.getclosurevars(f).nonlocals if inspect.isfunction(f) else {}
    if callable(within := getattr(held.get("tx"), "update", None)):
        return _made_by(within)
    made, _, inside = getattr(f, "__qualname__", "").partition(".<locals>")
    home = str(getattr(f, "__module__", "")).partition(".")[0]
    parts = [_made_by(g)[1] or _called(g) for g in held.get("update_fns", ())]
    return "" if home == "__main__" else f"{home}.", made if inside else "", parts


def _parameters(f: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return [*inspect.signature(f).parameters.values()]
    except ValueError:
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]


def _fits(f: Callable[..., Any], number: int) -> bool:
    """Whether a function can be called with so many arguments by position; those by keyword are another matter."""
    takes = _parameters(f)
    by_position = [p for p in takes if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    most = math.inf if any(p.kind == p.VAR_POSITIONAL for p in takes) else len(by_position)
    return sum(p.default is p.empty for p in by_position) <= number <= most


def _check_takes(name: str, f: object, words: str, numbers: list[int]) -> None:
    if not callable(f):
        raise TypeError(f"{name} must be a function {words}, {got(f)}")
    if not any(_fits(f, number) for number in numbers):
        raise TypeError(f"{name} must be a function {words}, got {f!r} with the arguments {inspect.signature(f)}")
