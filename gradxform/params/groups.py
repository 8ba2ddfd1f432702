"""Parameter groups: which chain each leaf goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from gradxform.core import check
from gradxform.core.branches import Split
from gradxform.core.chain import Chain, stages_of
from gradxform.core.hyper import rebuild, rule_fields
from gradxform.core.plain import got, plain, shown
from gradxform.core.tree import Leaf, open_tree
from gradxform.core.types import Mask, Param, Params, Path, Transformation
from gradxform.core.value import Value, is_hashable
from gradxform.params.masks import entries_for, mask_selector, nearest
from gradxform.params.select import Selector, selector


class FirstMatch(Value):
    """The group of the first selector that a leaf matches, else the default group."""

    entries: tuple[tuple[str, Selector], ...]
    default: str | None

    def shown(self, branches: Mapping[str, Chain]) -> str:
        rows = [f"({where!r}, {branches[name]!r}, {name!r})" for name, where in self.entries]
        rest = "" if self.default is None else f", default={branches[self.default]!r}"
        return f"groups([{', '.join(rows)}]{rest})"

    def labels(self, leaves: Sequence[Leaf], tree: Params) -> list[str | None]:
        chosen = [(name, where.select(leaves, tree)) for name, where in self.entries]
        labels = [next((name for name, hits in chosen if hits[i]), self.default) for i in range(len(leaves))]
        lost = [leaf for leaf, label in zip(leaves, labels, strict=True) if label is None and not leaf.frozen]
        missed = [leaf.path for leaf in lost if leaf.array is not None]
        if missed:
            raise ValueError(f"no group matches {', '.join(missed)}; give a default, or freeze them")
        for name, where in self.entries:
            if leaves and where.written() and name not in labels:
                raise ValueError(f"the group {name!r} gets no parameter: every one it matches is in an earlier group")
        return labels

    def label(self, path: Path, leaf: Param) -> str | None:
        return next((name for name, where in self.entries if where.matches(path, leaf)), self.default)


class LabelTree(Value):
    """optax's labels: a tree of labels, or of prefixes, kept by path."""

    flags: tuple[tuple[str, str], ...]

    def shown(self, branches: Mapping[str, Chain]) -> str:
        return f"partition({dict(branches)!r}, {dict(self.flags)!r})"

    def labels(self, leaves: Sequence[Leaf], tree: Params) -> list[str | None]:
        return entries_for(leaves, self.flags, tree, "param_labels", "label")

    def label(self, path: Path, leaf: Param) -> str | None:
        return nearest(dict(self.flags), path)


class LabelFunction(Value):
    """optax's labels as a function from the tree of parameters to a tree of labels."""

    function: Callable[[Any], Any]
    names: tuple[tuple[Any, str], ...] = ()
    """Labels, and the names of their groups."""

    def shown(self, branches: Mapping[str, Chain]) -> str:
        return f"partition({dict(branches)!r}, {getattr(self.function, '__name__', self.function)!r})"

    def labels(self, leaves: Sequence[Leaf], tree: Params) -> list[str | None]:
        return label_tree(self.function(tree), self.names).labels(leaves, tree)

    def label(self, path: Path, leaf: Param) -> str | None:
        return label_tree(self.function({path: leaf}), self.names).label(path, leaf)


def label_tree(tree: Params, names: Iterable[tuple[Any, str]]) -> LabelTree:
    """Labels by path, as the names of their groups: that of the label that is equal, else what it prints as."""
    named = dict(names)
    pairs = [(path, plain(x)) for path, x in zip(*open_tree(tree)[:2], strict=True) if x is not None]
    return LabelTree(tuple((path, named.get(x, str(x)) if is_hashable(x) else shown(x)) for path, x in pairs))


def partition(transforms: Mapping[Any, Any], param_labels: Any, *, mask_compatible_extra_args: bool = False) -> Chain:
    """Send each parameter through the transformation of its label, all in one state.

    transforms: label -> transformation. param_labels: a tree of labels (or a prefix of one), or a function from params
    to one. Tree-wide members of a transformation see its own leaves alone. mask_compatible_extra_args is accepted for
    optax's sake; extra arguments are per step here, never trees to be masked.
    Raises: ValueError for a parameter without label, a label without transformation, or a tree that has more.
    """
    check.boolean(mask_compatible_extra_args=mask_compatible_extra_args)
    if not isinstance(transforms, Mapping):
        raise TypeError(f"transforms must map labels to transformations, {got(transforms)}")
    names = tuple((label, str(label)) for label in transforms)
    branches = {name: Chain(stages_of(transforms[x], f"transforms[{x!r}]")) for x, name in names}
    if len(branches) < len(names):
        raise ValueError(f"the labels of transforms must print differently, got {[*transforms]}")
    labels: Any = LabelFunction(param_labels, names) if _is_function(param_labels) else label_tree(param_labels, names)
    split = Split(labels, branches)
    if isinstance(labels, LabelTree):
        for path, name in labels.flags:
            split.refuse_unknown(path, name)
    return Chain((split,))


multi_transform = partition
"""As many programs call it."""


def masked(inner: Transformation, mask: Mask, *, mask_compatible_extra_args: bool = False) -> Chain:
    """Apply a transformation to some parameters and pass the others' updates through unchanged.

    mask: a selector, a regular expression, a tree of booleans, or a function from params to one. No state is kept
    for the others. mask_compatible_extra_args: as in `partition`.
    Raises: ValueError if a name in the mask matches nothing, or a tree does not fit the parameters.
    """
    check.boolean(mask_compatible_extra_args=mask_compatible_extra_args)
    where = mask_selector(mask)
    stages = stages_of(inner, "inner")
    if where is None:
        return Chain(stages)
    return Chain((Split(FirstMatch((("masked", where),), "rest"), {"masked": Chain(stages), "rest": Chain()}),))


def groups(entries: Sequence[tuple[Any, ...]], default: Transformation | None = None) -> Chain:
    """Send each parameter through the transformation of the first entry that it matches.

    entries: `(where, member)` or `(where, member, name)`; `where` is a selector, a regular expression or a function
    `(path, leaf) -> bool`; `member` a transformation, or a dict of the default's hyperparameters to change:
    `groups([("encoder/.*/kernel", {"learning_rate": 1e-4})], default=adamw(3e-4))`. Groups are named by the third entry
    or by their selector, and their hyperparameters `name/stage/field`. Tree-wide members see their own group alone.
    Raises: ValueError for an entry that gets no parameter, a parameter that no entry matches (without default), an
    unknown hyperparameter, or a name given twice; TypeError for an entry of another form.
    """
    entries = check.sequence("entries", entries=entries)
    selectors, branches = [], {}
    for entry in entries:
        if not isinstance(entry, tuple) or len(entry) not in (2, 3):
            raise TypeError(f"groups takes entries (where, member) or (where, member, name), {got(entry)}")
        where, member, *names = entry
        name = names[0] if names else (where if isinstance(where, str) else repr(where))
        if not isinstance(name, str):
            raise TypeError(f"the name of a group must be a string, {got(name)}")
        if name in branches or name == "default":
            raise ValueError(f"groups has two groups named {name!r}; give one a third entry as its name")
        if isinstance(member, Mapping):
            if default is None:
                raise ValueError(f"the group {name!r} changes the default's hyperparameters, and there is no default")
            member = override(default, member)
        selectors.append((name, selector(where)))
        branches[name] = Chain(stages_of(member, f"the member of group {name!r}"))
    if default is not None:
        branches["default"] = Chain(stages_of(default, "default"))
    return Chain((Split(FirstMatch(tuple(selectors), None if default is None else "default"), branches),))


def override(tx: Transformation, fields: Mapping[str, Any]) -> Chain:
    """The same chain with some of its rules' fields changed, by bare name or as `stage/field`.

    Raises: ValueError for a name that no rule has, or a bare one that several stages have (all of them are listed).
    """
    chain = Chain(stages_of(tx, "default"))
    known_fields = {name: rule_fields(stage.only_rule) for name, stage in chain.named() if stage.only_rule is not None}
    changes: dict[str, dict[str, Any]] = {}
    for key, value in fields.items():
        fields_of = [(stage, field) for stage, names in known_fields.items() for field in names]
        fits = [(stage, field) for stage, field in fields_of if key in (field, f"{stage}/{field}")]
        exact = [(stage, field) for stage, field in fits if stage == field]
        if not fits:
            known = ", ".join(f"{stage}/{field}" for stage, field in fields_of) or "none"
            closed = [name for name, stage in chain.named() if stage.parts() or stage.wrapped is not None]
            hint = f"; {', '.join(closed)} must stand around groups, not inside the default" if closed else ""
            raise ValueError(f"no stage has a hyperparameter {key!r}; there are: {known}{hint}")
        if len(fits) > 1 and not exact:
            raise ValueError(f"{key!r} is ambiguous: {', '.join(f'{stage}/{field}' for stage, field in fits)}")
        for stage, field in fits:
            changes.setdefault(stage, {})[field] = value
    stages = [
        stage.with_fields(rule=rebuild(stage.rule, changes[name])) if name in changes else stage
        for name, stage in chain.named()
    ]
    return Chain(tuple(stages))


def _is_function(x: object) -> bool:
    return callable(x) and bool(jax.tree_util.all_leaves([x]))
