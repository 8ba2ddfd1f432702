"""MindSpore's optimizers against recorded runs of the real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gradxform as gx
from tests.compat import build_mindspore

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(GOLDEN.glob("mindspore_*.npz"))
