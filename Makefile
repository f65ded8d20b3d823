# `make demo` and `make test` set everything up by themselves; a repeat run goes straight to work.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
READY := .venv/.ready

.PHONY: demo test test-fast lint docs wheel readers clean

demo: $(READY)  ## segment a real clip and say where the pictures are
	.venv/bin/unveil demo

test: $(READY) lint  ## the whole suite, on two processes
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadgroup --durations=10

test-fast: $(READY)  ## what two minutes can tell
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadgroup -m "not slow"

docs: $(READY)  ## the pages, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

wheel: $(READY)  ## the wheel, in a fresh environment, does README's first example
	.ci/check-wheel

readers: $(READY)  ## exports, read by tools that want an environment of their own
	.ci/check-readers

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/codespell
	.venv/bin/mypy
	.ci/check-page

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv out site
