"""torch's schedulers, all of them."""

from __future__ import annotations

import inspect

import pytest

from gradxform.compat import torch_schedules


def test_arguments_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for name in torch_schedules.__all__:
        if name == "TorchSchedule":
            continue
        home = torch.optim.swa_utils if name == "SWALR" else torch.optim.lr_scheduler
        theirs = dict(inspect.signature(getattr(home, name).__init__).parameters)
        ours = dict(inspect.signature(getattr(torch_schedules, name)).parameters)
        assert [p for p in theirs if p not in ("self", "optimizer", "last_epoch")] == [p for p in ours if p != "lr"]
        for argument, parameter in ours.items():
            assert argument == "lr" or parameter.default == theirs[argument].default, (name, argument)


def test_where_the_count_lives() -> None:
    assert torch_schedules.StepLR(0.1, 2, last_epoch=-1) == torch_schedules.StepLR(0.1, 2)
    with pytest.raises(ValueError, match=r"last_epoch must be -1, got 4 .*load_state\(\.\.\., step=last_epoch \+ 1\)"):
        torch_schedules.OneCycleLR(0.1, 10, last_epoch=4)
