"""The programs of the reference: whole, and made of what is tested; those written for it run here."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from pathlib import Path

import pytest
from example_programs import example, names_of, of_catalogue, places, program, run, statements
from written_examples import RATES, WRITTEN

PAGE = """
```python
import gradxform as gx
rate = 0.1
other = 3
table = {}
table["a"] = rate
tx = gx.sgd(table["a"])
for other in range(2):
    print(other)
twice = [2 * one for one in [rate]]
```
"""


def test_a_program_is_what_its_last_line_needs(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    page = list(statements(tmp_path / "page.md"))
    assert program(page, [5]) == [0, 1, 3, 4, 5]
    assert program(page, [6]) == [2, 6]
    assert program(page, [7]) == [1, 7]
    assert program(page[1:], [4]) is None
    assert [i for i, one in enumerate(page) if "gradxform.sgd" in one.mentions] == [5]


def test_every_function_has_a_program_and_every_program_what_it_reads() -> None:
    for full, module in places().items():
        package, _, name = full.rpartition(".")
        if code := example(full, module):
            binds, reads = names_of(code)
            assert reads <= binds, full
        else:
            assert not inspect.isfunction(getattr(importlib.import_module(package), name)), full


def test_every_schedule_is_drawn() -> None:
    """`make docs` draws them, and so runs them."""
    ours = {full.removeprefix("gradxform.") for full, module in places().items() if "schedules" in module.split(".")}
    assert {name for name in ours - RATES.keys() if "Plateau" not in name} == {
        "compat.torch.schedules.OneCycleLR",
        "compat.torch.schedules.TorchSchedule",
        "compat.paddle.schedules.LRScheduler",
        "compat.mindspore.schedules.LearningRateSchedule",
    }


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_runs(name: str) -> None:
    run(textwrap.dedent(WRITTEN[name]), name)


@pytest.mark.parametrize("name", ["polyak_sgd", "dpsgd", "qk_clip"])
def test_each_form_of_the_catalogue_runs(name: str) -> None:
    run(of_catalogue(name), name)
