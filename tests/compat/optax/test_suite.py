"""A part of optax's own tests with ours in its place; `make test-optax` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.optax import suite

SHORT = "^(_adding|_masking|combine|factorized|update|_schedule|_join|_inject)_test"


def test_what_optax_passes_passes_with_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # half of the time to compile
    suite.write(tmp_path, changed=True, only=SHORT)
    results = suite.run(tmp_path, workers="0")
    assert [test for test, outcome in results.items() if outcome == "failed"] == []
    assert sum(outcome == "passed" for outcome in results.values()) > 100


def test_every_module_of_optax_that_a_test_imports_is_ours() -> None:
    source = "import optax.tree\nfrom optax._src import alias\nfrom optax import tree_utils as otu\nimport jax\n"
    lines = suite.ours(source).splitlines()
    assert [line.split(" = ")[0] for line in lines] == ["optax", "alias", "otu", "import jax"]
    assert all("lent_module" in line for line in lines[:3])
    assert suite.ours("from optax._src import test_utils\n") == "from optax._src import test_utils\n"
