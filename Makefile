# Every target does its own set-up: the Debian packages it cannot do without, and a virtual environment in .venv that has
# the locked versions (.ci/locked).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKED := .ci/locked
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
CACHE := $(or $(AGENTD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/agentd)
STATE ?= .state
CONFIG ?= config/examples
# Tests of a real agentd, which are woven among the others, wait more than they work.
WORKERS := $(shell echo $$((2 * $$(nproc))))
export PYTHON

.PHONY: run test chaos lint bench bench-vm bench-interval soak first-model deb built-deb tried-deb test-vm test-newest lock format clean help system-run system-develop system-vm

help:
	@echo "make run          set up what is missing, run agentd with the sample jobs of $(CONFIG)"
	@echo "make test         unit and bus tests        make lint   ruff, mypy, man pages"
	@echo "make chaos        random faults against truth    SECONDS=120 SEED=n WORLD=n"
	@echo "make bench        speed and memory, beside others"
	@echo "make bench-interval   how well intervals are chosen, beside others    ARGS=--seeds=1,2"
	@echo "make bench-vm     job starts a second and memory in system mode, beside systemctl"
	@echo "make soak         an hour of twenty runs a second: does anything grow?    SECONDS=3600"
	@echo "make first-model  the model with which jobs begin that learn, anew"
	@echo "make deb          the Debian package        make test-vm   the package in a real machine"
	@echo "make test-newest  the tests with the newest Python packages, not the locked ones"
	@echo "make lock         renew the lock of the Python packages (.ci/locked)"

system-run:
	@sh .ci/system-packages run

system-develop:
	@sh .ci/system-packages run develop

system-vm:
	@sh .ci/system-packages run develop deb vm

# What builds comes first: a package without a wheel is built by what is locked, and by nothing else.
$(VENV)/run: pyproject.toml $(LOCKED)/build.txt $(LOCKED)/run.txt | system-run
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing agentd and what it needs into $(VENV) ..."
	@$(PIP) --require-hashes --requirement $(LOCKED)/build.txt
	@$(PIP) --require-hashes --no-build-isolation --requirement $(LOCKED)/run.txt
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/develop: $(VENV)/run $(LOCKED)/develop.txt | system-develop
	@echo "installing the tools of tests and lint into $(VENV) ..."
	@$(PIP) --require-hashes --no-build-isolation --requirement $(LOCKED)/develop.txt
	@touch $@

run: $(VENV)/run
	@echo "agentd runs the jobs of $(CONFIG); in a second terminal: $(BIN)/agentctl status    Ctrl-C ends it"
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/python -m agentd --standalone --config $(CONFIG) --state-dir $(STATE)

test: $(VENV)/develop
	AGENTD_PINNED=1 $(BIN)/python -m pytest -q $(or $(TESTS),-n $(WORKERS) --dist worksteal)

# Each world keeps its folder in $TMPDIR where something was violated there.
chaos: $(VENV)/develop
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),120) $(addprefix --seed=,$(SEED)) $(addprefix --world=,$(WORLD)) $(ARGS)

# mypy remembers files by what is in them, for all checkouts: a second after a minute.
lint: $(VENV)/develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --cache-dir $(CACHE)/mypy
	@for page in units/man/*.scd; do scdoc < $$page > /dev/null || { echo "$$page is not valid"; exit 1; }; done
	@for script in $(filter-out $(LOCKED),$(wildcard .ci/*)) tests/vm/image tests/vm/native tests/vm/schedulers debian/tests/smoke units/start-job units/note-end units/end-job units/keep-units tests/chaos/job.sh; do sh -n $$script || exit 1; done

# Beside the agentd of before it was made light, in the same rounds.
bench: $(VENV)/develop
	$(BIN)/python tests/bench/bench.py $(or $(ARGS),--before 460009b)

bench-interval: $(VENV)/develop
	$(BIN)/python tests/bench/interval.py $(ARGS)

# In a machine, so that systemd is there to be compared with: some minutes.
bench-vm:
	@$(MAKE) --no-print-directory test-vm TESTS=tests/vm/bench_system.py

soak: $(VENV)/develop
	$(BIN)/python tests/bench/soak.py --seconds $(or $(SECONDS),3600)

# A minute or two. To be done where the features or the histories change; a test says when the model is of others.
first-model: $(VENV)/develop
	$(BIN)/python -P -m agentd.learning.train --synthetic --result agentd/learning/first-model.json

format: $(VENV)/develop
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

deb:
	@sh .ci/build-deb

# The two halves of deb, for who has other work beside the second.
built-deb:
	@sh .ci/build-deb build

tried-deb:
	@nice -n 19 sh .ci/build-deb try

# Builds the package unless AGENTD_DEB names one, and where they are not yet in the user's cache an image of a Debian 13
# (some minutes), a Linux that runs as a program (some five; where that fails, the tests say what it means to them) and CPU
# schedulers (some eight; where TESTS names other tests, they are left alone).
test-vm: system-vm $(VENV)/develop
	@echo "making the package and the image of a machine, where they are not there ..."
	@AGENTD_DEB="$${AGENTD_DEB:-$$(sh .ci/build-deb)}" && export AGENTD_DEB && tests/vm/$(if $(TESTS),image,schedulers) > /dev/null && \
		{ tests/vm/native > /dev/null || :; } && \
		rm -f dist/figures.jsonl && \
		$(BIN)/python -m pytest -q -n 5 --dist loadfile --no-loadscope-reorder --durations=8 $(or $(TESTS),tests/vm)
	@test ! -e dist/figures.jsonl || cat dist/figures.jsonl

test-newest: system-develop
	@sh .ci/test-newest $(TESTS)

lock:
	@sh .ci/lock

clean:
	rm -rf $(VENV) .venv-newest $(STATE) dist .mypy_cache .pytest_cache .ruff_cache
