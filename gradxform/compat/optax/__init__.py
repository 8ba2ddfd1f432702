"""All of optax behind one import: `import gradxform.compat.optax as optax`.

Every public name of the installed optax, in every namespace. Stages, optimizers and schedules compute with our rules,
in optax's types, state classes and dtypes; losses, tree functions and what else is no transformation are optax's own.
Where our rules refuse what optax takes, optax's own code runs, from the same state: nothing is refused here.
"""

import importlib as _importlib
import sys as _sys
import types as _types

import optax as _optax

from gradxform.compat.optax.converter import to_optax as to_optax
from gradxform.compat.optax.recipes import lent as _lent
from gradxform.compat.optax.states import state_from_optax as state_from_optax
from gradxform.compat.optax.states import state_to_optax as state_to_optax

for _name in ("contrib", "experimental", "microbatching"):
    _importlib.import_module(f"optax.{_name}")


def _namespace(theirs: _types.ModuleType) -> _types.ModuleType:
    """A module of optax's, as one of ours that can be imported."""
    name = theirs.__name__.replace("optax", __name__, 1)
    ours = _types.ModuleType(name, theirs.__doc__)
    vars(ours).update(_lent(theirs))
    _sys.modules[name] = ours
    return ours


globals().update(_lent(_optax))
globals().update(
    {name: _namespace(x) for name, x in vars(_optax).items() if isinstance(x, _types.ModuleType) and name[0] != "_"}
)
