.POSIX:
.NOTPARALLEL:

# Any Python >= 3.11 makes the environment: `make test PYTHON=python3.12`.
PYTHON = python3
# What pytest is given: `make test PYTEST="-n 0 -k adam"`.
PYTEST = -n 2 --dist worksteal
# `make test COVERAGE=1` counts the lines and branches that run.
COVERAGE =
COUNTED = -m slipcover --branch --source gradxform --json --out build/coverage.json
# What `make live` compares: `make live SYSTEMS="paddle.Momentum --count 1000"`; without it, all.
SYSTEMS =
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
BASE = .venv/made pyproject.toml constraints.txt

help:
	@echo 'make demo         train a small net on handwritten digits, three ways side by side'
	@echo 'make test         run all tests (newest JAX that this Python can have)'
	@echo 'make test-oldest  run the short tests on the oldest supported JAX, Python 3.11'
	@echo 'make test-newest  run the short tests on the newest tested JAX, Python 3.13'
	@echo "make test-optax   run optax's own tests with gradxform.compat.optax in its place"
	@echo 'make check        lint, format, types'
	@echo 'make screens      the pages of the documentation as pictures, where there is a Chromium'
	@echo 'make docs         build the documentation into docs/_build/html'
	@echo 'make package      build sdist and wheel into dist/, and run the quick start with each'
	@echo 'make bench        compare speed and memory with optax and torch'
	@echo 'make passes       compile for an H100 and a TPU v5e, without one, and count what a step moves'
	@echo 'make gallery      every optimizer on small tasks and tests: docs/gallery.md (40 minutes, less what is kept)'
	@echo 'make verified     run what holds methods beside their references, and write how near they stay'
	@echo 'make live         compare random configurations with torch, Paddle and MindSpore themselves (Python 3.11, 4 GB)'
	@echo 'make soak         random compositions, kills, states and numbers, SOAK_MINUTES long; counts add up'
	@echo 'make mutants      change the code at random places, and see whether the tests notice'
	@echo 'make clean        remove everything made here'

demo: .venv/examples
	$(BIN)/python examples/train_digits.py

test: .venv/test
	@mkdir -p build
	$(BIN)/python $(if $(COVERAGE),$(COUNTED)) -m pytest $(PYTEST)
	$(if $(COVERAGE),$(BIN)/python -m benchmarks.coverage build/coverage.json)

mutants: .venv/mutants
	$(BIN)/python -m benchmarks.mutants --minutes $${MUTANTS_MINUTES:-60}

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

screens: docs
	$(BIN)/python docs/screens.py docs/_build/html docs/_build/screens

docs: .venv/docs
	rm -rf docs/_build/html
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --fresh-env docs docs/_build/html
	$(BIN)/python docs/site_checks.py docs/_build/html
	@echo 'docs/_build/html/index.html'

package: .venv/dev
	sh .ci/package $(BIN)/python

bench: .venv/bench
	$(BIN)/python -m benchmarks.run

passes: .venv-compiled/made
	.venv-compiled/bin/python -m benchmarks.compiled h100 v5e

gallery: .venv/examples
	$(BIN)/python -m benchmarks.gallery

verified: .venv/test
	$(BIN)/python -m benchmarks.verified
	$(BIN)/python -m benchmarks.optax_names

test-optax: .venv/test
	$(BIN)/python -m tests.compat.optax.suite build/optax

live: .venv/test .venv-paddle/made .venv-mindspore/made
	$(BIN)/python -m tests.compat.live $(SYSTEMS)

soak: .venv/test
	$(BIN)/python -m tests.soak --minutes $${SOAK_MINUTES:-60}

test-oldest:
	sh .ci/test-on 3.11 constraints-oldest.txt .venv-oldest $(PYTEST)

test-newest:
	sh .ci/test-on 3.13 constraints-newest.txt .venv-newest $(PYTEST)

clean:
	rm -rf .venv .venv-compiled .venv-oldest .venv-newest .venv-paddle .venv-mindspore build dist docs/_build docs/reference examples/output
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/examples: $(BASE)
	$(PIP) --editable '.[examples]'
	touch $@

.venv/test: $(BASE)
	$(PIP) --editable '.[test]'
	touch $@

.venv/dev: $(BASE)
	$(PIP) --editable '.[dev]'
	touch $@

.venv/docs: $(BASE)
	$(PIP) --editable '.[docs]'
	touch $@

.venv/mutants: .venv/test
	$(PIP) --editable '.[mutants]'
	touch $@

.venv/bench: $(BASE)
	$(PIP) --editable '.[bench]'
	touch $@

.venv-compiled/made: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-compiled
	.venv-compiled/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[compiled]'
	touch $@

.venv-paddle/made:
	python3.11 -m venv .venv-paddle
	.venv-paddle/bin/python -m pip install --quiet --disable-pip-version-check paddlepaddle==3.3.1
	touch $@

.venv-mindspore/made:
	python3.11 -m venv .venv-mindspore
	.venv-mindspore/bin/python -m pip install --quiet --disable-pip-version-check mindspore==2.10.0 'numpy<2'
	touch $@

.PHONY: help demo test check docs screens package bench passes gallery verified live test-optax soak mutants test-oldest test-newest clean
