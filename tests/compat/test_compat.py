"""The package serves its frameworks and their schedulers by name, each when it is first asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gradxform.compat as compat

MODULES = {
    "mindspore": "mindspore",
    "mindspore_schedules": "mindspore.schedules",
    "optax": "optax",
    "paddle": "paddle",
    "paddle_schedules": "paddle.schedules",
    "torch": "torch",
    "torch_schedules": "torch.schedules",
}


@pytest.mark.parametrize(("name", "module"), MODULES.items())
def test_names_stand_for_modules(name: str, module: str) -> None:
    assert getattr(compat, name) is import_module(f"gradxform.compat.{module}")


def test_no_other_name_is_there() -> None:
    assert sorted(MODULES) == compat.__all__
    with pytest.raises(AttributeError, match=r"module 'gradxform\.compat' has no attribute 'tensorflow'"):
        compat.tensorflow  # noqa: B018


def test_one_framework_imports_no_other() -> None:
    code = (
        "import sys; from gradxform import compat; compat.torch; "
        "print(*sorted({m.split('.')[2] for m in sys.modules if m.startswith('gradxform.compat.')}))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["common", "torch"]
