#!/usr/bin/env bash
# The whole chain on synthetic patients (phantoms), small enough for a laptop: a cohort, network
# input, a denoiser, a classifier, their evaluation, and the classification of new patients into a
# page to look at. Every network in it is a toy; the figures mean nothing beyond "it runs".
#
# usage: pipelines/demo/run.sh COVIDCTNET FOLDER
set -euo pipefail
covidctnet=$1
runs=$2
step() { printf '\n== %s\n' "$1"; }

rm -rf "$runs"
mkdir -p "$runs"

step "1/7 write a cohort of phantoms as DICOM"
"$covidctnet" phantom -o "$runs/cohort" --controls 14 --patients 8 --seed 1 \
    --matrix 256 --spacing-mm 5

step "2/7 preprocess: read, resample to 1 mm, find the lungs, split by patient"
"$covidctnet" preprocess "$runs/cohort" -o "$runs/work" --preset demo

step "3/7 train the denoiser on the Controls set aside for it"
"$covidctnet" train-denoiser --work "$runs/work" --preset demo

step "4/7 train the classifier on the residuals of the frozen denoiser"
"$covidctnet" train-classifier --work "$runs/work" --preset demo

step "5/7 evaluate on the patients held back"
"$covidctnet" evaluate --work "$runs/work" --weights "$runs/work/weights" -o "$runs/evaluation"

step "6/7 classify new phantoms"
"$covidctnet" phantom -o "$runs/new" --patients 2 --seed 2 --scanners '[unseen-a]' \
    --matrix 256 --spacing-mm 3
# Somebody else's files lie in every real folder: they are named, and stop nothing.
mkdir -p "$runs/inbox"
mv "$runs"/new/{Control,Covid-19,CAP}/* "$runs/inbox/"
printf 'not a scan\n' > "$runs/inbox/notes.txt"
"$covidctnet" classify "$runs/inbox" -o "$runs/results" --weights "$runs/work/weights"

step "7/7 the same patients, by the weights that come with the package"
"$covidctnet" classify "$runs/inbox" -o "$runs/results-compact"

step "done"
echo "Look at   $runs/results-compact/index.html (shipped weights)"
echo "and at    $runs/results/index.html (the toy networks just trained)"
echo "Figures   $runs/evaluation/evaluation.md (of toy networks, on phantoms)"
echo "Weights   $runs/work/weights"
