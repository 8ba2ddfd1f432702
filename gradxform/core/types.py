"""Names for what goes in and out: trees, arrays, masks, dtypes. `Hyper` and `Beta` stand in `core.hyper`."""

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
Param: TypeAlias = Any
"""One parameter, an array in float32 or wider; None where a rule does not say that it needs it."""
Mask: TypeAlias = Any
"""Which parameters: a `Selector`, a regular expression, a tree of booleans like the parameters (or a prefix), or a
function from params to one; None for all."""
Where: TypeAlias = Any
"""Which parameters: a `Selector`, a regular expression, or a function `(path, leaf) -> bool`."""
Transformation: TypeAlias = Any
"""A `GradientTransformation`, or any pair of functions `(init, update)`, such as optax's."""
Key: TypeAlias = int | jax.Array
Loss: TypeAlias = Callable[..., Any]
