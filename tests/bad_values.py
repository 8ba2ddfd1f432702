"""What each bad value gets from each argument of each public function: `python -m tests.bad_values` prints the table.

A value is refused in words, taken where the argument can mean it, or it is a fault: taken where it means nothing, found
out later by another error, or answered by an exception that is not the library's.
"""

from __future__ import annotations

import decimal
import enum
import fractions
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.compat import mindspore, mindspore_schedules, paddle, paddle_schedules, torch, torch_schedules
from gradxform.core.hyper import Schedule, Tunable, evaluate
from gradxform.optimizers.adam import ScaleByAdam
from tests import arguments


class Color(enum.Enum):
    RED = 1


def raises(*args):
    raise RuntimeError("my own")


def deleted():
    x = jnp.ones(())
    x.delete()
    return x


VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "'fast'": lambda: "fast",
    "''": lambda: "",
    "'0.5'": lambda: "0.5",
    "b'x'": lambda: b"x",
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1": lambda: 1,
    "0.5": lambda: 0.5,
    "1.5": lambda: 1.5,
    "10**400": lambda: 10**400,
    "1e39": lambda: 1e39,
    "1e-50": lambda: 1e-50,
    "2**63": lambda: 2**63,
    "1j": lambda: 1j,
    "object()": object,
    "a class": lambda: Color,
    "a module": lambda: math,
    "float16": lambda: jnp.float16,
    "...": lambda: ...,
    "{1.0}": lambda: {1.0, 0.5},
    "{}": dict,
    "{'a': 1.0}": lambda: {"a": 1.0},
    "{3: None}": lambda: {3: None},
    "{'a': 'int8'}": lambda: {"a": "int8"},
    "[]": list,
    "()": tuple,
    "['a']": lambda: ["a"],
    "[[0.5]]": lambda: [[0.5], [0.5]],
    "[nan]": lambda: [0.5, math.nan],
    "[None]": lambda: [None],
    "range(0)": lambda: range(0),
    "generator": lambda: (x for x in ("a", "b")),
    "ones(2)": lambda: np.ones(2),
    "ones(2, 2)": lambda: np.ones((2, 2)),
    "ones(0)": lambda: np.ones(0),
    "object array": lambda: np.array(object(), dtype=object),
    "object arrays": lambda: np.array([object(), None], dtype=object),
    "int array": lambda: jnp.arange(2),
    "bool array": lambda: np.array(True),
    "complex array": lambda: jnp.array(1j),
    "text array": lambda: np.array("fast"),
    "key": lambda: jax.random.key(0),
    "lambda": lambda: lambda: 0.5,
    "lambda t": lambda: lambda t: 0.5,
    "lambda a, b": lambda: lambda a, b: 0.5,
    "-> text": lambda: lambda t: "fast",
    "-> vector": lambda: lambda t: jnp.ones(7),
    "-> None": lambda: lambda t: None,
    "-> nan": lambda: lambda t: math.nan,
    "raises": lambda: raises,
    "a rule": ScaleByAdam,
    "a transformation": lambda: gx.sgd(0.1),
    "a selector": lambda: gx.named("nowhere"),
    "a schedule": lambda: gx.constant_schedule(0.5),
    "a tunable": lambda: gx.tunable(0.5),
    "a struct": lambda: jax.ShapeDtypeStruct((), jnp.float32),
    "rows": lambda: gx.Rows(jnp.array([0]), jnp.ones((1, 2)), (3, 2)),
    "datetime64": lambda: np.datetime64("2020-01-01"),
    "timedelta64": lambda: np.timedelta64(1, "s"),
    "Decimal": lambda: decimal.Decimal("0.5"),
    "Fraction": lambda: fractions.Fraction(1, 2),
    "enum": lambda: Color.RED,
    "deleted": deleted,
    "exception": lambda: ValueError("no"),
}

NUMBERS = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "-1": -1.0,
    "0": 0.0,
    "1": 1.0,
    "0.5": 0.5,
    "1.5": 1.5,
    "1e39": 1e39,
    "1e-50": 1e-50,
    "2**63": 2.0**63,
}
WHOLE = {"-1", "0", "1"}
REAL = {*NUMBERS, "True", "False", "Decimal", "Fraction", "bool array"}
TEXTS = {"'fast'", "''", "'0.5'"}
BY_STEP = {
    "lambda",
    "lambda t",
    "lambda a, b",
    "-> text",
    "-> vector",
    "-> None",
    "-> nan",
    "raises",
    "a class",
    "float16",
}
"""Functions of the step: what they give is seen at an update."""
FUNCTIONS = {*BY_STEP, "a schedule"}
RATES = {*BY_STEP, "a schedule", "a tunable"}
ARRAYS = {"ones(2)", "ones(2, 2)", "ones(0)", "int array"}
TREES = {"{}", "{3: None}", "[]", "()", "[None]", "range(0)"}
RIGHT = {
    "lambda t",
    "-> nan",
    "a schedule",
    "a tunable",
    "a transformation",
    "()",
    "a class",
    "float16",
    *WHOLE,
    *NUMBERS,
    "None",
    "True",
    "False",
    "''",
    "bool array",
}
"""What an update may take, of the values that are looked at only there."""


class Meant(NamedTuple):
    """Labels of the values that an argument can mean, and of those that may be found out at the first update.

    right: what of the latter the update may take.
    """

    now: frozenset[str] | set[str] = frozenset()
    later: frozenset[str] | set[str] = frozenset()
    right: frozenset[str] | set[str] = frozenset(RIGHT)


def within(kind: arguments.Kind) -> set[str]:
    """The numbers that are nearer to the valid one than each that is known to be out of range."""
    valid = kind.valid if isinstance(kind.valid, int | float) else 1.0
    outs = [x for x in kind.out if isinstance(x, int | float)]

    def fits(x: float) -> bool:
        if math.isnan(x) or (math.isinf(x) and math.inf in outs):
            return not any(map(math.isnan if math.isnan(x) else math.isinf, outs))
        return not any(x <= out < valid or x >= out > valid for out in outs)

    return {label for label, x in NUMBERS.items() if fits(x)}


def meant(kind: arguments.Kind) -> Meant:
    """By the argument's row in `tests.arguments`."""
    if not kind.wrong and not kind.out:
        return Meant({*VALUES})
    if isinstance(kind.valid, gx.Rule):
        return Meant({"a rule"})
    if kind.hyper or isinstance(kind.valid, float):
        in_time = kind.hyper or [0.1, 0.2] not in kind.wrong
        return Meant(within(kind) | (set() if None in kind.wrong else {"None"}), RATES if in_time else set())
    if isinstance(kind.valid, bool):
        return Meant({"True", "False"})
    if kind == arguments.key:
        return Meant({"0", "1", "2**63", "int array", "key", "None"})
    if isinstance(kind.valid, int):
        return Meant(within(kind) - {"0.5", "1.5", "1e-50"} if 1.5 in kind.wrong else within(kind) | {"0.5", "1e-50"})
    if kind == arguments.dtype:
        return Meant({"None", "float16"})
    if kind.wrong == arguments.axis.wrong:
        return Meant(set(), TEXTS, set())
    if kind == arguments.mask:
        return Meant({"None"}, {"True", "False", "bool array", "a selector", *TEXTS, *TREES, *BY_STEP})
    if isinstance(kind.valid, gx.GradientTransformation):
        return Meant({"a transformation"})
    if callable(kind.valid):
        return Meant(FUNCTIONS)
    return SPECIAL.get(type(kind.valid), Meant())


SPECIAL = {
    type(None): Meant({"None"}, {*TEXTS, *BY_STEP, "a transformation", "a selector", *WHOLE, "()", "10**400", "2**63"}),
    str: Meant(TEXTS),
    tuple: Meant({"()", "[]", "range(0)", "ones(0)", "ones(2)", "int array", "generator"}),
    dict: Meant({"{}", "None"}),
    list: Meant({"[]", "()", "['a']", "[[0.5]]", "generator", "ones(2)", "int array"}),
}
ALONE = {
    ("gx", "partition", "param_labels"): Meant(set(), {*VALUES}),
    ("gx", "multi_transform", "param_labels"): Meant(set(), {*VALUES}),
    ("gx", "groups", "default"): Meant({"None", "a transformation"}),
    ("gx", "matrices", "specs"): Meant({"None", "{}"}),
    ("gx", "groups", "entries"): Meant(set(), {"[]", "()", "range(0)", "ones(0)"}),
    ("gx", "sharded", "param_shardings"): Meant({"None"}, TREES, set()),
    ("gx", "spread", "param_shardings"): Meant({"None"}, TREES),
    ("gx", "stored_as", "codec"): Meant(set(), {"{'a': 'int8'}"}, set()),
    ("gx", "tree_get", "filtering"): Meant({"None", *FUNCTIONS}),
    ("gx", "offloaded", "fields"): Meant({"None", "[]", "()"}, {"['a']", *TEXTS}, set()),
    ("gx", "compare", "rates"): Meant({"None", "ones(2)", "generator"}),
    ("gx", "compare", "target"): Meant({"None", *NUMBERS} - {"nan", "inf", "-inf"}),
    ("gx", "accumulate", "every"): Meant({"1"}, FUNCTIONS),
    **{
        ("gx", "proximal_box", x): Meant({*NUMBERS} - {"nan"}, {*ARRAYS, "{'a': 1.0}", "{3: None}", *RATES})
        for x in ("lower", "upper")
    },
    **{
        ("gx", x, "a"): Meant({*NUMBERS} - {"nan", "inf", "-inf"}, {*ARRAYS, "{'a': 1.0}", "{3: None}", *RATES})
        for x in ("proximal_halfspace", "proximal_hyperplane")
    },
    **{
        ("gx", x, "block_axes"): Meant({"None", *WHOLE, "()", "2**63", "10**400"})
        for x in ("adam_mini", "scale_by_adam_mini")
    },
    **{("gx", x, "betas"): Meant({"[[0.5]]"}, {"generator", "ones(2)"}) for x in ("prodigy", "dadapt_adamw")},
    **{
        ("gx", x, "init_estim_sq_dist"): Meant({"None", "0.5", "1.5", "1e-50", "1", "2**63"})
        for x in ("dowg", "scale_by_dowg")
    },
    ("gx", "adafactor", "dtype_momentum"): Meant({"None", "float16"}),
    ("gx", "scale_by_factored_rms", "decay_rate_fn"): Meant({"None"}, FUNCTIONS, {"lambda a, b"}),
    **{("gx", x, "clip_value_fn"): Meant({"None"}, FUNCTIONS) for x in ("adopt", "scale_by_adopt")},
    ("gx", "tunable", "value"): Meant({*NUMBERS, "[nan]"}, RATES - {"a tunable"}),
    ("gx", "accumulate_gradients", "loss_fn"): Meant(FUNCTIONS),
    ("gx", "make_train_step", "loss_fn"): Meant({*FUNCTIONS}),
    ("gx", "make_train_step", "metrics"): Meant({"[]", "()"}),
    ("gx", "make_train_step", "axis_name"): Meant({"None", "'0.5'", "'fast'"}),
    ("gx", "accumulate_gradients", "weight"): Meant({"None", *FUNCTIONS}),
    **{
        ("torch_schedules", "OneCycleLR", x): Meant({"1", "2**63"})
        for x in ("total_steps", "epochs", "steps_per_epoch")
    },
    ("torch", "AveragedModel", "avg_fn"): Meant({"None", *FUNCTIONS}),
    ("torch", "adafactor", "eps"): Meant({"[nan]"}),
    ("torch_schedules", "CyclicLR", "step_size_down"): Meant({"1", "1.5", "1e39", "2**63"}),
}
"""Where neither the row nor the name says it."""

P = {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.full(3, 0.25)}
G = {"kernel": jnp.array([[0.5, -0.25, 0.125], [1.0, -0.5, 0.75]]), "bias": jnp.array([0.5, -1.0, 0.25])}
EXTRA = {
    "value": jnp.float32(1.0),
    "grad": G,
    "grad_fn": lambda p, i: G,
    "value_fn": lambda p, **extra: sum(jnp.sum(x**2) for x in jax.tree.leaves(p)),
}

MODULES = {
    "torch": torch,
    "paddle": paddle,
    "mindspore": mindspore,
    "torch_schedules": torch_schedules,
    "paddle_schedules": paddle_schedules,
    "mindspore_schedules": mindspore_schedules,
}
STEP_LR = [torch_schedules.StepLR(0.1, 2), torch_schedules.ExponentialLR(0.1, 0.5)]
GIVEN: dict[str, Any] = {
    **dict.fromkeys(["lr", "learning_rate", "base_lr", "base_learning_rate", "end_lr", "swa_lr"], 0.1),
    **dict.fromkeys(["max_lr", "max_learning_rate"], 0.2),
    **dict.fromkeys(["min_lr", "end_learning_rate"], 0.01),
    **dict.fromkeys(["gamma", "momentum", "decay_rate"], 0.5),
    **dict.fromkeys(["step_size", "warmup_steps", "step_per_epoch", "decay_epoch", "warmup_epoch", "scale_factor"], 2),
    **dict.fromkeys(["T_max", "T_0", "step_size_up", "decay_steps", "scale_window"], 5),
    **dict.fromkeys(["total_steps", "total_step"], 10),
    **dict.fromkeys(["loss_scale_value", "scale_value"], 4.0),
    **dict.fromkeys(["power", "clip_norm", "max"], 1.0),
    "milestones": [2],
    "boundaries": [2],
    "values": [0.1, 0.01],
    "learning_rates": [0.1, 0.01],
    "milestone": [2, 4],
    "lr_lambda": lambda k: 1.0,
    "d_model": 8,
    "start_lr": 0.0,
    "schedulers": STEP_LR,
    "tx": gx.sgd(0.1),
    "optimizer": mindspore.sgd(0.1),
    "params": P,
}
"""What the frameworks' arguments need, by name."""

FLAG = Meant({"True", "False", "0", "1"})
NUMBER = Meant(REAL, RATES)
INTEGER = Meant({*WHOLE, "True", "False"})
TAKES: dict[str, Meant] = {
    **dict.fromkeys(["T_max", "T_0", "T_mult", "step_size", "step_size_down", "total_iters", "total_steps"], INTEGER),
    **dict.fromkeys(["max_iter", "max_eval", "history_size", "last_epoch", "epochs", "steps_per_epoch"], INTEGER),
    **dict.fromkeys(["decay_steps", "warmup_steps", "total_step", "step_per_epoch", "decay_epoch"], INTEGER),
    **dict.fromkeys(["warmup_epoch", "scale_window", "step", "anneal_epochs"], INTEGER),
    **dict.fromkeys(["lr_lambda", "scale_fn"], Meant({"a schedule"}, {*FUNCTIONS})),
    **dict.fromkeys(["apply_decay_param_fun", "exclude_from_weight_decay_fn", "lars_filter"], Meant(FUNCTIONS)),
    **dict.fromkeys(
        ["groups", "grad_clip", "optimizer", "regularizer", "schedulers", "line_search_fn", "lr_ratio"], Meant()
    ),
    **dict.fromkeys(["betas", "etas", "step_sizes", "min", "mode"], Meant({"[nan]", *REAL})),
    "milestones": Meant({"()", "[]", "int array", "ones(0)", "range(0)"}),
    "boundaries": Meant({"int array"}),
    "learning_rates": Meant({"[nan]"}),
    "frozen": Meant({"{}", "[]", "()", "range(0)", "['a']", "generator", "a selector", *TEXTS, *FUNCTIONS}),
    "names": Meant({"{}", "[]", "()"}),
    "param_attr": Meant({"{}"}),
    "params": Meant(TREES),
    "group_name": Meant(TEXTS),
    "monitor": Meant(TEXTS),
    "tx": Meant({"a transformation"}),
    "learning_rate": Meant(REAL | {"[nan]", "ones(2)", "int array"}, {*RATES, "()", "[]", "ones(0)", "range(0)"}),
    "step_size_up": Meant({"1", "1.5", "1e39", "2**63"}),
}
"""What the frameworks' arguments can mean, by name: the ranges are the frameworks', who check few; a number where
neither this nor the default says more."""


TREE = {"params", "batch", "updates", "grads", "has_aux"}
"""Arguments of which a message names the leaf; where a function is called at once, the error is its own."""


class Argument(NamedTuple):
    """One argument of one public function, and what it can mean."""

    module: str
    function: Any
    name: str
    meant: Meant

    def __str__(self) -> str:
        return f"{self.module}.{self.function.__name__}-{self.name}"

    def call(self, value: Any) -> Any:
        if self.module == "gx":
            return arguments.call(self.function, self.name, value)
        needed = {p.name: GIVEN.get(p.name) for p in arguments.parameters(self.function) if p.default is p.empty}
        name, module = self.function.__name__, MODULES[self.module]
        if name in ("load_state", "save_state"):
            tx = module.adam()
            state = tx.init(P)
            saved = module.save_state(state, P, **({} if self.module == "torch" else {"tx": tx}))
            needed |= {"optimizer_state_dict": saved, "checkpoint": saved, "state": state, "tx": tx}
        if name == "OneCycleLR":
            needed |= {"total_steps": 10}
        if name == "lbfgs":
            needed |= {"max_iter": 2}  # operation by operation
        if self.name == "dampening":
            needed |= {"momentum": 0.5}
        takes = {p.name for p in arguments.parameters(self.function)}
        return self.function(**({key: x for key, x in needed.items() if key in takes} | {self.name: value}))


def every_argument() -> Iterator[Argument]:
    for name, function in arguments.public_functions().items():
        for p in arguments.parameters(function):
            kind = arguments.kind_of(name, p.name)
            if kind is not None:
                optional = {"None"} if p.default is None else set()
                takes = ALONE.get(("gx", name, p.name), meant(kind))
                yield Argument("gx", function, p.name, takes._replace(now=takes.now | optional))
    for module, names in MODULES.items():
        for name in names.__all__:
            function = getattr(names, name)
            for p in arguments.parameters(function) if callable(function) else ():
                takes = FLAG if isinstance(p.default, bool) else TAKES.get(p.name, NUMBER)
                takes = ALONE.get((module, name, p.name), takes)
                yield Argument(module, function, p.name, takes._replace(now=takes.now | {repr(p.default)}))


OWN = ("my own", "'x'")
"""Errors of the user's own functions, which pass as they are."""


def verdict(argument: Argument, label: str, stepped: bool = True) -> str:
    """`refused`, `taken`, `refused at the update`, or a sentence about what is wrong.

    stepped: whether a step is taken also with what an argument can mean, which must then be finite.
    """
    owed = (ValueError, TypeError) if argument.module == "gx" else (ValueError, TypeError, KeyError, RuntimeError)
    try:
        made = argument.call(VALUES[label]())
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        if str(error) in OWN:
            return "refused"
        if not isinstance(error, owed) or "Array has been deleted" in words:
            return f"answered by {words}"
        told = argument.name in TREE or label in FUNCTIONS
        named = told or any(name.rstrip("s") in words for name in (argument.name, argument.function.__name__))
        return "refused" if named else f"refused without the argument's name: {words}"
    if label in argument.meant.now and not stepped:
        return "taken"
    if label not in argument.meant.now | argument.meant.later:
        return f"taken for what it is not: {made!r}"
    try:
        given = used(made)
    except owed:
        return "refused at the update"
    except Exception as error:
        return (
            "refused at the update" if str(error) == "my own" else f"found out later by {type(error).__name__}: {error}"
        )
    if label not in argument.meant.now and label not in argument.meant.right:
        return f"taken for what it is not: {made!r}"
    # A framework that takes 1.5 for a decay rate computes with it, to NaN too; a schedule's values are the user's.
    finite = argument.module != "gx" or label == "-> nan" or all(map(is_finite, jax.tree.leaves(given)))
    return "taken" if finite else f"taken, and gives what is not finite: {given}"


def is_finite(x: Any) -> bool:
    return bool(jnp.isfinite(x).all())


def used(made: Any) -> Any:
    """What one step with it gives, or a schedule at some steps; one that grows may leave what float32 holds."""
    if isinstance(made, Schedule):
        first, second, *later = [evaluate(made, jnp.asarray(count, jnp.int32)) for count in (0, 1, 7, 1000)]
        return first, second, [jnp.where(jnp.isinf(x), 0, x) for x in later]
    made = gx.sgd(made) if isinstance(made, Tunable) else made
    if not isinstance(made, gx.GradientTransformation):
        return None
    with jax.disable_jit():
        examples = getattr(made, "per_example", False)
        grads = jax.tree.map(lambda g: jnp.stack([g, g]), G) if examples else G
        return made.update(grads, made.init(P), P, **EXTRA)[0]


EXTREMES = {"0", "1e-50", "2**63", "inf"}
"""Numbers with which a step may give what is not finite."""
FINE = ("refused", "taken", "refused at the update")


def main() -> None:
    counts: Counter[str] = Counter()
    found = [*every_argument()]
    for argument in found:
        for label in VALUES:
            said = verdict(argument, label)
            counts[said if said in FINE else "faults"] += 1
            if said not in FINE:
                sys.stdout.write(f"{argument} {label}: {said[:300]}\n")
    functions = {(x.module, x.function.__name__) for x in found}
    sys.stdout.write(f"{len(functions)} functions, {len(found)} arguments, {len(VALUES)} values each: {dict(counts)}\n")


if __name__ == "__main__":
    main()
