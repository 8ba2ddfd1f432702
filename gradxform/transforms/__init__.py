"""Stages, one subject a file. As in optax, `transforms.freeze` is the function: all public names can be had here."""

from gradxform.core.names import namespace

namespace(__name__)
