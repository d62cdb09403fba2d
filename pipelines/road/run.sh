#!/usr/bin/env bash
# The road of a researcher, once, on 36 phantoms (synthetic patients) of three hospitals: a flat
# export and a spreadsheet of labels become a cohort, networks, an internal and an external test, a
# comparison with readers, and a folder for a paper. Minutes on two cores. The networks are toys and
# the readers are drawn: the figures mean nothing beyond "it runs".
#
# usage: pipelines/road/run.sh COVIDCTNET PYTHON FOLDER
set -euo pipefail
covidctnet=$1
python=$2
runs=$3
# Flags for smaller phantoms and shorter trainings.
read -r -a shape <<< "${SHAPE:---matrix 256 --spacing-mm 5}"
read -r -a denoiser <<< "${DENOISER:---trainer.max_epochs 3}"
read -r -a classifier <<< "${CLASSIFIER:---trainer.max_epochs 12}"
step() { printf '\n== [%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"; }

rm -rf "$runs"
mkdir -p "$runs"

step "1/8 what a researcher has: an export, labels.xlsx, readers.csv (drawn)"
"$covidctnet" phantom -o "$runs/phantoms" --controls 16 --patients 10 --seed 5 \
    --scanners amber cobalt fjord "${shape[@]}"
"$python" -m pipelines.road.export "$runs/phantoms" "$runs/hospitals" --external fjord

step "2/8 cohort.csv, from the headers and the spreadsheet"
"$covidctnet" cohort "$runs/hospitals/export" --table "$runs/hospitals/labels.xlsx" \
    --map "Pneumonia=CAP" -o "$runs/cohort.csv"

step "3/8 preprocess, and divide by patient: Hospital C is the external test"
"$covidctnet" preprocess "$runs/cohort.csv" -o "$runs/work" --preset demo \
    --split.denoiser_controls 0.35 --split.validation 0.2 --split.test 0.45

step "4/8 train the denoiser"
"$covidctnet" train-denoiser --work "$runs/work" --preset demo "${denoiser[@]}"

step "5/8 train the classifier"
"$covidctnet" train-classifier --work "$runs/work" --preset demo "${classifier[@]}"

step "6/8 evaluate: the internal test, and the external one apart from it"
"$covidctnet" evaluate --work "$runs/work" --weights "$runs/work/weights" -o "$runs/work/report" \
    --name "Three hospitals (phantoms)"

step "7/8 the model and three readers on the external test"
"$covidctnet" compare "$runs/work/report/external/predictions.csv" \
    --readers "$runs/hospitals/readers.csv" -o "$runs/readers"

step "8/8 figures, tables, checklists, model card and weights"
"$covidctnet" paper "$runs/work/report" -o "$runs/paper" --weights "$runs/work/weights"
"$covidctnet" paper "$runs/readers" -o "$runs/paper-readers"

step "done"
echo "The paper's folder  $runs/paper/README.md, checklists.html"
echo "For reviewers       $runs/paper/evaluation/reviewers.html"
echo "The readers         $runs/readers/index.html"
