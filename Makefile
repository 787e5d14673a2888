# make up      start the service          make test    run the whole suite
# make demo    one photograph, drawn      make help    the rest

SHELL := /bin/bash
.DEFAULT_GOAL := help

# the first Python in the supported range; set PYTHON=... to choose another
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# what a lock file pins, by the hashes of its files; then the project itself, which needs no further package for that
LOCKED = $(PIP) --no-deps --require-hashes --only-binary :all: --find-links deploy/wheels \
	--requirement deploy/locks/build.txt --requirement deploy/locks/$(1) && \
	$(PIP) --no-index --no-deps --no-build-isolation --editable .

.PHONY: help up test test-containers mutation demo bench bench-gaps bench-peers bench-scale bench-tracking bench-decode bench-detector tables soak fuzz lint types proto lock audit clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

up: $(VENV)/serve.installed ## start Triton and the gateway: REST on :8080, gRPC on :8081; Ctrl-C stops
	@exec $(BIN)/landmarks serve

test: $(VENV)/dev.installed ## run the whole suite, a real Triton included
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-containers: $(VENV)/dev.installed ## build the images and try them on a Docker engine, under load and with restarts
	$(BIN)/python -m pytest tests/containers/suite_{images,compose,restarts}.py

mutation: $(VENV)/dev.installed ## change the files of only_mutate (pyproject.toml) in hundreds of ways, list what no test notices
	@rm -rf mutants
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mutmut run --max-children $$(nproc)
	@$(BIN)/mutmut results

demo: $(VENV)/demo.installed ## find the points of IMAGE=photo.jpg (or of a portrait), draw them into out.png
	@image="$(IMAGE)"; \
	if [ -z "$$image" ]; then image=$(VENV)/astronaut.png; \
	  $(BIN)/python -c 'import skimage.data, PIL.Image; PIL.Image.fromarray(skimage.data.astronaut()).save("'$$image'")'; fi; \
	exec $(BIN)/landmarks detect "$$image" --overlay out.png --overwrite

bench: $(VENV)/dev.installed ## faces per second served over faces per second in one process
	@exec $(BIN)/python -m bench.throughput

bench-gaps: $(VENV)/dev.installed ## the longest time without an answer, for an hour; [AGAINST=another checkout]
	@exec $(BIN)/python -m bench.gaps $(if $(AGAINST),--against "$(AGAINST)")

bench-peers: $(VENV)/dev.installed ## other landmark networks beside this one: [CACHE=folder for MediaPipe] [PFLD="a.onnx b.onnx"] [DATA=faces300w:/data]
	@exec $(BIN)/python -m bench.peers $(if $(CACHE),--cache "$(CACHE)") $(if $(PFLD),--pfld $(PFLD)) $(if $(DATA),--data "$(DATA)")

bench-scale: $(VENV)/dev.installed ## 1 to 500 faces, 256 to 8,192 pixels, 1 to 256 clients, 1 to 3 Tritons; memory at each
	@exec $(BIN)/python -m bench.scale

bench-tracking: $(VENV)/dev.installed ## landmarks track beside MediaPipe on a 1080p clip, then 1,000 frames of the stream Track: [CACHE=folder for MediaPipe]
	@$(BIN)/python -m bench.tracking $(if $(CACHE),--cache "$(CACHE)")
	@exec $(BIN)/python -m bench.stream

bench-decode: $(VENV)/dev.installed ## the time of the decoder over the time of copying its heatmaps
	@exec $(BIN)/python -m bench.decode

bench-detector: $(if $(DATA),$(VENV)/dev.installed) ## face detectors compared: DATA=faces300w:/data [MODEL=detector.onnx] [YUNET=yunet.onnx]
	@test -n "$(DATA)" || { echo "give photographs: make bench-detector DATA=faces300w:/data"; exit 2; }
	@exec $(BIN)/python -m bench.detector --model "$(or $(MODEL),model_repo/detector/1/model.onnx)" --data "$(DATA)" $(if $(YUNET),--yunet "$(YUNET)")

# the cheapest first; every run is trained once, kept under runs/, and continued where it was interrupted
TABLE = $(BIN)/landmarks-train $(1) --data "$(DATA)" --backbone compact --epochs $(or $(EPOCHS),30) --out $(or $(OUT),runs/tables)
tables: $(if $(DATA),$(VENV)/dev.installed) ## the paper's tables with the compact backbone, for days: DATA=faces300w:/data [EPOCHS=30] [OUT=runs/tables]
	@test -n "$(DATA)" || { echo "give a data set: make tables DATA=faces300w:/data"; exit 2; }
	$(call TABLE,table 1)
	$(call TABLE,table annotation)
	$(call TABLE,figure 4)
	$(call TABLE,figure 7)
	$(call TABLE,figure 8) --sizes 64 --seeds 0 1 2
	$(call TABLE,table 2) --seeds 0 1 2
	$(call TABLE,table activation-sets)
	$(call TABLE,figure 10) --sizes 64
	$(call TABLE,table 10) --sizes 64
	$(call TABLE,table 7) --sizes 64
	$(call TABLE,table 8) --sizes 64 96 128
	$(call TABLE,table 7) --sizes 64 128
	$(call TABLE,table 9) --sizes 128
	$(call TABLE,table 8) --sizes 64 96 128 256
	$(call TABLE,figure 8) --sizes 64 96 128 256

soak: $(VENV)/dev.installed ## memory of the service after 1,000 and after 10,000 mixed requests
	@exec $(BIN)/python -m bench.soak

fuzz: $(VENV)/dev.installed ## damaged requests and images for SECONDS=600 each: the APIs, then the image reader
	@exec $(BIN)/python -m tests.fuzz apis images --seconds $(or $(SECONDS),600)

lint: $(VENV)/dev.installed ## style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/dev.installed ## types, strictly
	$(BIN)/mypy landmarks landmarks_client service shots train bench tests proto/write_comments.py
	$(BIN)/mypy model_repo/heatmap/1/model.py
	$(BIN)/mypy model_repo/decode/1/model.py
	$(BIN)/mypy model_repo/decode/1/torch_decode.py
	$(BIN)/mypy model_repo/detector/1/model.py

proto: ## generate the gRPC code from proto/
	@sh proto/generate.sh

lock: $(VENV)/bin/python ## pin what the images and `make up` install, with hashes, in deploy/locks/
	@$(PIP) 'uv>=0.9' && sh deploy/locks/lock.sh $(BIN)/uv

audit: $(VENV)/bin/python ## look for published advisories about what is pinned; says so where none can be reached
	@$(PIP) 'pip-audit>=2.7' && PIP_AUDIT=$(BIN)/pip-audit $(BIN)/python deploy/locks/audit.py

clean: ## remove the environment and what tools left
	rm -rf $(VENV) mutants fuzz-failures .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.10, 3.11 or 3.12 is needed; set PYTHON=/path/to/python3"; exit 1; }
	@sh deploy/prerequisites.sh $(PYTHON)
	@$(PYTHON) -m venv $(VENV)

# built into the package: docs/decisions/0056
LIBRARY = setup.py landmarks/heatmaps.c

$(VENV)/serve.installed: $(VENV)/bin/python pyproject.toml $(LIBRARY) deploy/locks/serve.txt
	@echo "installing what serving needs into $(VENV) ..."
	@$(call LOCKED,serve.txt) && touch $@

$(VENV)/demo.installed: $(VENV)/bin/python pyproject.toml $(LIBRARY) deploy/locks/demo.txt
	@echo "installing what serving and the demo need into $(VENV) ..."
	@$(call LOCKED,demo.txt) && touch $@ $(VENV)/serve.installed

$(VENV)/dev.installed: $(VENV)/bin/python pyproject.toml $(LIBRARY)
	@echo "installing what serving, training and tests need into $(VENV) ..."
	@$(PIP) --editable '.[serve,vfx,usd,train,test,dev]' 'numpy<2' 'opencv-python-headless<4.12' && touch $@ $(VENV)/demo.installed $(VENV)/serve.installed
