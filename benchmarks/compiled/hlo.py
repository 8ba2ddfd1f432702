"""Read the text of a compiled HLO module: computations, operations, sizes, trips of loops."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

BITS = {"pred": 8, "token": 0, "opaque": 0}
"""Of dtypes whose name does not begin with letters and their width: f32, bf16, s8, u4, f8e4m3fn, c64, ..."""
ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
LINE = re.compile(r"\s*(ROOT )?%?([\w.\-]+) = ")
HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(")
ON_CHIP = re.compile(r"S\([1-9]\d*\)")
"""A layout in a space that is not device memory: a TPU's VMEM (1), SMEM, semaphores. A GPU's HLO has none such."""


def width(dtype: str) -> int:
    """Bits of an element."""
    return BITS[dtype] if dtype in BITS else int(re.match(r"[a-z]+(\d+)", dtype)[1])  # type: ignore[index]


def size(kind: str) -> float:
    """Bytes of a type, a tuple's together, that lie in device memory; padding by tiles is not counted."""
    total = 0.0
    for dtype, dims, layout in ARRAY.findall(kind):
        if not ON_CHIP.search(layout):
            total += width(dtype) / 8 * math.prod(int(n) for n in dims.split(",") if n)
    return total


def anywhere(kind: str) -> float:
    """Bytes of a type, wherever it lies."""
    return size(ON_CHIP.sub("", kind))


def balanced(text: str) -> int:
    """Where the bracket that `text` begins with is closed."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return i + 1
    raise ValueError(f"no end: {text[:80]}")


def elements(kind: str) -> list[str]:
    """The types in a tuple's."""
    found, depth, start = [], 0, 1
    for i, letter in enumerate(kind):
        if depth == 1 and (letter == "," or i == len(kind) - 1):
            found.append(kind[start:i].strip())
            start = i + 1
        depth += (letter in "([{") - (letter in ")]}")
    return found if kind.startswith("(") else [kind]


@dataclass
class Op:
    """`name = kind code(operands), rest`; for parameters and constants `rest` is what stands in the brackets."""

    name: str
    kind: str
    code: str
    operands: list[str]
    rest: str
    root: bool = False

    def called(self, *keys: str) -> list[str]:
        found = [m for key in keys for m in re.findall(rf"\b{key}=(\{{[^}}]*\}}|%[\w.\-]+)", self.rest)]
        return re.findall(r"%([\w.\-]+)", " ".join(found))

    @property
    def cycles(self) -> int:
        """The TPU compiler's estimate; other compilers make none, and none is made for copies in the background."""
        found = re.search(r'estimated_cycles":"(\d+)', self.rest)
        return int(found[1]) if found else 0


Computation = dict[str, Op]


@dataclass
class Module:
    """The computations of a module by name, each its operations by name."""

    computations: dict[str, Computation] = field(default_factory=dict)
    entry: str = ""


def read(text: str) -> Module:
    module = Module()
    ops: Computation = {}
    for line in text.splitlines():
        if line.endswith("{") and (head := HEAD.match(line)):
            ops = module.computations[head[2]] = {}
            module.entry = head[2] if head[1] else module.entry
        elif found := LINE.match(line):
            op = _op(found[2], re.sub(r"/\*.*?\*/", "", line[found.end() :]), bool(found[1]))
            ops[op.name] = op
    return module


def _op(name: str, rest: str, root: bool) -> Op:
    end = balanced(rest) if rest.startswith("(") else rest.index(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    start = rest.index("(")
    end = start + balanced(rest[start:])
    code, inside = rest[:start], rest[start:end]
    if code.endswith("-start") and code not in ("copy-start", "all-reduce-start"):
        kind = elements(kind)[1]  # (operands, results, context)
    if code == "custom-call" and "__cublas" in rest[end:]:
        kind = elements(kind)[0]  # (result, workspace)
    keeps = code in ("parameter", "constant")
    return Op(name, kind, code, re.findall(r"%([\w.\-]+)", inside), inside[1:-1] if keeps else rest[end:], root)


def trips(loop: Op, around: Computation, module: Module) -> int | None:
    """How often a loop runs: as the compiler notes it, or by its condition where that compares two known numbers."""
    if noted := re.search(r'known_trip_count"?:\s*\{"n":"(\d+)"', loop.rest):
        return int(noted[1])
    condition = module.computations[loop.called("condition")[0]]
    test = next(op for op in condition.values() if op.root)

    def known(name: str, at: Computation) -> int | None:
        op = at[name]
        if op.code == "constant":
            return int(op.rest) if op.rest.lstrip("-").isdigit() else None
        if op.code in ("copy", "bitcast", "convert"):
            return known(op.operands[0], at)
        if op.code == "get-tuple-element" and at is condition:
            start = around[loop.operands[0]]
            i = int(re.search(r"index=(\d+)", op.rest)[1])  # type: ignore[index]
            return known(start.operands[i], around) if start.code == "tuple" else None
        return None

    if test.code != "compare" or "direction=LT" not in test.rest:
        return None
    start, end = (known(name, condition) for name in test.operands)
    return None if start is None or end is None else max(end - start, 0)
