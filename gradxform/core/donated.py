"""Arrays whose memory was given away, or is about to be."""

from __future__ import annotations

import jax

from gradxform.core.plain import is_gone
from gradxform.core.tree import name_of
from gradxform.core.types import Tree


def refuse_deleted(**trees: Tree) -> None:
    """Refuse arrays whose memory was given away; trees: by what their leaves are."""
    for what, tree in trees.items():
        for key, x in jax.tree_util.tree_leaves_with_path(tree):
            if is_gone(x):
                raise ValueError(
                    f"the {what} {'/'.join(map(name_of, key))!r} was donated to an earlier step: use what that step "
                    "returned, or make the step with donate=False"
                )


def refuse_shared(donated: Tree, **trees: Tree) -> None:
    """Refuse what is donated and read in one call."""
    given = {id(x) for x in jax.tree.leaves(donated)}
    for what, tree in trees.items():
        for key, x in jax.tree_util.tree_leaves_with_path(tree):
            if id(x) in given:
                raise ValueError(
                    f"the {what} {'/'.join(map(name_of, key))!r} is itself a parameter or in the state, whose memory "
                    "the step reuses: copy it, or make the step with donate=False"
                )
