# Two commands: `make reproduce` and `make test`. Both create the environment from the hashed lock first; later calls reuse it.
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2
KILLS ?= 100
SEED ?= 0
FUZZ ?= 2000

.PHONY: reproduce release test quick-test chaos hostile doctests environment verifier hooks lint format docs snapshot lock clean
.DEFAULT_GOAL := reproduce

reproduce: $(READY)
	$(BIN)/snakemake --cores all

# Results that exist, as a release: make release RELEASE=mine SUITE=quick KEY=~/.ssh/id_ed25519. The compact form is for git, the archive for a deposit.
release: $(READY)
	@test -n "$(RELEASE)" || { echo "make release: name it: make release RELEASE=mine SUITE=quick KEY=~/.ssh/id_ed25519"; exit 1; }
	$(BIN)/reprood release build --compact --release $(RELEASE) $(if $(SUITE),--suite $(SUITE)) $(if $(KEY),--sign $(KEY)) \
	  $(if $(ARCHIVE_URL),--archive-url $(ARCHIVE_URL))
	$(BIN)/reprood release verify published/$(RELEASE) --archive published/$(RELEASE)-full.zip \
	  $(if $(KEY),--signers published/allowed_signers)

# Everything but nine tenths of the hostile inputs and most faults, which run every night. Files stay together, because of their fixtures; tests on
# the finished smoke suite go first.
test: $(READY)
	$(PYTEST) -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 30

quick-test: $(READY)
	$(PYTEST) -q -n $(WORKERS) -m "not (workflow or hostile or chaos or slow)"

# The full sets. Faults that mount file systems need root.
chaos: $(READY)
	$(PYTEST) -q tests/faults --full --kills $(KILLS) --seed $(SEED)

hostile: $(READY)
	$(PYTEST) -q -n $(WORKERS) tests/hostile --full --fuzz $(FUZZ)

doctests: $(READY)
	$(PYTEST) -q --doctest-modules src

environment: $(READY)

# uv is the one package installed by version alone; everything after it is checked against a hash. Byte code is compiled here, so that no
# later start has to, not even with PYTHONDONTWRITEBYTECODE=1; the package itself is installed as a link to src, which uv does not compile.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
	  echo "make: $(PYTHON) is missing or older than Python 3.11; name one that is not: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q src
	touch $@

# What `reprood release verify` and `reprood release compare` need, and nothing else: no torch, no Snakemake; 0.5 GB instead of 6.
verifier: .venv-verify/.ready

.venv-verify/.ready: requirements-verify.lock pyproject.toml
	$(PYTHON) -m venv .venv-verify
	.venv-verify/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	.venv-verify/bin/uv pip install --quiet --python .venv-verify/bin/python --compile-bytecode --require-hashes -r requirements-verify.lock
	.venv-verify/bin/uv pip install --quiet --python .venv-verify/bin/python --compile-bytecode --no-deps .
	touch $@

# The documentation as a site that works without network, in site/, with the report of the release that the README shows;
# warnings are errors.
REPORTED := $(shell sed -n 's,.*reprood.report.readme published/\([A-Za-z0-9._-]*\) .*,\1,p' README.md)
docs: .venv-docs/.ready
	rm -rf site
	.venv-docs/bin/sphinx-build -q -W --keep-going -b html -d build/docs docs site
	if test -d published/$(REPORTED)/reports; then cp -r published/$(REPORTED)/reports site/report; \
	  else echo "published/$(REPORTED) is compact: its report is in the archive"; fi

.venv-docs/.ready: requirements-docs.lock pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	.venv-docs/bin/uv pip install --quiet --python .venv-docs/bin/python --compile-bytecode --require-hashes -r requirements-docs.lock
	touch $@

# The same checks before every commit.
hooks: $(READY)
	$(BIN)/pre-commit install

lint: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" pre-commit run --all-files --show-diff-on-failure

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# Versions data, checkpoints, results and Snakemake's records with DVC. Only a finished state is worth a snapshot.
snapshot: $(READY)
	@if [ -n "$$(ls -A .snakemake/locks 2>/dev/null)" ]; then \
	  echo "make snapshot: Snakemake is running here; wait for it. If it was killed, run 'snakemake --unlock'."; exit 1; fi
	@$(BIN)/snakemake -n 2>&1 | grep -q "Nothing to be done" || { \
	  echo "make snapshot: something would re-run; run 'snakemake --cores all' first (see: snakemake -n)."; exit 1; }
	$(BIN)/dvc commit --force reproduce
	@echo "Next: git add dvc.lock && git commit, then dvc push."

# The locks hold hashes and no addresses. torch and torchvision are pinned together; the second lock is for checking only, the
# third for the documentation.
lock:
	printf 'torch==2.13.0\ntorchvision==0.28.0\nsetuptools>=77\n' > .constraints.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra run --extra test --extra ssh --constraints .constraints.txt --output-file requirements.lock pyproject.toml
	rm .constraints.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --constraints requirements.lock --output-file requirements-verify.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra docs --constraints requirements.lock --output-file requirements-docs.lock pyproject.toml

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
