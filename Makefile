# `sam build` calls these targets (template.yaml: BuildMethod makefile), each with ARTIFACTS_DIR set.
# What goes into a function, and for which processor, is handler/bundle.py's to know.

PYTHON ?= python3

.PHONY: build-Streams build-Streaming build-Sweeper

build-Streams build-Sweeper:
	$(PYTHON) handler/bundle.py "$(ARTIFACTS_DIR)"

build-Streaming:
	$(PYTHON) handler/bundle.py --uvicorn "$(ARTIFACTS_DIR)"
