# Each target does the set-up it needs; a second run finds its stamps and starts at once.

VENV := .venv
PY := $(VENV)/bin/python
# Tests wait more than they compute, for processes that start and die, so there are three for two cores.
WORKERS := $(shell n=$$(nproc 2>/dev/null || echo 2); n=$$((n + (n + 1) / 2)); echo $$((n < 6 ? n : 6)))
PAGE_SOURCES := web/index.html web/vite.config.ts web/tsconfig.json \
	$(wildcard web/public/* web/src/*.ts web/src/*.tsx web/src/*/*.ts web/src/*/*.tsx web/src/*/*.css)

.PHONY: help setup serve test faults bench screenshots lint wheel page page-if-possible browser need-node
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.tested page tests/dynalite/node_modules/.installed browser ## install everything that serving and testing need, and build the page

serve: $(VENV)/.serves page-if-possible ## start the server on http://127.0.0.1:8000 (HOST, PORT, DATA_DIR … from the environment)
	@exec $(VENV)/bin/streamgauge serve

test: ## run all tests: the page's, the server's and those in a browser
	@$(MAKE) --no-print-directory -j3 setup
	@status=0; said=$$(mktemp); \
	npm --prefix web test --silent >"$$said" 2>&1 & page=$$!; \
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests || status=1; \
	wait $$page || status=1; \
	cat "$$said"; rm -f "$$said"; \
	exit $$status

faults: $(VENV)/.tested ## the long fault campaign, half an hour: kills, Redis, disks, clocks (FAULTS_SEED=… repeats one)
	@$(PY) -m tests.faults

bench: $(VENV)/.tested ## measure, and print a table
	@$(PY) -m tests.benchmarks

screenshots: $(VENV)/.tested page browser ## pictures of the page in both themes and three widths; the best go to docs/
	@$(PY) -m tests.browser.screenshots

lint: $(VENV)/.tested web/node_modules/.installed ## ruff, mypy, tsc
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@npm --prefix web run --silent check

wheel: $(PY) web/dist/index.html ## build dist/streamgauge-….whl with the page inside
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

page: web/dist/index.html

# --- Python

# What is never imported need not be compiled; setuptools warns of every editable install.
PIP_INSTALL = PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --disable-pip-version-check --no-compile

$(PY):
	@python=; \
	for each in "$$PYTHON" python3 python3.14 python3.13 python3.12 python3.11; do \
		if [ -n "$$each" ] && "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$each"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Python 3.11 or newer is missing: install it (Debian: apt-get install python3 python3-venv), or name it with PYTHON=…" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$python cannot make a virtual environment: install its venv module (Debian: apt-get install python3-venv)." >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version) …"; \
	"$$python" -m venv $(VENV)
	@$(PIP_INSTALL) --upgrade pip 2>/dev/null || true  # those that Python brings take twice as long to choose versions

$(VENV)/.serves: pyproject.toml | $(PY)
	@echo "Installing the server and what it needs …"
	@$(PIP_INSTALL) -e . || \
		{ echo "pip could not install what the server needs; its reason stands above." >&2; exit 1; }
	@touch $@

$(VENV)/.tested: pyproject.toml | $(PY)
	@echo "Installing the server and what its tests need …"
	@$(PIP_INSTALL) -e '.[test]' || \
		{ echo "pip could not install what the tests need; its reason stands above." >&2; exit 1; }
	@touch $@ $(VENV)/.serves

# --- The page

NODE_FITS = command -v npm >/dev/null 2>&1 && \
	node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null

need-node:
	@$(NODE_FITS) || { echo "Node 20.19 or newer with npm is missing: install it (Debian: apt-get install nodejs npm)." >&2; exit 1; }

web/node_modules/.installed: web/package.json web/package-lock.json web/.npmrc | need-node
	@echo "Installing what the page is built with …"
	@cd web && npm ci --include=dev --silent --no-audit --no-fund || \
		{ echo "npm could not install what the page is built with; see the log it names, or run npm ci in web/." >&2; exit 1; }
	@touch $@

web/dist/index.html: web/node_modules/.installed $(PAGE_SOURCES)
	@echo "Building the page …"
	@cd web && npm run build --silent -- --logLevel warn
	@touch $@

page-if-possible:
	@if $(NODE_FITS); then $(MAKE) --no-print-directory web/dist/index.html; \
	elif [ ! -f web/dist/index.html ]; then \
		echo "Node 20.19 or newer with npm is missing, so the server starts without its page; everything else works."; \
	fi

# --- A DynamoDB for the tests

tests/dynalite/node_modules/.installed: tests/dynalite/package.json tests/dynalite/package-lock.json | need-node
	@echo "Installing a stand-in for DynamoDB …"
	@cd tests/dynalite && npm ci --silent --no-audit --no-fund || \
		{ echo "npm could not install dynalite; see the log it names, or run npm ci in tests/dynalite/." >&2; exit 1; }
	@touch $@

# --- A browser for the tests

browser:
	@if [ -n "$$CHROMIUM" ] || command -v chromium chromium-browser google-chrome >/dev/null 2>&1; then exit 0; fi; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
	if command -v apt-get >/dev/null 2>&1 && $$sudo true 2>/dev/null; then \
		echo "Installing Chromium for the browser tests …"; \
		$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq chromium >/dev/null && exit 0; \
	fi; \
	echo "Chromium is missing and cannot be installed from here: install it, or name it with CHROMIUM=…; without it the browser tests are skipped."
