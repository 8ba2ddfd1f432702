from __future__ import annotations

import jax.numpy as jnp
import pytest

from gradxform.core.donated import refuse_deleted


def test_the_array_that_is_gone_is_named() -> None:
    gone = jnp.ones(2)
    gone.delete()
    with pytest.raises(ValueError, match=r"the parameter 'a/0' was donated to an earlier step"):
        refuse_deleted(gradient={"a": [jnp.ones(2)]}, parameter={"a": [gone, None]})
    refuse_deleted(parameter={"a": jnp.ones(2), "b": None, "c": 3})
