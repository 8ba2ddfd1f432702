"""Every optimizer of the gallery, as a function of its rate, and the rate that its authors, or their code, begin at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gradxform as gx


class Recipe(NamedTuple):
    """make: rate -> transformation. whole: its step evaluates the objective itself. curved: it reads `hessian`."""

    make: Callable[[Any], Any]
    rate: float
    whole: bool = False
    curved: bool = False


RECIPES = {
    "sgd": Recipe(gx.sgd, 0.1),
    "momentum": Recipe(gx.momentum, 0.1),
    "nesterov": Recipe(lambda r: gx.momentum(r, nesterov=True), 0.1),
    "adamw": Recipe(gx.adamw, 1e-3),
    "adam": Recipe(gx.adam, 1e-3),
    "muon": Recipe(lambda r: gx.muon(r, adam_learning_rate=0.015 * r), 0.02),
    "soap": Recipe(gx.soap, 3e-3),
    "lion": Recipe(gx.lion, 1e-4),
    "lbfgs": Recipe(gx.lbfgs, 1.0, whole=True),
    "schedule_free_adamw": Recipe(gx.schedule_free_adamw, 2.5e-3),
    "prodigy": Recipe(gx.prodigy, 1.0),
    "adafactor": Recipe(gx.adafactor, 1e-2),
    "shampoo": Recipe(lambda r: gx.shampoo(r, eps=1e-8, grafting="adam", precondition_frequency=10), 1e-3),
    "psgd_kron": Recipe(gx.psgd_kron, 1e-3),
    "sophia": Recipe(gx.sophia, 1e-4, curved=True),
    "nadam": Recipe(gx.nadam, 2e-3),
    "nadamw": Recipe(gx.nadamw, 2e-3),
    "amsgrad": Recipe(gx.amsgrad, 1e-3),
    "radam": Recipe(gx.radam, 1e-3),
    "rmsprop": Recipe(gx.rmsprop, 1e-3),
    "adagrad": Recipe(gx.adagrad, 1e-2),
    "adadelta": Recipe(gx.adadelta, 1.0),
    "adamax": Recipe(gx.adamax, 2e-3),
    "adamaxw": Recipe(gx.adamaxw, 2e-3),
    "adan": Recipe(gx.adan, 1e-3),
    "ademamix": Recipe(gx.ademamix, 1e-3),
    "simplified_ademamix": Recipe(gx.simplified_ademamix, 1e-3),
    "adopt": Recipe(gx.adopt, 1e-3),
    "adabelief": Recipe(gx.adabelief, 1e-3),
    "acprop": Recipe(gx.acprop, 1e-3),
    "adahessian": Recipe(gx.adahessian, 0.15, curved=True),
    "adam_mini": Recipe(gx.adam_mini, 1e-3),
    "adamh": Recipe(gx.adamh, 0.01),
    "apollo": Recipe(lambda r: gx.apollo(r, rank=2), 0.01),
    "asgd": Recipe(gx.asgd, 0.01),
    "came": Recipe(gx.came, 2e-4),
    "cautious(adamw)": Recipe(lambda r: gx.cautious(gx.adamw(r)), 1e-3),
    "cocob": Recipe(gx.cocob, 1.0),
    "dadapt_adamw": Recipe(gx.dadapt_adamw, 1.0),
    "dion2": Recipe(gx.dion2, 0.01),
    "dog": Recipe(gx.dog, 1.0),
    "dowg": Recipe(gx.dowg, 1.0),
    "fromage": Recipe(gx.fromage, 0.01),
    "ftrl": Recipe(gx.ftrl, 0.1),
    "galore": Recipe(lambda r: gx.galore(r, rank=2), 0.01),
    "grokfast + adam": Recipe(lambda r: gx.chain(gx.grokfast(), gx.adam(r)), 1e-3),
    "kl_soap": Recipe(gx.kl_soap, 3e-3),
    "lamb": Recipe(gx.lamb, 1e-3),
    "laprop": Recipe(gx.laprop, 4e-4),
    "lars": Recipe(gx.lars, 1.0),
    "lookahead(sgd)": Recipe(lambda r: gx.lookahead(gx.sgd(r), 5, 0.5), 0.1),
    "madgrad": Recipe(gx.madgrad, 0.01),
    "mars": Recipe(gx.mars, 3e-3),
    "mechanize(adamw)": Recipe(lambda r: gx.mechanize(gx.adamw(r)), 1e-3),
    "momo": Recipe(gx.momo, 1.0),
    "momo_adam": Recipe(gx.momo_adam, 1e-2),
    "muonh": Recipe(lambda r: gx.muonh(r, default=gx.adam(0.03 * r, 0.9, 0.95)), 0.02),
    "noisy_sgd": Recipe(lambda r: gx.noisy_sgd(r, key=0), 0.1),
    "normuon": Recipe(lambda r: gx.normuon(r, default=gx.adamw(0.015 * r, 0.9, 0.95, 1e-10, weight_decay=0.0)), 0.02),
    "novograd": Recipe(gx.novograd, 0.01),
    "optimistic_adam": Recipe(gx.optimistic_adam, 1e-3),
    "optimistic_adam_v2": Recipe(gx.optimistic_adam_v2, 1e-3),
    "optimistic_gradient_descent": Recipe(gx.optimistic_gradient_descent, 0.1),
    "polyak_sgd": Recipe(gx.polyak_sgd, 1.0),
    "proximal_adagrad": Recipe(gx.proximal_adagrad, 0.01),
    "proximal_sgd": Recipe(gx.proximal_sgd, 0.1),
    "rprop": Recipe(gx.rprop, 0.01),
    "sam(sgd)": Recipe(
        lambda r: gx.sam(gx.sgd(r), gx.chain(gx.normalize_by_update_norm(eps=0.0), gx.sgd(0.05)), opaque_mode=True),
        0.1,
        whole=True,
    ),
    "schedule_free_plus": Recipe(gx.schedule_free_plus, 1.0),
    "schedule_free_sgd": Recipe(gx.schedule_free_sgd, 1.0),
    "scion": Recipe(gx.scion, 2.0**-12),
    "sign_sgd": Recipe(gx.sign_sgd, 1e-3),
    "signum": Recipe(gx.signum, 1e-3),
    "sm3": Recipe(gx.sm3, 0.1),
    "stable_adamw": Recipe(gx.stable_adamw, 1e-3),
    "yogi": Recipe(gx.yogi, 1e-2),
}
