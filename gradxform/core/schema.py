"""What the fields of a `Value` mean: read from their annotations, once per class, when the class is first used."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import re
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

KINDS = ("hyper", "beta", "child", "key")
"""Marks that make a field a branch of the tree."""


class Field(NamedTuple):
    """One field of a `Value`."""

    name: str
    kind: str
    """`"hyper"`, `"beta"`, `"child"`, `"key"` or `"static"`."""
    marks: tuple[str, ...]
    """The words of its `Annotated`, the kind among them; `"optional"` where it may be None."""
    annotation: Any
    default: Any
    """`dataclasses.MISSING` where there is none."""
    shown: bool
    """Whether it is printed."""


def schema(cls: type) -> tuple[Field, ...]:
    """The fields of a class of values, in order.

    Raises: TypeError naming class, field and annotation where that cannot be read.
    """
    fields: tuple[Field, ...] | None = vars(cls).get("_schema")
    if fields is None:
        fields = tuple(_field(cls, f) for f in dataclasses.fields(cls))
        type.__setattr__(cls, "_schema", fields)
    return fields


def names_around(cls: type) -> Mapping[str, Any]:
    """What the names in the annotations of a class mean where it is being made: module, and function around it."""
    texts = [x for x in vars(cls).get("__annotations__", {}).values() if isinstance(x, str)]
    frame: Any = sys._getframe(1)
    while frame.f_code.co_name == "__init_subclass__":
        frame = frame.f_back
    if "<locals>" not in cls.__qualname__ or not texts:
        names: Mapping[str, Any] = frame.f_globals
        return names
    words = re.findall(r"\w+", " ".join(texts))
    return collections.ChainMap({w: frame.f_locals[w] for w in words if w in frame.f_locals}, frame.f_globals)


def _field(cls: type, f: dataclasses.Field[Any]) -> Field:
    owner = [base for base in cls.__mro__ if getattr(base, "__dataclass_fields__", {}).get(f.name) is f][-1]
    try:
        annotation, marks = _read(f.type, owner)
    except Exception as error:
        raise TypeError(
            f"{f.name!r} of {owner.__module__}.{owner.__qualname__} is annotated {_shown(f.type)}, and {error}"
        ) from error
    kind = next((mark for mark in marks if mark in KINDS), "static")
    return Field(f.name, kind, marks, annotation, f.default, f.repr)


def _read(annotation: Any, owner: type) -> tuple[Any, tuple[str, ...]]:
    """An annotation with the names in it looked up, and the marks that it carries for the field as a whole."""
    annotation = _looked_up(annotation, owner)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        marks = tuple(mark for mark in annotation.__metadata__ if isinstance(mark, str))
        return annotation, _one_kind([marks] if _kinds(marks) else [_read(annotation.__origin__, owner)[1], marks])
    if origin in (typing.Union, types.UnionType):
        parts = [("optional",) if part is types.NoneType else _read(part, owner)[1] for part in args]
        return annotation, _one_kind(parts)
    if origin is not typing.Literal and any(_kinds(_read(part, owner)[1]) for part in args if _is_type(part)):
        raise TypeError("inside a container a mark says nothing: write Hyper, Beta or Child[...] around the whole")
    return annotation, ()


def _looked_up(annotation: Any, owner: type) -> Any:
    """The object that a text stands for, and what an alias stands for."""
    while True:
        if isinstance(annotation, typing.ForwardRef):
            annotation = annotation.__forward_arg__
        if isinstance(annotation, str):
            annotation = _evaluated(annotation, owner)
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


def _evaluated(text: str, owner: Any) -> Any:
    names = collections.ChainMap(owner._names_around, vars(builtins), dict(vars(owner)))
    try:
        return eval(text, {}, names)
    except NameError as error:
        raise TypeError(
            f"{error}: import or define it at the top of the module, outside of TYPE_CHECKING, or before the class in "
            "the same function"
        ) from error


def _one_kind(parts: list[tuple[str, ...]]) -> tuple[str, ...]:
    marks = tuple(dict.fromkeys(mark for part in parts for mark in part))
    if len(_kinds(marks)) > 1:
        raise TypeError("a field is one of Hyper, Beta and Child[...], or an OwnKey")
    return marks


def _kinds(marks: tuple[str, ...]) -> list[str]:
    return [mark for mark in marks if mark in KINDS]


def _is_type(x: object) -> bool:
    return not isinstance(x, list) and x is not ...


def _shown(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else repr(annotation)
