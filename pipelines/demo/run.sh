#!/usr/bin/env bash
# First a page made by the weights that come with the package, on three phantoms (synthetic
# patients). Then the whole chain, small enough for a laptop: a cohort of phantoms, network input, a
# denoiser, a classifier, their evaluation, and the same three phantoms classified by them. Every
# network that is trained here is a toy; the figures mean nothing beyond "it runs".
#
# usage: pipelines/demo/run.sh COVIDCTNET FOLDER
set -euo pipefail
covidctnet=$1
runs=$2
step() { printf '\n== [%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"; }

rm -rf "$runs"
mkdir -p "$runs"

step "1/8 draw three phantoms (synthetic patients) as DICOM, one of each class"
"$covidctnet" phantom -o "$runs/new" --patients 1 --seed 2 --scanners unseen-a \
    --matrix 256 --spacing-mm 3
# Somebody else's files lie in every real folder: they are named, and stop nothing.
mkdir -p "$runs/inbox"
mv "$runs"/new/{Control,Covid-19,CAP}/* "$runs/inbox/"
# What is left of the cohort, its table above all, names scans that are there no more.
rm -r "$runs/new"
printf 'not a scan\n' > "$runs/inbox/notes.txt"

step "2/8 classify them with the weights that come with the package"
"$covidctnet" classify "$runs/inbox" -o "$runs/results-compact"

step "a first page is there: open $(cd "$runs" && pwd)/results-compact/index.html"
cat <<'WORDS'
What follows trains two toy networks on phantoms and evaluates them. A line at least every half
minute says how far it is. Ctrl-C ends it and keeps the page.
WORDS

step "3/8 write a cohort of 30 phantoms as DICOM"
"$covidctnet" phantom -o "$runs/cohort" --controls 14 --patients 8 --seed 1 \
    --matrix 256 --spacing-mm 5

step "4/8 preprocess: read, resample to 1 mm, find the lungs, split by patient"
"$covidctnet" preprocess "$runs/cohort" -o "$runs/work" --preset demo

step "5/8 train the denoiser on the Controls set aside for it"
"$covidctnet" train-denoiser --work "$runs/work" --preset demo

step "6/8 train the classifier on the residuals of the frozen denoiser"
"$covidctnet" train-classifier --work "$runs/work" --preset demo

step "7/8 evaluate on the phantoms held back"
"$covidctnet" evaluate --work "$runs/work" --weights "$runs/work/weights" -o "$runs/evaluation"

step "8/8 classify the three phantoms of the first step with the networks just trained"
"$covidctnet" classify "$runs/inbox" -o "$runs/results" --weights "$runs/work/weights"

step "done"
echo "Look at   $runs/results-compact/index.html (shipped weights)"
echo "and at    $runs/results/index.html (the toy networks just trained)"
echo "Figures   $runs/evaluation/index.html (of toy networks, on phantoms)"
echo "Weights   $runs/work/weights"
