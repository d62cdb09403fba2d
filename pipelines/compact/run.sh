#!/usr/bin/env bash
# Makes weights/compact anew, from nothing but phantoms, and evaluates them on phantoms held back:
# other seeds, and scanners that no training patient saw. About two hours on two cores; every step
# goes on where it was interrupted.
#
# usage: pipelines/compact/run.sh COVIDCTNET FOLDER
set -euo pipefail
covidctnet=$1
runs=$2

"$covidctnet" phantom -o "$runs/phantoms" --controls 80 --patients 45 --seed 0
"$covidctnet" preprocess "$runs/phantoms" -o "$runs/work" --preset compact
"$covidctnet" train-denoiser --work "$runs/work" --preset compact
"$covidctnet" train-classifier --work "$runs/work" --preset compact
"$covidctnet" phantom -o "$runs/held-back" --patients 10 --seed 1000 \
    --scanners '[unseen-a, unseen-b]'
"$covidctnet" evaluate --data "$runs/held-back" --weights "$runs/work/weights" -o "$runs/evaluation"

echo "The weights are in $runs/work/weights; ship them with: cp $runs/work/weights/* weights/compact/"
