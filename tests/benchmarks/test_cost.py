"""The counter of `benchmarks.compiled`, on small texts as compilers write them."""

from __future__ import annotations

import pytest
from jax.sharding import AbstractMesh

from benchmarks.compiled import hlo, meshes
from benchmarks.compiled.cost import cost, different
from benchmarks.compiled.rows import passes

ADD = """
%added (a: f32[256], b: f32[256]) -> f32[256] {
  %a = f32[256]{0} parameter(0)
  %b = f32[256]{0} parameter(1)
  ROOT %sum = f32[256]{0} add(%a, %b)
}
"""
FUSED = "fusion(%x, %y), kind=kLoop, calls=%added"


def program(*lines: str, before: str = "") -> str:
    """A module whose entry has two arrays of 1 KB."""
    head = ["  %x = f32[256]{0} parameter(0)", "  %y = f32[256]{0} parameter(1)"]
    body = "\n".join([*head, *(f"  {line}" for line in lines)])
    return f"HloModule step\n{before}\nENTRY %main (x: f32[256], y: f32[256]) -> f32[256] {{\n{body}\n}}\n"


def test_kernel_reads_its_operands_and_writes_its_result() -> None:
    found = cost(program(f"ROOT %z = f32[256]{{0}} {FUSED}", before=ADD))
    assert (found.moved, found.kernels) == (3 * 1024, 1)
    assert found.kinds == {"fusion": 1}


def test_widths() -> None:
    kinds = {"f32[2,8]": 64, "bf16[16]{0:T(8)}": 32, "s4[16]": 8, "f8e4m3fn[16]": 16, "pred[16]": 16, "f32[]": 4}
    kinds |= {"(f32[4], /*index=1*/s32[], token[])": 20, "f32[16]{0:T(8)S(1)}": 0, "c64[2]{0:S(0)}": 16}
    assert {kind: hlo.size(kind) for kind in kinds} == kinds


def test_on_chip_is_free_and_a_copy_there_is_a_read() -> None:
    lines = [
        "%start = (f32[256]{0:S(1)}, f32[256]{0}, u32[]{:S(2)}) copy-start(%x)",
        "%here = f32[256]{0:S(1)} copy-done(%start)",
        'ROOT %z = f32[256]{0} add(%here, %y), backend_config={"window_config":{"estimated_cycles":"70"}}',
    ]
    found = cost(program(*lines))
    assert (found.moved, found.kernels, found.cycles) == (3 * 1024, 2, 70)


def test_kernels_that_differ_in_names_alone_are_one() -> None:
    again = ADD.replace("%", "%other.").replace("other.sum", "other_sum")
    other = ADD.replace("added", "taken").replace(" add(", " subtract(")
    lines = [f"%u = f32[256]{{0}} {FUSED}", f"%v = f32[256]{{0}} {FUSED.replace('%added', '%other.added')}"]
    text = program(*lines, f"ROOT %w = f32[256]{{0}} {FUSED.replace('%added', '%taken')}", before=ADD + again + other)
    assert (cost(text).kernels, different(text)) == (3, 2)


def test_workspace_of_a_product_is_not_its_result() -> None:
    call = '%z = (f32[256]{0}, s8[4194304]{0}) custom-call(%x, %y), custom_call_target="__cublas$gemm"'
    assert cost(program(call, "ROOT %r = f32[256]{0} get-tuple-element(%z), index=0")).moved == 3 * 1024


def test_slices_are_as_large_as_what_they_take_and_place() -> None:
    part = [
        "%i = s32[] constant(3)",
        "%few = f32[16]{0} dynamic-slice(%x, %i), dynamic_slice_sizes={16}",
        "ROOT %z = f32[256]{0} dynamic-update-slice(%y, %few, %i)",
    ]
    index = 4  # bytes, of an operand that two kernels read
    assert cost(program(*part)).moved == 4 * 64 + 2 * index
    rows = "%rows = s32[8,1]{1,0} constant({...})"
    gather = "ROOT %z = f32[8]{0} gather(%x, %rows), offset_dims={}, slice_sizes={1}"
    assert cost(program(rows, gather)).moved == 3 * 32
    add = ["%new = f32[8]{0} constant({...})", "ROOT %z = f32[256]{0} scatter(%x, %rows, %new), to_apply=%plus"]
    assert cost(program(rows, *add)).moved == 4 * 32


LOOP = """
%turn (s: (s32[], f32[256])) -> (s32[], f32[256]) {
  %s = (s32[], f32[256]{0}) parameter(0)
  %n = s32[] get-tuple-element(%s), index=0
  %v = f32[256]{0} get-tuple-element(%s), index=1
  %w = f32[256]{0} negate(%v)
  ROOT %t = (s32[], f32[256]{0}) tuple(%n, %w)
}

%goes_on (s: (s32[], f32[256])) -> pred[] {
  %s = (s32[], f32[256]{0}) parameter(0)
  %n = s32[] get-tuple-element(%s), index=0
  %end = s32[] constant(6)
  ROOT %less = pred[] compare(%n, %end), direction=LT
}
"""


@pytest.mark.parametrize(
    ("start", "noted", "turns"),
    [
        ("constant(2)", "", 4),
        ("add(%x, %y)", "", 1),
        ("add(%x, %y)", ', backend_config={"known_trip_count":{"n":"9"}}', 9),
    ],
)
def test_loops_count_as_often_as_they_run(start: str, noted: str, turns: int) -> None:
    lines = [
        f"%first = s32[] {start}",
        "%begin = (s32[], f32[256]{0}) tuple(%first, %x)",
        f"%loop = (s32[], f32[256]{{0}}) while(%begin), condition=%goes_on, body=%turn{noted}",
        "ROOT %z = f32[256]{0} get-tuple-element(%loop), index=1",
    ]
    found = cost(program(*lines, before=LOOP))
    outside = 0 if start.startswith("constant") else 2 * 1024 + 4
    assert found.moved == outside + turns * 2 * 1024
    assert found.notes == ["a loop of unknown trips, counted once"] * (turns == 1)
    once_in_four = 0.25 if turns == 1 else turns
    assert cost(program(*lines, before=LOOP), every=4).moved == outside + once_in_four * 2 * 1024


BRANCHES = """
%dear (v: f32[256]) -> f32[256] {
  %v = f32[256]{0} parameter(0)
  %w = f32[256]{0} negate(%v)
  ROOT %u = f32[256]{0} exponential(%w), backend_config={"estimated_cycles":"80"}
}

%cheap (v: f32[256]) -> f32[256] {
  %v = f32[256]{0} parameter(0)
  ROOT %w = f32[256]{0} negate(%v)
}
"""


def test_branches_count_as_often_as_they_are_taken() -> None:
    lines = [
        "%p = pred[] constant(true)",
        "ROOT %z = f32[256]{0} conditional(%p, %x, %y), true_computation=%dear, false_computation=%cheap",
    ]
    text = program(*lines, before=BRANCHES)
    assert cost(text).moved == 4 * 1024
    found = cost(text, every=4)
    assert (found.moved, found.kernels, found.cycles) == (2.5 * 1024, 1.25, 20)
    assert "once in 4" in found.notes[0]


def test_collectives_and_their_bytes() -> None:
    lines = [
        "%all = f32[1024]{0} all-gather(%x), dimensions={0}",
        "%start = (f32[256]{0}, f32[1024]{0}) all-gather-start(%y), dimensions={0}",
        "%done = f32[1024]{0} all-gather-done(%start)",
        "ROOT %z = f32[256]{0} all-reduce(%x), to_apply=%plus",
    ]
    found = cost(program(*lines))
    assert found.sent == {"all-gather": [2, 8192], "all-reduce": [1, 1024]}
    assert found.moved == 2 * (1024 + 4096) + 2048


def test_floors_are_counted_from_their_words() -> None:
    assert passes("p g mu nu, again g -> p mu nu") == 8
    assert passes("p/2 g/2 4*h scales/32 -> p/2") == 5.53125
    assert passes("3/4: g acc -> acc + 1/4: p g acc -> p acc") == 3.5
    with pytest.raises(ValueError, match="'2p' in the floor"):
        passes("2p g")


def test_floors_over_devices() -> None:
    found = {row.name: passes(row.floor) for row in meshes.rows(AbstractMesh((8, 1), ("data", "model")))}
    assert found["split: clip + adamw"] == 8
    # Of an eighth g, p, mu and nu are read, mu, nu and p written, p sent; and all of p is received.
    assert found["state split: sharded(adamw)"] == 8 / 8 + 1
    assert found["state split: sharded(clip + adamw)"] == 9 / 8 + 1
