# Everything runs in .venv, which is made on first use from pyproject.toml alone: python3 (3.11+), pip and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# hundreds of processes are started by the tests: each would compile all that it imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-nightly test-hostile mutants test-engine test-load gateway-figures test-trainers test-ray test-browser test-agents engine-figures test-peers compat lint types check bench bench-growth goldens docs dist clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/ -/'

$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile -e ".[cli]"
	@touch $@

# --group is of pip 25.1
$(VENV)/dev: $(VENV)/demo
	$(BIN)/python -m pip install -q -U "pip>=25.1"
	$(BIN)/python -m pip install -q -e . --group dev
	@touch $@

$(VENV)/peers: $(VENV)/dev
	$(BIN)/python -m pip install -q --group peers
	@touch $@

$(VENV)/engine: $(VENV)/dev
	$(BIN)/python -m pip install -q -e . --group engine
	@touch $@

$(VENV)/trainers: $(VENV)/engine
	$(BIN)/python -m pip install -q --group trainers
	@touch $@

$(VENV)/browser: $(VENV)/dev
	$(BIN)/python -m pip install -q --group browser
	@touch $@

$(VENV)/cluster: $(VENV)/dev
	$(BIN)/python -m pip install -q --group cluster
	@touch $@

$(VENV)/docs: $(VENV)/dev
	$(BIN)/python -m pip install -q --group docs
	@touch $@

$(VENV)/release: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -U "pip>=25.1"
	$(BIN)/python -m pip install -q --group release
	@touch $@

$(VENV)/compat: $(VENV)/engine
	$(BIN)/python -m pip install -q --group compat
	@touch $@

$(VENV)/agents/installed: $(VENV)/dev
	$(BIN)/python -m pip install -q --group agents
	if command -v npm > /dev/null; then npm install --silent --no-fund --no-audit --prefix $(VENV)/agents \
	  @openai/codex@^0.171 opencode-ai@^1.18; fi
	@mkdir -p $(@D) && touch $@

demo: $(VENV)/demo  ## the main job on the shipped examples: show a conversation, build training samples
	@mkdir -p demo
	$(BIN)/isc show examples/tools.json --family qwen3 | head -40
	$(BIN)/isc build examples/conversations.jsonl -o demo/samples.jsonl --family qwen3 --loss assistant+tool-bodies --overwrite

test: $(VENV)/dev  ## all tests, in parallel
	$(BIN)/python -m pytest -n auto

test-nightly: $(VENV)/dev  ## the same with a larger Hypothesis budget, then the mutants
	ISC_PROFILE=nightly $(BIN)/python -m pytest -n auto
	$(BIN)/python scripts/mutants.py --jobs 2

mutants: $(VENV)/dev  ## put plausible bugs in, one at a time: the tests must catch each (ONLY=seam for some)
	$(BIN)/python scripts/mutants.py --jobs 2 $(if $(ONLY),--only $(ONLY))

# growth is measured without a neighbour: what outgrows a cache shared with one looks as if it grew faster
test-hostile: $(VENV)/dev  ## the tests of docs/security.md, larger: a million forged bodies, longer conversations, more noise
	ISC_PROFILE=nightly ISC_GROWTH=$${ISC_GROWTH:-1000} $(BIN)/python -m pytest tests/test_growth.py
	ISC_PROFILE=nightly ISC_BODIES=$${ISC_BODIES:-1000000} ISC_NOISE=$${ISC_NOISE:-250000} \
	  $(BIN)/python -m pytest -n auto tests/formats/test_noise.py \
	  tests/test_forged_bodies.py tests/test_rendered_hostile.py tests/conversation/test_reject.py \
	  tests/media/test_local_files.py tests/build/test_build_locks.py tests/encoding/test_vocabulary_hostile.py \
	  tests/traced/test_traced_hostile.py tests/traced/test_template_overruns.py

test-engine: $(VENV)/engine  ## episodes against a real engine over HTTP, and the types of that suite; installs torch
	$(BIN)/mypy --explicit-package-bases tests/engine/*.py
	$(BIN)/python -m pytest tests/engine

test-trainers: $(VENV)/trainers  ## what reaches the loss of real trainers, from the rows of a build; installs torch and TRL
	$(BIN)/mypy --explicit-package-bases tests/trainers/*.py
	$(BIN)/python -m pytest tests/trainers

# Codex and opencode need node; where there is none these tests say so and skip
test-agents: $(VENV)/agents/installed  ## real agents, unmodified, through the gateway, and the types of that suite
	$(BIN)/mypy --explicit-package-bases tests/real_agents/*.py
	$(BIN)/python -m pytest -rs tests/real_agents

# the browser is the system's: root installs it where there is apt-get; where there is none the tests say so and skip
test-browser: $(VENV)/browser  ## the pages of isc in a headless Chromium, and the types of that suite
	@{ command -v chromium && command -v chromedriver; } > /dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get > /dev/null \
	  || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium chromium-driver fonts-dejavu-core > /dev/null; } || true
	$(BIN)/mypy --explicit-package-bases tests/browser/*.py
	$(BIN)/python -m pytest -rs tests/browser

test-ray: $(VENV)/cluster  ## a build and its stages on Ray, whose workers are killed, and on Spark; installs both, needs Java 17
	$(BIN)/mypy --explicit-package-bases tests/cluster/*.py
	$(BIN)/python -m pytest tests/cluster

test-peers: $(VENV)/compat  ## isc.compat beside renderers and under verifiers, and the types of that suite; installs both
	$(BIN)/mypy --explicit-package-bases tests/peers/*.py
	$(BIN)/python -m pytest tests/peers
	PYTHONPATH=tests $(BIN)/python tests/peers/suite.py  # the peer's own suite, on both

compat: $(VENV)/compat  ## count the differences from renderers, and write the tables of docs/compat.md
	PYTHONPATH=tests $(BIN)/python tests/peers/report.py

test-load: $(VENV)/dev  ## the gateway: 500 agents of 10 turns at once before engines that fail
	ISC_LOAD=500x10 $(BIN)/python -m pytest tests/gateway/test_gateway_load.py

gateway-figures: $(VENV)/dev  ## measure isc serve, and write the table of docs/gateway.md
	$(BIN)/python benchmarks/gateway.py

engine-figures: $(VENV)/engine  ## play them, and write the tables of docs/engine.md
	$(BIN)/python tests/engine/figures.py

types: $(VENV)/dev  ## mypy --strict over src, tests and scripts; pyright over the code of README and docs
	$(BIN)/mypy
	$(BIN)/mypy tests scripts benchmarks
	$(BIN)/python scripts/check_pages.py

lint: $(VENV)/dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint types test test-engine test-trainers test-browser docs  ## what CI runs, but for `make dist FILES=1`

bench: $(VENV)/peers bench-growth  ## measure, and write the tables of docs/benchmarks.md
	@missed=0; for name in run by_family load; do \
		echo benchmarks/$$name.py; $(BIN)/python benchmarks/$$name.py || missed=1; \
	done; exit $$missed  # each of them tells what it missed, and keeps none from being measured

bench-growth: $(VENV)/dev  ## the part of it that needs no peers: how much longer four times as much takes, by family
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/reading.py

goldens: $(VENV)/dev  ## render the goldens again with the reference templates and compare
	$(BIN)/python scripts/goldens.py --check

docs: $(VENV)/docs  ## build the site into site/; a broken link, a stale page or a name that is in none fails
	$(BIN)/python scripts/reference_doc.py --check
	$(BIN)/zensical build --clean --strict
	$(BIN)/python scripts/check_site.py

# one Python will do; where there are several, the oldest and the newest are tried (TAG=v0.1.0: is it the version?);
# FILES=1 looks at the files alone, in seconds
dist: $(VENV)/release  ## build wheel and sdist into dist/, check what they hold and say, try them in fresh environments
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/python scripts/dist.py $(if $(TAG),--tag $(TAG)) $(if $(FILES),--only-files)

clean:  ## remove the environment and what was built
	rm -rf $(VENV) demo site .cache dist
