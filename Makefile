# `make` lists what there is. Nothing here needs a package of the operating system beyond Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := fast,html,lab,dev
.DEFAULT_GOAL := help
.PHONY: help install snapshot test test-lab demo-sharing lab check format docs bench clean

# `make lab`: the shape of the guest and what to run in it.
KERNEL ?= 6.12
MEMORY ?= 2G
NUMA ?= 1
SWAP ?=
HUGEPAGES ?= 0
FILES ?=
CMD ?= vmprobe snapshot -o $LAB_OUT/guest.vmsnap && vmprobe show $LAB_OUT/guest.vmsnap
# As it was written: a $ in it is the guest's.
lab: export LAB_CMD = $(value CMD)

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS="$$(printf '\t')" read -r n t; do printf '  %-12s %s\n' "$$n" "$$t"; done

$(VENV)/.installed: pyproject.toml tools/bootstrap.py
	@$(PYTHON) tools/bootstrap.py $(VENV) $(EXTRAS)
	@touch $@

install: $(VENV)/.installed  ## make .venv with everything, when something changed

snapshot: install  ## photograph this host and print what is in the snapshot
	@name=vmprobe-$$(date -u +%Y%m%dT%H%M%SZ).vmsnap && $(BIN)/vmprobe snapshot -o $$name && $(BIN)/vmprobe show $$name

test: install  ## every test; what needs root or a feature skips with its reason
	@$(BIN)/pytest --doctest-modules -m "not lab"

test-lab: install  ## boot stock kernels in guests and compare snapshots with other witnesses; skips with its reason
	@$(BIN)/pytest -q -m lab tests/lab

demo-sharing: install  ## make every mechanism of sharing on this host, and print what is recognised (root)
	@$(BIN)/python -m tests.live.workloads

lab: install  ## run CMD in a guest: make lab KERNEL=6.12 MEMORY=2G NUMA=2 SWAP=256M HUGEPAGES=64 FILES=DIR CMD="..."
	@$(BIN)/python -m lab run --kernel $(KERNEL) --memory $(MEMORY) --numa $(NUMA) $(if $(SWAP),--swap $(SWAP)) \
	  --hugepages $(HUGEPAGES) $(if $(FILES),--files $(FILES)) -- sh -c "$$LAB_CMD"

check: install  ## format, lint, types, architecture, docs, quick tests; no root, under a minute
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@mkdir -p .import_linter_cache
	@$(BIN)/lint-imports --cache-dir .import_linter_cache > .import_linter_cache/report 2>&1 || { cat .import_linter_cache/report; false; }
	@$(BIN)/python tools/gen_docs.py --check
	@$(BIN)/pytest -q --doctest-modules --hypothesis-profile=quick -m "not live and not root and not slow and not lab"

format: install  ## format, and mend what the linter can
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

docs: install  ## write the parts of the documentation that are made from the code
	@$(BIN)/python tools/gen_docs.py

bench: install  ## measure against reading the same bytes; prints ratios (as root for all of it)
	@$(BIN)/python benchmarks/bench_snapshot.py
	@$(BIN)/python benchmarks/bench_sparse.py
	@$(BIN)/python benchmarks/bench_sharing.py
	@$(BIN)/python benchmarks/bench_model.py
	@$(BIN)/python benchmarks/bench_page_alloc.py
	@$(BIN)/python benchmarks/bench_compaction.py
	@$(BIN)/python benchmarks/bench_ordered.py
	@$(BIN)/python benchmarks/bench_mm.py
	@$(BIN)/python benchmarks/bench_rmap_live.py
	@$(BIN)/python benchmarks/bench_report.py

clean:  ## remove what these targets made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .lab *.egg-info
