"""Every optimizer of the gallery on every task, and the page with its tables and pictures.

`python -m benchmarks.gallery` runs what `results.jsonl` does not hold, line by line, and writes `docs/gallery.md`. A
result is kept under its task, the length of the run, the print of the transformation and the grid of rates: who changes
a task otherwise takes its lines out.
"""

from __future__ import annotations

import os

# LAPACK's own threads are up to 100 times slower on small matrices. Decompositions that XLA starts side by side, as of
# Shampoo's several matrices, wait for one another for ever on two cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_enable_concurrency_optimized_scheduler=false")

import argparse

from benchmarks.gallery import page, sweep
from benchmarks.gallery.recipes import RECIPES
from benchmarks.gallery.tasks import ALL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write the page of what is kept, and run nothing")
    options = parser.parse_args()
    kept = sweep.load()
    rows = [] if options.page else page.rows()
    for number, (row, name, factors) in enumerate(rows, 1):
        for task in ALL:
            before = len(kept)
            figures = sweep.swept(RECIPES[name], task, factors, kept)
            if len(kept) > before:
                print(f"{number} of {len(rows)}: {row}, {task}, {figures['seconds']} s", flush=True)
    page.write(kept)


if __name__ == "__main__":
    main()
