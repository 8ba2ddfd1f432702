"""What one run of a compiled program moves, launches and sends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.compiled import hlo
from benchmarks.compiled.hlo import Computation, Op, anywhere, size

FREE = {
    *("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "iota", "after-all", "partition-id"),
    *("replica-id", "opt-barrier", "domain", "add-dependency"),
}
"""What makes no kernel."""
PARTS = {"slice", "dynamic-slice", "gather"}
"""What reads of its first operand as much as it returns."""
IN_PLACE = {"dynamic-update-slice": 1, "scatter": 2}
"""What writes into its first operand where that is free to be overwritten, and which operand it writes."""
COLLECTIVE = re.compile(r"(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?$")


@dataclass
class Cost:
    moved: float = 0.0
    """Bytes to and from device memory."""
    kernels: float = 0.0
    cycles: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    """Kernels by their operation."""
    sent: dict[str, list[float]] = field(default_factory=dict)
    """Of each kind of collective: how many, and the bytes of their results."""
    notes: list[str] = field(default_factory=list)

    def add(self, other: Cost, times: float = 1) -> None:
        self.moved += times * other.moved
        self.kernels += times * other.kernels
        self.cycles += times * other.cycles
        for key, n in other.kinds.items():
            self.kinds[key] += times * n  # type: ignore[assignment]
        for key, (n, sent) in other.sent.items():
            self.send(key, times * n, times * sent)
        self.notes += [note for note in other.notes if note not in self.notes]

    def send(self, kind: str, n: float, sent: float) -> None:
        have = self.sent.setdefault(kind, [0, 0])
        have[0] += n
        have[1] += sent


def cost(text: str, every: int = 1) -> Cost:
    """Of a compiled program. Loops count as often as they run, and of a conditional the dearer branch counts. A loop
    of unknown trips, and the dearer branch, count once in `every` runs; the cheapest branch in the others."""
    return _Program(hlo.read(text)).of("", every)


def different(text: str) -> int:
    """How many kernels of a program differ in more than their names: a compiler makes each of them once."""
    module = hlo.read(text)
    kernels = (op for op in module.computations[module.entry].values() if op.code == "fusion")
    return len({_form(module.computations[op.called("calls")[0]]) for op in kernels})


def _form(body: Computation) -> tuple[object, ...]:
    """What a fused computation does, without names."""
    places = {name: i for i, name in enumerate(body)}

    def fixed(op: Op) -> str:
        attributes = re.findall(r"direction=\w+|\w+=\{[\d,]*\}", op.rest)
        return op.rest if op.code in ("parameter", "constant") else str(attributes)

    return tuple((op.kind, op.code, *(places[o] for o in op.operands), fixed(op)) for op in body.values())


class _Program:
    def __init__(self, module: hlo.Module) -> None:
        self.module = module

    def of(self, name: str, every: int) -> Cost:
        ops = self.module.computations[name or self.module.entry]
        total = Cost()
        for op in ops.values():
            code = op.code.removesuffix("-start")
            if op.code in FREE or op.code.endswith(("-done", "-update")):
                continue
            if code in ("call", "async"):
                for inner in op.called("to_apply", "calls"):
                    total.add(self.of(inner, every))
            elif code == "while":
                self.add_loop(total, op, ops, every)
            elif code == "conditional":
                self.add_branches(total, op, every)
            else:
                total.moved += self.moved(op, ops)
                total.kernels += 1
                total.cycles += op.cycles
                total.kinds[code] += 1
                if sends := COLLECTIVE.match(op.code):
                    total.send(sends[1], 1, anywhere(op.kind))
        return total

    def add_loop(self, total: Cost, op: Op, ops: Computation, every: int) -> None:
        """A loop's; one of unknown trips may be a branch in another form: it runs, or does not."""
        body, trips = op.called("body")[0], hlo.trips(op, ops, self.module)
        if trips is None:
            total.add(self.of(body, 1), 1 / every)
            total.notes.append("a loop of unknown trips, counted once" + f" in {every}" * (every > 1))
        else:
            total.add(self.of(body, every), trips)

    def add_branches(self, total: Cost, op: Op, every: int) -> None:
        """A conditional's; one inside a branch is of another kind, and its dearer branch counts."""
        names = op.called("branch_computations", "true_computation", "false_computation")
        costs = sorted((self.of(branch, 1) for branch in names), key=lambda c: c.moved)
        total.add(costs[-1], 1 / every)
        total.add(costs[0], 1 - 1 / every)
        each = " or ".join(f"{c.moved / 1e6:.0f}" for c in costs)
        total.notes.append(f"a conditional of {each} MB" + (f", the dearer once in {every}" if every > 1 else ""))

    def moved(self, op: Op, ops: Computation) -> float:
        """Bytes that a kernel reads and writes: slices, and results in place, as far as they go."""
        if op.code == "copy-start":  # (destination, source, context): async, between memories or within one
            return sum(map(size, hlo.elements(op.kind)[:2]))
        if op.code == "fusion":
            body = self.module.computations[op.called("calls")[0]]
            return _of_body(body, [ops[o].kind for o in op.operands], op.kind)
        mine = {o: ops[o].kind for o in op.operands}
        body = {name: Op(name, kind, "parameter", [], str(i)) for i, (name, kind) in enumerate(mine.items())}
        body[op.name] = Op(op.name, op.kind, op.code.removesuffix("-start"), op.operands, op.rest, True)
        return _of_body(body, list(mine.values()), op.kind)


def _of_body(body: Computation, kinds: list[str], result: str) -> float:
    users: dict[str, list[Op]] = {}
    for op in body.values():
        for o in dict.fromkeys(op.operands):
            users.setdefault(o, []).append(op)

    def through(op: Op) -> Iterator[tuple[str, Op]]:
        """Who reads a value, bitcasts left out, and under which name."""
        for user in users.get(op.name, []):
            if user.code == "bitcast" and not user.root:
                yield from through(user)
            else:
                yield op.name, user

    def share(part: Op, whole: str) -> float:
        """Bytes of a part of `whole`, 0 where that lies on the chip."""
        return anywhere(part.kind) if size(whole) else 0.0

    def placed(op: Op) -> bool:
        """Whether a result is its first operand, changed in part."""
        return op.code in IN_PLACE and (op.root or all(user.root for _, user in through(op)))

    total, written = 0.0, size(result)
    for op in body.values():
        if op.code == "parameter" and int(op.rest) < len(kinds):
            whole, read = kinds[int(op.rest)], 0.0
            for name, user in through(op):
                first = user.operands[0] == name and name not in user.operands[1:]
                if first and user.code in PARTS:
                    read += share(user, whole)
                elif first and placed(user):  # what is added to is read too
                    read += share(body[user.operands[2]], whole) if user.code == "scatter" else 0.0
                else:
                    read += size(whole)
            total += min(read, size(whole))
        elif placed(op) and size(op.kind):
            written -= size(op.kind) - share(body[op.operands[IN_PLACE[op.code]]], op.kind)
    return total + max(written, 0.0)
