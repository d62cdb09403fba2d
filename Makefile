.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/covidctnet
STAMP := $(VENV)/.installed

DATA ?= archive
WORK ?= runs/mine
PRESET ?= compact
WEIGHTS ?= compact
DEVICE ?= auto
INPUT ?= inbox
OUTPUT ?= results
# An archive of real Control scans to train `compact` with, and one that must teach nothing.
CONTROLS ?=
STRANGERS ?=
# The training commands leave the device to their preset unless one is named.
ON = $(if $(filter-out auto,$(DEVICE)),--device $(DEVICE))
# The page that `pictures` shows, once `make demo` has made it.
PAGE = $(wildcard runs/demo/results-compact/index.html)
# Further flags for the command, such as ARGS="--trainer.devices 4 --ckpt_path last"
ARGS ?=

.PHONY: help install lint format test quick docs demo road preprocess train-lungs train-denoiser train-classifier \
        classify evaluate split robustness rewritten fuzz benchmark compact reproduce coverage ablation \
        strangers strangers-folds outside real-scans pictures trials out-of-distribution slices radiographs benchmark-systems exactness one-scan resilience dicom-results loaded pacs-trial web-load wheelhouse wheel clean

help: ## List every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

install: $(STAMP) ## Make .venv with the package and its development tools

$(STAMP): setup.cfg setup.py pyproject.toml constraints.txt
	@echo "making $(VENV) with all packages: some minutes, and a network, the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first and pinned, with the torchvision that was built for it.
	$(BIN)/python -m pip install -q -c constraints.txt torch torchvision
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,docs,systems,imagenet]'
	touch $@

lint: install ## Check style, imports and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: install ## Let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint ## Lint, then all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# What is tested in a moment: networks, preprocessing, figures, values; no training run, no child process.
QUICK := tests/systems/covidctnet/networks tests/preprocess tests/report \
         tests/evaluation/test_curves.py tests/evaluation/test_intervals.py \
         tests/evaluation/test_metrics.py tests/trust/test_appearance.py tests/test_files.py \
         tests/systems/covidctnet/test_lesion_volume.py tests/systems/covidctnet/test_perlin.py \
         tests/systems/covidctnet/test_residual.py tests/test_results.py \
         tests/weights/test_shipped.py tests/test_volume.py tests/test_public_values.py

quick: install ## The fast tests alone: networks, preprocessing, figures, values
	$(BIN)/ruff check -q .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(QUICK) $(ARGS)

docs: install ## Build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

demo: install ## A page by the shipped weights, then the whole chain on phantoms: runs/demo
	bash pipelines/demo/run.sh $(RUN) runs/demo

road: install ## From an export and a spreadsheet to a paper, on phantoms: runs/road (minutes)
	bash pipelines/road/run.sh $(RUN) $(BIN)/python runs/road

preprocess: install ## DATA -> WORK: network input and splits (PRESET)
	$(RUN) preprocess "$(DATA)" -o "$(WORK)" --preset $(PRESET) $(ARGS) || test $$? -eq 3

train-lungs: install ## WORK: train the BCDU-Net on lungs, to start a denoiser from (PRESET)
	$(RUN) train-lungs --work "$(WORK)" --preset $(PRESET) $(ON) $(ARGS)

train-denoiser: install ## WORK: train the BCDU-Net (PRESET)
	$(RUN) train-denoiser --work "$(WORK)" --preset $(PRESET) $(ON) $(ARGS)

train-classifier: install ## WORK: train the 3D CNN (PRESET)
	$(RUN) train-classifier --work "$(WORK)" --preset $(PRESET) $(ON) $(ARGS)

classify: install ## INPUT -> OUTPUT: Covid-19, CAP or Control for every study (WEIGHTS)
	$(RUN) classify $(INPUT) -o "$(OUTPUT)" --weights "$(WEIGHTS)" --device $(DEVICE) $(ARGS)

evaluate: install ## WORK: accuracy and AUC of its weights on its held-back patients
	$(RUN) evaluate --work "$(WORK)" --weights "$(WORK)/weights" -o "$(WORK)/report" --device $(DEVICE) $(ARGS)

split: install ## WORK: divide its patients again; ARGS="--scheme kfold --folds 5"
	$(RUN) split "$(WORK)" $(ARGS)

robustness: install ## Read every hard input here and with other packages: docs/robustness.md
	$(BIN)/pip install --quiet -c constraints.txt -e ".[peers]"
	$(BIN)/python -m tests.catalogue

rewritten: install ## Scans below DATA written in 20 lawful ways: none may be refused or wrong
	$(BIN)/python -m pipelines.experiments.robustness.rewritten "$(DATA)" $(ARGS)

# Trials of `fuzz`, and where they start.
N ?= 20000
SEED ?= 0

fuzz: install ## N mutated inputs (SEED): none may crash, hang or give a wrong volume
	$(BIN)/python -m tests.fuzz --n $(N) --seed $(SEED)

benchmark: install ## Measure every stage and its peers (half an hour): docs/performance.md
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python -m pipelines.experiments.benchmark --weights "$(WEIGHTS)" $(ON) --studies 200 --picture docs/pictures/memory.svg \
	  --into docs/performance.md $(ARGS)

# The plan of `benchmark-systems`: tiny for a night on two cores, paper for a GPU.
SYSTEMS ?= tiny

benchmark-systems: install ## All five systems on one cohort of phantoms, on one page: runs/benchmark-systems (SYSTEMS)
	$(BIN)/python -m pipelines.experiments.systems.run runs/benchmark-systems --preset $(SYSTEMS) \
	  --output runs/benchmark-systems.md $(ARGS)

compact: install ## Make weights/compact (hours on two cores): runs/compact (CONTROLS, STRANGERS)
	bash pipelines/compact/run.sh $(RUN) $(BIN)/python runs/compact "$(CONTROLS)" $(STRANGERS)

strangers: install ## Real patients below DATA, answered by WEIGHTS that have not seen them
	$(BIN)/python -m pipelines.strangers.run --data "$(DATA)" --weights "$(WEIGHTS)" \
	  --output runs/strangers.md --table runs/strangers.csv $(ARGS)

strangers-folds: install ## The same by leave-one-site-out: WORK, cross-fitted with PRESET
	$(BIN)/python -m pipelines.strangers.run --work "$(WORK)" \
	  --settings pipelines/$(PRESET)/cross-fit.yaml --output runs/strangers.md \
	  --table runs/strangers.csv $(ARGS)

outside: install ## Drawn lesions outside the lungs that the networks of WORK look at (CONTROLS)
	$(BIN)/python -m pipelines.strangers.outside --work "$(WORK)" \
	  --settings pipelines/$(PRESET)/cross-fit.yaml --data "$(CONTROLS)" \
	  --output runs/outside.md $(ARGS)

# The system that `reproduce` shows: covidctnet, resnet50_slices or deeptek_unet.
SYSTEM ?= covidctnet

reproduce: install ## Every stage of SYSTEM on phantoms, to runs/reproduce (a night on two cores)
ifeq ($(SYSTEM),covidctnet)
	bash pipelines/reproduce/run.sh $(RUN) runs/reproduce
else
	bash pipelines/reproduce/slices.sh $(RUN) runs/reproduce/$(SYSTEM) $(SYSTEM)
endif

coverage: install ## How often prediction sets (WEIGHTS) hold the truth: 500 phantoms
	$(BIN)/python -m pipelines.experiments.coverage.run "$(WEIGHTS)" runs/coverage \
	  --output docs/measured/coverage.md $(ARGS)

trials: install ## Other ways to run the denoiser, next to ours: docs/measured/trials.md
	$(BIN)/pip install --quiet -c constraints.txt openvino onnx onnxruntime
	$(BIN)/python -m pipelines.experiments.trials.run --weights "$(WEIGHTS)" --into docs/measured/trials.md $(ARGS)

ablation: install ## Train what docs/explanation/decisions.md compares, on phantoms: runs/ablation
	$(BIN)/python -m pipelines.experiments.ablation.run runs/ablation --output docs/measured/ablation.md

out-of-distribution: install ## Out-of-distribution scores (WEIGHTS) of groups of scans; ARGS="name=folder"
	$(BIN)/python -m pipelines.experiments.out_of_distribution.run --weights "$(WEIGHTS)" --output docs/measured/out-of-distribution.md $(ARGS)

slices: install ## Copies of slices and the shortcut baseline, on sets below DATA
	$(BIN)/python -m pipelines.experiments.slices.run "$(DATA)/ucsd_covid_ct_whole" \
	  --across "$(DATA)/sars_cov2_ct_sample" \
	  --others "ucsd_covid_ct=$(DATA)/ucsd_covid_ct" \
	           "infnet_medseg2d=$(DATA)/infnet_medseg2d/train/Imgs" \
	  --scans "$(DATA)/covid_ct_md" "$(DATA)/controls_ct" --output docs/measured/slices.md $(ARGS)

radiographs: install ## What the look for a frontal chest refuses, on sets below DATA
	$(BIN)/python -m pipelines.experiments.radiographs.look \
	  --radiographs "children (cxr_kermany_224)=$(DATA)/cxr_kermany_224" \
	                "children, original size (cxr_kermany)=$(DATA)/cxr_kermany" \
	                "adults (cxr_ieee8023)=$(DATA)/cxr_ieee8023" \
	  --others "CT slices (ucsd_covid_ct_whole)=$(DATA)/ucsd_covid_ct_whole" \
	           "CT slices (sars_cov2_ct_sample)=$(DATA)/sars_cov2_ct_sample" \
	           "CT slices, turned (infnet_medseg2d)=$(DATA)/infnet_medseg2d/train/Imgs" \
	  --scans "$(DATA)/controls_ct" --output docs/measured/radiographs.md $(ARGS)

pictures: install ## Draw docs/pictures again: stages, learning curves (WEIGHTS), the page of make demo
	$(BIN)/python -m pipelines.experiments.pictures.make --weights "$(WEIGHTS)" $(PAGE:%=--page %)

real-scans: install ## The denoiser (WEIGHTS) on real scans with slice labels below DATA
	$(BIN)/python -m pipelines.real.denoiser "$(DATA)" --weights "$(WEIGHTS)" \
	  --output docs/measured/real.md $(ARGS)

exactness: install ## Do networks rewritten for inference answer alike? DATA: docs/measured/exactness.md
	$(BIN)/python -m pipelines.experiments.exactness.run "$(DATA)" --weights "$(WEIGHTS)" \
	  --output docs/measured/exactness.md $(ARGS)

one-scan: install ## From the DICOM series below DATA to its answer: docs/measured/one-scan.md
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python -m pipelines.experiments.benchmark --weights "$(WEIGHTS)" $(ON) --scan "$(DATA)" --into docs/measured/one-scan.md \
	  --only read,preprocess,lungs,whole,memory $(ARGS)

dicom-results: install ## SEG, SR and captures of the scans below DATA, asked by other programs
	$(BIN)/python -m tests.dicom_out $(DATA)

resilience: install ## Kills, full disks, signals, names, environments: docs/measured/resilience.md
	$(BIN)/python -m pipelines.experiments.resilience.run --output docs/measured/resilience.md $(ARGS)

pacs-trial: install ## A real PACS (Orthanc), 45 studies, kills: docs/measured/pacs.md
	$(BIN)/python -m pipelines.experiments.pacs.trial --weights "$(WEIGHTS)" --output docs/measured/pacs.md $(ARGS)

web-load: install ## The web page under load: docs/measured/web-load.md (WEIGHTS)
	$(BIN)/python -m pipelines.experiments.web.load --weights "$(WEIGHTS)" --output docs/measured/web-load.md $(ARGS)

loaded: install ## One scan (DATA) alone and beside busy programs, by how threads wait
	$(BIN)/python -m pipelines.experiments.loaded.run "$(DATA)" --weights "$(WEIGHTS)" $(ARGS)

# Of `wheelhouse`: cpu or cuda; an index with builds of torch for CPUs, which cpu needs.
KIND ?= cuda
INDEX ?=

wheelhouse: wheel ## All wheels for an installation without a network: dist/wheelhouse/KIND (INDEX for KIND=cpu)
	test "$(KIND)" = cuda || test "$(KIND)" = cpu -a -n "$(INDEX)" || \
	  { echo "expected KIND=cuda, or KIND=cpu with INDEX=address of builds of torch for CPUs" >&2; exit 2; }
	mkdir -p "dist/wheelhouse/$(KIND)"
	$(BIN)/python -m pip download -q --only-binary :all: -c constraints.txt -d "dist/wheelhouse/$(KIND)" \
	  $(if $(INDEX),--extra-index-url "$(INDEX)") "$$(ls dist/*.whl)[serve]" pip $(ARGS)
	cd "dist/wheelhouse/$(KIND)" && sha256sum -- *.whl > SHA256SUMS
	@echo "dist/wheelhouse/$(KIND): pip install --no-index --find-links . 'covidctnet[serve]'"

wheel: install ## Build the wheel into dist/
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation -o dist . >/dev/null
	@ls dist/*.whl

clean: ## Remove what was built, the virtual environment too; runs and results stay
	rm -rf $(VENV) build dist *.egg-info docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
