"""State in few bits: what a rule remembers, encoded between steps."""

from __future__ import annotations

from collections.abc import Mapping

from gradxform.core import check
from gradxform.core.chain import Chain, map_rules
from gradxform.core.codec import Stored
from gradxform.core.codecs import NAMES, WITH_DRAW, Named
from gradxform.core.lens import Wrapper
from gradxform.core.rule import Rule, TreeRule
from gradxform.core.types import Transformation, Where
from gradxform.params.select import selector


def stored_as(
    codec: str | Mapping[str, str],
    tx: Transformation,
    where: Where = None,
    *,
    min_size: int = 4096,
    stochastic: bool = False,
    seed: int = 0,
) -> Chain:
    """Keep statistics in fewer bits between steps, and compute each update from them as they are stored.

    codec: `"bfloat16"`, `"float16"`, `"int8"`, `"int4"`, `"float8_e4m3"`, `"uint8_sqrt"`, or one for each field:
    `{"mu": "int8", "nu": "uint8_sqrt"}`; of memory inside memory `"field/field"`. The last four hold a scale for every
    row, or every column of a wide array, at least its largest size; second moments are then stored by their
    roots, in 8 bits or more, and one above 0 stays above 0; uint8_sqrt is for these, or for what is named, alone.
    where: for which parameters, a selector, a regular expression or `(path, leaf) -> bool`. min_size: statistics of
    fewer elements stay exact, as do complex ones, and vectors where codes have scales. Around another `stored_as` it
    stores what that one has no codec for, or has in bfloat16. stochastic: round by chance, from seed, path and step.
    Reach: array for codes with scales and if stochastic; row inside `lazy`, where every row has one. State: in place of
    a statistic `Blocks(codes, scales, largest)` or a narrow array, else as without it; `view` shows them as they are.
    Raises: ValueError for an unknown codec, at init for a field that no rule has; TypeError if `tx` is not of rules.
    Source: Dettmers et al. 2021, arXiv:2110.02861 (scales); Li et al. 2023, arXiv:2309.01507 (roots, no zeros).
    """
    by_field = codec if isinstance(codec, Mapping) else {"": codec}
    for name in by_field.values():
        check.choice(*NAMES, codec=name)
    if not by_field:
        raise ValueError("codec must name a field at least, got {}")
    check.integer(0, min_size=min_size, seed=seed)
    check.boolean(stochastic=stochastic)
    if stochastic:
        for name in by_field.values():
            if name not in WITH_DRAW:
                raise ValueError(f"stochastic rounding is for {', '.join(WITH_DRAW)}, got {name!r}")
    codecs = tuple(
        (field, Named(name, square=name == "uint8_sqrt" and field != "")) for field, name in sorted(by_field.items())
    )
    chosen = None if where is None else selector(where)

    def store(rule: Rule) -> Rule:
        if rule.facts.keeps_zero or (isinstance(rule, TreeRule) and not rule.remembers):
            return rule
        if isinstance(rule, Wrapper) and not isinstance(rule, Stored):
            return rule.with_fields(rule=store(rule.rule))
        return Stored(rule, codecs, chosen, min_size, seed if stochastic else None)

    return map_rules(tx, store, "stored_as", [field for field in by_field if field])
