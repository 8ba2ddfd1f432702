"""Newton-Schulz steps by name: the rows a, b, c of polynomials `a·s + b·s³ + c·s⁵` that bring singular values to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradxform.core import check
from gradxform.core.plain import got

Coefficients = tuple[tuple[float, float, float], ...]
JORDAN: Coefficients = ((3.4445, -4.7750, 2.0315),)
DION: Coefficients = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
POLAR_EXPRESS: Coefficients = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)
SPEEDRUN: Coefficients = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
CANS: Coefficients = (
    (8.4703, -25.1081, 18.6293),
    (4.1828, -3.1087, 0.5806),
    (3.9619, -2.9541, 0.5630),
    (3.2866, -2.4647, 0.5074),
    (2.2737, -1.6447, 0.4162),
)
AOL: Coefficients = (
    (4.6051, -9.6552, 5.6769),
    (4.7505, -6.0861, 2.1790),
    (2.7763, -2.3190, 0.5523),
    (2.4231, -2.2861, 0.8193),
)
DEEPSEEK_V4: Coefficients = JORDAN * 8 + ((2.0, -1.5, 0.5),) * 2


def divided(table: Coefficients, by: Sequence[float]) -> Coefficients:
    """The polynomials of `s / d`, a divisor d for each of the first rows."""
    rest = (1.0,) * (len(table) - len(by))
    return tuple((a / d, b / d**3, c / d**5) for (a, b, c), d in zip(table, (*by, *rest), strict=True))


TABLES = {
    "jordan": JORDAN,
    "dion": DION,
    "polar_express": divided(POLAR_EXPRESS, (1.01**2, *(1.01,) * 6)),  # its algorithm 1 divides by 1.01·‖g‖ first
    "polar_express_speedrun": divided(SPEEDRUN, (1.02,)),  # theirs divides by 1.02·‖g‖
    "polar_express_gram": divided(POLAR_EXPRESS[:5], (1.05,) * 5),
    "cans": CANS,
    "aol": AOL,
    "deepseek_v4": DEEPSEEK_V4,
}


def coefficients(ns_coeffs: str | Sequence[Any], ns_steps: int) -> Coefficients:
    """A row for each step: of a table by name, or of one row, with the last row for all further steps."""
    check.integer(1, ns_steps=ns_steps)
    steps = int(ns_steps)
    if isinstance(ns_coeffs, str):
        check.choice(*TABLES, ns_coeffs=ns_coeffs)
        table = TABLES[ns_coeffs]
        if ns_coeffs == "deepseek_v4" and steps < len(table):
            raise ValueError(f"ns_steps must be at least {len(table)} for 'deepseek_v4', got {ns_steps}")
        return (*table[:steps], *(table[-1:] * (steps - len(table))))
    try:
        rows = [ns_coeffs] * steps if len(ns_coeffs) == 3 and not hasattr(ns_coeffs[0], "__len__") else ns_coeffs
        made = tuple((float(a), float(b), float(c)) for a, b, c in map(tuple, rows))
    except (TypeError, ValueError):
        raise TypeError(f"ns_coeffs must be a name, three numbers or rows of three, {got(ns_coeffs)}") from None
    check.given(check.finite, ns_coeffs=[x for row in made for x in row])
    return made


def restarts(gram_restarts: Any, steps: int) -> tuple[int, ...] | None:
    """Steps before which the Gram form begins again, of so many; None for the plain form."""
    if gram_restarts is None:
        return None
    if not isinstance(gram_restarts, tuple | list):
        raise TypeError(f"gram_restarts must be a tuple of numbers of steps, or None, {got(gram_restarts)}")
    for step in gram_restarts:
        check.integer(1, gram_restarts=step)
        if step >= steps:
            raise ValueError(f"gram_restarts must be fewer than the {steps} steps, got {step}")
    return tuple(int(step) for step in gram_restarts)
