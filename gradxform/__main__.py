"""From a shell: `python -m gradxform list|explain|plot|compare`.

A transformation or schedule is written as in Python, all public names at hand: `adamw(1e-3)`,
`chain(clip_by_global_norm(1.0), muon(0.02))`. Tables go to the standard output, one line a row; a mistake is one
sentence on the standard error, and exit status 2.

examples:
  python -m gradxform list adam
  python -m gradxform explain 'adamw(1e-3)' kernel=768,3072 bias=3072:bfloat16
  python -m gradxform plot 'warmup_cosine_decay_schedule(0, 1e-3, 100, 1000)' --steps 1000 --out rate.png
  python -m gradxform compare adam muon 'clipped=lambda r: chain(clip(1.0), sgd(r))' --rates 1e-4 1 13 --out all.png
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.inspect.explain import aligned
from gradxform.inspect.problems import PROBLEMS


def _evaluated(text: str) -> Any:
    """The value of an expression that names `gx`, `jnp` and the public names."""
    names = {word: getattr(gx, word) for word in re.findall(r"\b[A-Za-z_]\w*", text) if word in dir(gx)}
    return eval(compile(text, "<expression>", "eval"), {"__builtins__": {}, "gx": gx, "jnp": jnp, **names})


def _list(args: argparse.Namespace) -> str:
    rows = []
    for name, home in vars(gx)["_HOMES"].items():
        kind = home.split(".")[1]
        summary = (getattr(gx, name).__doc__ or "").strip().split("\n")[0]
        if args.word.lower() in f"{name} {kind} {summary}".lower():
            rows.append((name, kind, summary))
    if not rows:
        raise ValueError(f"no public name, kind or summary holds {args.word!r}")
    return "\n".join(aligned(("name", "kind", "what it is"), rows))


def _explain(args: argparse.Namespace) -> str:
    return str(gx.explain(_evaluated(args.transformation), dict(map(_parameter, args.parameters))))


def _parameter(text: str) -> tuple[str, jax.ShapeDtypeStruct]:
    """`kernel=768,3072` or `kernel=768,3072:bfloat16`; `scale=` is a scalar."""
    found = re.fullmatch(r"([^=]+)=([\d,]*)(?::(\w+))?", text)
    if not found:
        raise ValueError(f"a parameter is NAME=SIZE,SIZE or NAME=SIZE,SIZE:DTYPE, got {text!r}")
    name, sizes, dtype = found.groups()
    return name, jax.ShapeDtypeStruct(tuple(int(n) for n in sizes.split(",") if n), jnp.dtype(dtype or "float32"))


def _plot(args: argparse.Namespace) -> str:
    gx.inspect.plot(_evaluated(args.what), args.steps, args.out)
    return str(args.out)


def _compare(args: argparse.Namespace) -> str:
    named = dict(_optimizer(text) for text in args.optimizers)
    rates = None if args.rates is None else np.geomspace(args.rates[0], args.rates[1], round(args.rates[2]))
    found = gx.compare(
        named,
        args.problems,
        rates=rates,
        seeds=args.seeds,
        steps=args.steps,
        target=args.target,
        progress=sys.stderr.isatty(),
    )
    if args.out:
        found.plot(args.out)
    return str(found)


def _optimizer(text: str) -> tuple[str, Any]:
    """`adam`, `adam(1e-3)` or `NAME=EXPRESSION`."""
    named = re.fullmatch(r"([\w.-]+)=(?!=)(.+)", text, re.DOTALL)
    name, expression = named.groups() if named else (text, text)
    return name, _evaluated(expression)


def _parser() -> argparse.ArgumentParser:
    described: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("python -m gradxform", description=__doc__, **described)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("list", help="the public names, what each is")
    command.add_argument("word", nargs="?", default="", help="only those whose name, kind or summary holds this")
    command.set_defaults(run=_list)

    command = commands.add_parser("explain", help="what a transformation does with each parameter, and its state")
    command.add_argument("transformation", help="as in Python: 'adamw(1e-3)'")
    command.add_argument("parameters", nargs="+", metavar="NAME=SHAPE[:DTYPE]", help="kernel=768,3072:bfloat16")
    command.set_defaults(run=_explain)

    command = commands.add_parser("plot", help="draw a schedule, or the hyperparameters of a transformation")
    command.add_argument("what", help="as in Python: 'cosine_decay_schedule(1e-3, 1000)'")
    command.add_argument("--steps", type=int, required=True)
    command.add_argument("--out", default="plot.png", help="the picture to write (default: plot.png)")
    command.set_defaults(run=_plot)

    command = commands.add_parser("compare", help="run optimizers over rates and seeds on small problems")
    command.add_argument("optimizers", nargs="+", metavar="[NAME=]EXPRESSION", help="adam, 'adamw=adamw(1e-3)'")
    command.add_argument("--problems", nargs="+", metavar="PROBLEM", help=f"of {', '.join(PROBLEMS)}",
                         default=["rosenbrock", "deep_linear", "spirals"])  # fmt: skip
    command.add_argument("--rates", nargs=3, type=float, metavar=("LOW", "HIGH", "COUNT"), help="evenly in logarithm")
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--steps", type=int, default=300)
    command.add_argument("--target", type=float, help="the loss to count steps to (default: the first one's best)")
    command.add_argument("--out", help="a picture to write")
    command.set_defaults(run=_compare)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    args = _parser().parse_args(arguments)
    try:
        print(args.run(args), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ArithmeticError, AttributeError, ImportError, NameError, OSError, SyntaxError, TypeError, ValueError) as e:
        print(f"gradxform: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
