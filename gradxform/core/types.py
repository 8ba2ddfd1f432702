"""Names for what goes in and out: trees, arrays, masks, dtypes, layouts. `Hyper` and `Beta` stand in `core.hyper`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.typing

Array: TypeAlias = jax.Array
ArrayLike: TypeAlias = jax.typing.ArrayLike
Dtype: TypeAlias = jax.typing.DTypeLike
AxisName: TypeAlias = str | tuple[str, ...]
Path: TypeAlias = str
"""Names joined by `/`, from the root of a tree to a leaf."""

Params: TypeAlias = Any
"""A tree of parameters: any containers, leaves arrays of any dtype, numbers, `ShapeDtypeStruct` or None."""
Updates: TypeAlias = Any
"""A tree like the parameters: leaves arrays in the parameters' shapes, `Rows`, or None where a leaf took no part."""
OptState: TypeAlias = Any
"""What a transformation's `init` made: a `State`, a wrapper's NamedTuple around one, or a tree with such in it."""
Memory: TypeAlias = Any
"""What a rule keeps for one array: a NamedTuple of arrays, or None for nothing."""
Scalars: TypeAlias = Any
"""What a rule's `scalars` gave for the step: a scalar array or number, a tuple of them, or None."""
Factors: TypeAlias = list[Any]
"""Numbers by which a gradient is still to be multiplied: floats, or arrays of shape ()."""
Param: TypeAlias = Any
"""One parameter, an array in float32 or wider; None where a rule does not say that it needs it."""
Mask: TypeAlias = Any
"""Which parameters: a `Selector`, a regular expression, a tree of booleans like the parameters (or a prefix), or a
function from params to one; None for all."""
Where: TypeAlias = Any
"""Which parameters: a `Selector`, a regular expression, or a function `(path, leaf) -> bool`."""
Transformation: TypeAlias = Any
"""A `GradientTransformation`, or any pair of functions `(init, update)`, such as optax's."""
TransformInitFn: TypeAlias = Callable[[Params], OptState]
"""`params -> state`."""
TransformUpdateFn: TypeAlias = Callable[..., tuple[Updates, OptState]]
"""`updates, state, params=None -> updates, state`."""
TransformUpdateExtraArgsFn: TypeAlias = TransformUpdateFn
"""The same with `**extra`, which every transformation takes."""
MaskOrFn: TypeAlias = Mask
"""A mask argument: a `Selector`, a tree of booleans, a function from params to one, or None for all."""
Key: TypeAlias = int | jax.Array
Loss: TypeAlias = Callable[..., Any]

Tree: TypeAlias = Any
"""Any pytree: arrays in containers of any kind."""
Gradient: TypeAlias = Any
"""The gradient or the update of one leaf: an array, `Rows`, or None where it takes no part."""
Shaped: TypeAlias = Any
"""What has a shape, a dtype and ndim: an array, `Rows` or a `ShapeDtypeStruct`."""
Number: TypeAlias = Any
"""A hyperparameter at a step: a float, an array of shape (), or a `Pair` of these."""
Count: TypeAlias = Any
"""How many updates are done, or which one it is: an integer, or an int32 array of shape ()."""
Structure: TypeAlias = jax.tree_util.PyTreeDef
Taken: TypeAlias = jax.Array | None
"""Whether a step is taken, a bool of shape (), where a control decides it; None where it is."""
Mesh: TypeAlias = jax.sharding.Mesh | jax.sharding.AbstractMesh
Shardings: TypeAlias = Any
"""How arrays lie: a tree of `NamedSharding` or `PartitionSpec`, or one of them for a whole subtree."""
