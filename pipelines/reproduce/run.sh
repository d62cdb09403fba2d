#!/usr/bin/env bash
# Every stage on phantoms, from nothing to the report: 60 patients of each class and 30 Controls
# more for the denoiser, over seven scanners, then patients held back: of the same scanners and of
# two that nobody was trained on. A night on two cores, an hour on a GPU. Started again, it goes on
# where it was.
#
# PATIENTS, CONTROL_PATIENTS, HELD_BACK (of each class) and PRESET make it smaller or larger.
#
# usage: pipelines/reproduce/run.sh COVIDCTNET FOLDER
set -euo pipefail
covidctnet=$1
runs=$2
patients=${PATIENTS:-60}
controls=${CONTROL_PATIENTS:-90}
held_back=${HELD_BACK:-20}
preset=${PRESET:-compact}
# Flags for smaller phantoms, such as "--matrix 256 --spacing-mm 5"
read -r -a shape <<< "${SHAPE:-}"
step() { printf '\n== %s\n' "$1"; }

step "1/6 draw the patients to learn from (phantoms)"
"$covidctnet" phantom -o "$runs/phantoms" --controls "$controls" --patients "$patients" --seed 0 \
    "${shape[@]}"

step "2/6 draw the patients held back: known scanners, and scanners that are new"
known='[amber, birch, cobalt, dune, ember, fjord, granite]'
new='[unseen-a, unseen-b]'
"$covidctnet" phantom -o "$runs/held-back/known" --patients "$held_back" --seed 1000 \
    --scanners "$known" "${shape[@]}"
"$covidctnet" phantom -o "$runs/held-back/new" --patients "$held_back" --seed 2000 \
    --scanners "$new" "${shape[@]}"

step "3/6 preprocess: read, resample to 1 mm, find the lungs, split by patient"
"$covidctnet" preprocess "$runs/phantoms" -o "$runs/work" --preset "$preset"

step "4/6 train the denoiser on the Controls set aside for it"
"$covidctnet" train-denoiser --work "$runs/work" --preset "$preset" --ckpt_path last

step "5/6 train the classifier on the residuals of the frozen denoiser"
"$covidctnet" train-classifier --work "$runs/work" --preset "$preset" --ckpt_path last

step "6/6 evaluate on the patients held back"
"$covidctnet" evaluate --data "$runs/held-back/known" "$runs/held-back/new" \
    --weights "$runs/work/weights" -o "$runs/report"

step "done"
echo "The report    $runs/report/index.html"
echo "The card      $runs/report/model-card.md"
