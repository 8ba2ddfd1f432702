"""Arrays whose memory was given away."""

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
                    "returned, or gx.make_step(tx, donate=False)"
                )
