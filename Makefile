# Everything a checkout needs. `make run` serves, `make test` tests; both set up what they use.
#
#   make run ARGS='--listen 127.0.0.1:9000'    flags for `latentd serve`
#   make run DEVICE=cuda                       on an NVIDIA GPU; cuda:N: on that one (1.6 GB to download)
#   CARGO_TARGET_DIR                           is honoured, as cargo does

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

DEVICE ?= cpu
ARGS ?=
DOCKER ?= docker
IMAGE ?= latentd
PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
# The build the client tests start.
LATENTD_BIN ?= $(abspath $(TARGET)/release/latentd)
# How the tests are built: with the optimised dependencies of `make run`, which so are compiled once for both, and with
# the crate itself as a debug build has it: not optimised, its assertions and overflow checks on. `make run` and
# `make bench` put the optimised binary back in its place.
crate := profile.release.package.latentd
TESTED := --release --config '$(crate).opt-level=0' --config '$(crate).debug-assertions=true' \
          --config '$(crate).overflow-checks=true' --config '$(crate).debug="line-tables-only"'

# libjpeg-turbo is built by cmake: the machine's, or else the one of its wheel, which takes no rights to install.
BUILD_TOOLS := .build-tools
ifeq ($(CMAKE)$(shell command -v cmake 2>/dev/null),)
CMAKE_TO_FETCH := $(BUILD_TOOLS)/installed
export CMAKE := $(abspath $(BUILD_TOOLS))/cmake/data/bin/cmake
endif

CLIENTS := .venv-clients
FIXTURES := .venv-fixtures
TRAINING := .venv-training
# Playwright and axe-core, for the tests of the Explorer; the browser is the machine's.
BROWSER := .venv-browser
CHROMIUM = $(or $(LATENTD_CHROMIUM),$(shell command -v chromium || command -v chromium-browser || command -v google-chrome || command -v google-chrome-stable))
# The harness of make bench and the servers it measures latentd against: bench/requirements/*.txt, each in its own.
BENCHES := $(patsubst bench/requirements/%.txt,.venv-bench-%,$(wildcard bench/requirements/*.txt))
# The libraries of bench/requirements.txt, measured beside the index.
PEERS := .venv-peers
# Where cifar10/train.tar and cifar10/val.tar are; empty: ../shared/data beside the checkout.
DATA ?=

.PHONY: help tools python onnxruntime build run test test-rust test-clients test-browser test-training soak bench bench-index bench-index-peers bench-ingest lint docs openapi docs-reference \
        fixtures models model model-name docker clean

help:
	@echo 'make run        build in release and serve models/ on 127.0.0.1:8080'
	@echo 'make test       Rust tests, then real clients against the real binary'
	@echo 'make test-browser  the Explorer in a real browser, where there is one (minutes)'
	@echo 'make test-training  the tests of training/ that need PyTorch too'
	@echo 'make soak       kills the server 200 times during writes (KILLS=n: n times)'
	@echo "make bench      measures latentd beside other servers, half an hour (ARGS='--quick', ARGS='--only tiny --repeats 5'); docs/BENCHMARKS.md"
	@echo "make bench-index measures the index (ARGS='--items 200000 --dimension 256', --http, --growth); docs/BENCHMARKS.md"
	@echo 'make bench-index-peers measures faiss, hnswlib and usearch on the vectors that bench-index left'
	@echo 'make bench-ingest measures latentd ingest beside the rate of embeddings'
	@echo 'make lint       formatting, clippy, licences and sources'
	@echo 'make docs       the API documentation of the crate, warnings refused'
	@echo 'make openapi    write docs/openapi.json (docs-reference: docs/CONFIGURATION.md and latentd.example.toml)'
	@echo 'make fixtures   write the tiny models and images of tests/data again'
	@echo 'make models     train, export and measure every model of models/ again (hours; model NAME=... for one)'
	@echo '                make model RECIPE=defects DATA=good-parts NAME=my-part: from a folder of images (docs/TRAINING.md)'
	@echo 'make docker     build the container image'
	@echo 'make clean      remove what these targets made'

tools: $(CMAKE_TO_FETCH)
	@command -v cargo >/dev/null || { echo 'make: cargo not found; install Rust 1.95 or newer (rustup, or the package rustc of a recent distribution)' >&2; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || { echo 'make: no C++ compiler found; install one (Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install) or set CXX' >&2; exit 1; }
	@case "$$(uname -m)" in x86_64|amd64) command -v nasm >/dev/null || echo 'make: nasm not found, so JPEGs are decoded without SIMD, which is slower (Debian, Ubuntu: apt-get install nasm)' >&2;; esac

$(BUILD_TOOLS)/installed: scripts/build-tools.txt
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo 'make: cmake not found, nor pip to fetch it with; install cmake (Debian, Ubuntu: apt-get install cmake; macOS: brew install cmake) or set CMAKE' >&2; exit 1; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target $(BUILD_TOOLS) --requirement $<
	@touch $@

python:
	@command -v $(PYTHON) >/dev/null || { echo 'make: $(PYTHON) not found; install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3 python3-venv) or set PYTHON' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'make: the client tests need Python 3.11 or newer; set PYTHON to one' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'make: $(PYTHON) cannot make virtual environments; install venv (Debian, Ubuntu: apt-get install python3-venv)' >&2; exit 1; }

onnxruntime:
	@DEVICE=$(DEVICE) scripts/fetch-onnxruntime.sh >/dev/null

build: tools onnxruntime
	cargo build --release --locked

# What DEVICE=cuda tells the server; flags in ARGS have the last word. Without it, its own configuration says all.
ifneq ($(DEVICE),cpu)
RUN_ENV := LATENTD_ONNXRUNTIME='$(abspath .ort/lib-cuda/libonnxruntime.so)' LATENTD_RUNTIME__DEVICE='$(DEVICE)'
endif

run: build
	@exec env $(RUN_ENV) '$(TARGET)/release/latentd' serve $(ARGS)

test: test-rust test-clients

test-rust: tools onnxruntime
	@if command -v cargo-nextest >/dev/null; then \
	  set -ex; cargo nextest run --locked $(TESTED); cargo test --doc --locked $(TESTED); \
	else \
	  set -x; cargo test --locked $(TESTED); \
	fi

# What make test does with 20 kills.
KILLS ?= 200
soak: tools onnxruntime
	LATENTD_TEST_KILLS=$(KILLS) cargo test --locked $(TESTED) --test durability -- --nocapture

# The load generator's path has a hash in its name, so cargo is asked for it. The server is built after it, so that it is
# the one that `make run` builds.
bench: tools onnxruntime $(addsuffix /installed,$(BENCHES))
	@serving=$$(cargo bench --locked --no-run --bench serving --message-format json-render-diagnostics \
	  | sed -n '/"name":"serving"/s/.*"executable":"\([^"]*\)".*/\1/p') && \
	$(MAKE) build && \
	exec .venv-bench-serving/bin/python -m bench.serve --latentd '$(TARGET)/release/latentd' --serving "$$serving" $(ARGS)

.venv-bench-%/installed: bench/requirements/%.txt | python
	$(PYTHON) -m venv --clear .venv-bench-$*
	.venv-bench-$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bench-index: tools onnxruntime
	cargo bench --locked --bench index -- $(ARGS)

bench-index-peers: $(PEERS)/installed
	$(PEERS)/bin/python bench/index_peers.py target/bench-index $(ARGS)

$(PEERS)/installed: bench/requirements.txt | python
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bench-ingest: tools onnxruntime .venv-bench-serving/installed
	@serving=$$(cargo bench --locked --no-run --bench serving --message-format json-render-diagnostics \
	  | sed -n '/"name":"serving"/s/.*"executable":"\([^"]*\)".*/\1/p') && \
	$(MAKE) build && \
	exec .venv-bench-serving/bin/python -m bench.ingest --latentd '$(TARGET)/release/latentd' --serving "$$serving" $(ARGS)

# The tests of training run where PyTorch is, if it is; else those that need it are skipped and say so.
TRAINED_BY = $(if $(wildcard $(TRAINING)/installed),$(TRAINING),$(CLIENTS))

test-clients: tools onnxruntime $(CLIENTS)/installed
	cargo build --quiet --locked $(TESTED)
	LATENTD_BIN='$(LATENTD_BIN)' $(CLIENTS)/bin/python -m pytest tests/clients
	$(CLIENTS)/bin/python -m pytest -p no:cacheprovider bench/tests
	LATENTD_BIN='$(LATENTD_BIN)' $(TRAINED_BY)/bin/python -m pytest -p no:cacheprovider -rs training/tests

# Skipped where there is no browser, and then nothing is fetched for it.
test-browser: tools onnxruntime
ifeq ($(CHROMIUM),)
	@echo 'make: no Chromium found, so the tests of the Explorer are skipped (Debian, Ubuntu: apt-get install chromium; or name one in LATENTD_CHROMIUM)'
else
	@$(MAKE) $(BROWSER)/installed
	cargo build --quiet --locked $(TESTED)
	LATENTD_CHROMIUM='$(CHROMIUM)' LATENTD_BIN='$(LATENTD_BIN)' $(BROWSER)/bin/python -m pytest tests/browser
endif

$(BROWSER)/installed: tests/browser/requirements.txt | python
	$(PYTHON) -m venv --clear $(BROWSER)
	$(BROWSER)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# All of them, those that need PyTorch too: a minute, after an environment of several gigabytes.
test-training: $(TRAINING)/installed
	$(if $(wildcard $(LATENTD_BIN)),LATENTD_BIN='$(LATENTD_BIN)') $(TRAINING)/bin/python -m pytest -p no:cacheprovider -rs training/tests

$(CLIENTS)/installed: tests/clients/requirements.txt | python
	$(PYTHON) -m venv --clear $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

lint: tools
	cargo fmt --all --check
	cargo clippy --release --all-targets --locked -- -D warnings
	@if command -v cargo-deny >/dev/null; then \
	  set -x; cargo deny check --hide-inclusion-graph licenses bans sources; \
	else \
	  echo 'make: cargo-deny not found, so licences, bans and sources are not checked (cargo install --locked cargo-deny)'; \
	fi

docs: tools
	RUSTDOCFLAGS='-D warnings' cargo doc --release --no-deps --document-private-items --locked

# A failing command leaves the file as it was.
openapi: tools
	cargo build --locked $(TESTED)
	'$(TARGET)/release/latentd' openapi >docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json

docs-reference: tools
	cargo build --locked $(TESTED)
	'$(TARGET)/release/latentd' config >docs/CONFIGURATION.md.new && mv docs/CONFIGURATION.md.new docs/CONFIGURATION.md
	'$(TARGET)/release/latentd' config --example >latentd.example.toml.new && mv latentd.example.toml.new latentd.example.toml

fixtures: $(FIXTURES)/installed
	@for script in tests/data/make_*.py; do (set -x; $(FIXTURES)/bin/python "$$script") || exit 1; done

$(FIXTURES)/installed: tests/data/requirements.txt | python
	$(PYTHON) -m venv --clear $(FIXTURES)
	$(FIXTURES)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# A run that was interrupted goes on where it was; the checkpoints are in training/runs.
models:
	@for name in $(notdir $(patsubst %/model.toml,%,$(wildcard models/*/model.toml))); do \
	  $(MAKE) model NAME="$$name" || exit 1; \
	done
	$(TRAINING)/bin/python -m training.ablation $(if $(DATA),--data '$(DATA)')
	$(TRAINING)/bin/python -m training.compare $(if $(DATA),--data '$(DATA)')
	$(TRAINING)/bin/python -m training.evaluate --tables

# RECIPE=defects|memory|completion|ae|dae|mae|crvae|simclr DATA=folder NAME=mine makes a model of the images in a folder; SIDE, CHANNELS, FIT, EPOCHS,
# DESCRIPTION and LICENSE say more of it, BAD names images that its scores should tell from those, and MASKS where their defects are.
model: model-name $(TRAINING)/installed
	$(TRAINING)/bin/python -m training.train '$(NAME)' $(if $(DATA),--data '$(DATA)') $(if $(RECIPE),--recipe '$(RECIPE)') \
	  $(if $(SIDE),--side '$(SIDE)') $(if $(CHANNELS),--channels '$(CHANNELS)') $(if $(FIT),--fit '$(FIT)') $(if $(EPOCHS),--epochs '$(EPOCHS)') \
	  $(if $(DESCRIPTION),--description '$(DESCRIPTION)') $(if $(LICENSE),--license '$(LICENSE)') $(if $(RESTART),--restart)
	$(TRAINING)/bin/python -m training.evaluate '$(NAME)' $(if $(DATA),--data '$(DATA)') $(if $(BAD),--bad '$(BAD)') $(if $(MASKS),--masks '$(MASKS)')

# Before an environment of several gigabytes is made for nothing.
model-name:
	@test -n '$(NAME)' || { echo 'make: say which model: make model NAME=simclr-cifar10 (the recipes are in training/recipes)' >&2; exit 1; }

$(TRAINING)/installed: training/requirements.txt | python
	$(PYTHON) -m venv --clear $(TRAINING)
	$(TRAINING)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Further options of `docker build`, such as --secret and --network: docs/OPERATIONS.md, Containers.
docker:
	DOCKER_BUILDKIT=1 $(DOCKER) build --tag '$(IMAGE)' $(DOCKER_ARGS) .

clean:
	cargo clean
	rm -rf .ort $(BUILD_TOOLS) $(CLIENTS) $(FIXTURES) $(TRAINING) $(BROWSER) $(BENCHES) $(PEERS)
