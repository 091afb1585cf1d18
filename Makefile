# Everything here makes its own virtual environment first; nothing is installed outside .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test lint bench soak docs deb check-wheels clean

help:
	@echo "make demo    a hub and three devices on this machine; Ctrl-C ends it"
	@echo "make test    lint, types and all tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   the measured figures of the README"
	@echo "make soak    20 devices while the servers of a hub are killed; SCENARIO=cluster SOAK='--seconds 3600 --seed 7'"
	@echo "make docs    write docs/settings.md and docs/doctor.md anew from the code"
	@echo "make deb     dist/edgeagent_*.deb for 64-bit Raspberry Pi OS; ARCH=x86_64 and RELEASE_PYTHON=3.13 for others"
	@echo "make check-wheels   whether everything installs there without a compiler"

$(BIN)/edgeagent: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "edgeagent needs Python 3.10 or newer; name one with: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: on Debian and Raspberry Pi OS run: sudo apt install python3-venv"; exit 1; }
	@echo "installing edgeagent and its tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(BIN)/edgeagent
	@$(BIN)/edgeagent demo

lint: $(BIN)/edgeagent
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every worker takes whole files, in their order: tests of one file share servers, and the long files come first (tests/conftest.py).
# Each compiles all of them, which takes as long as a hundred tests, unless it finds them compiled.
test: lint
	@rm -f .pytest_cache/v/cache/lastfailed
	@$(BIN)/python -m compileall -q edgeagent  # else each of some thousand processes would, where PYTHONDONTWRITEBYTECODE is set
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder || { [ $$? = 1 ] && $(BIN)/python -m tests.again; }

bench: $(BIN)/edgeagent
	$(BIN)/python -m tests.bench

SCENARIO ?= cluster

soak: $(BIN)/edgeagent
	$(BIN)/python -m tests.soak $(SCENARIO) $(SOAK)

docs: $(BIN)/edgeagent
	$(BIN)/python -m edgeagent.settingsdoc > docs/settings.md
	$(BIN)/python -m edgeagent.doctor.page > docs/doctor.md

# For Debian 12 and Raspberry Pi OS that is made of it; 3.13 is Debian 13.
ARCH           ?= aarch64
RELEASE_PYTHON ?= 3.11

deb: $(BIN)/edgeagent
	@$(BIN)/python deploy/deb.py --into dist --arch $(ARCH) --python $(RELEASE_PYTHON)

check-wheels: $(BIN)/edgeagent
	@$(BIN)/python deploy/wheels.py check

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
