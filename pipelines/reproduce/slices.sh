#!/usr/bin/env bash
# A system that reads slices, on phantoms, from nothing to one page: patients of all three classes
# with the truth of their lesions, training, answers for patients held back, and their evaluation.
# A patient held back is of a scanner that is known, or of one that nobody was trained on. Started
# again, it goes on where it was.
#
# PATIENTS and HELD_BACK (of each class), SLICES (of a scan, for the ResNet-50), EVERY (each so
# many-th slice teaches the U-Net), PRESET and FLAGS (of the training) make it smaller or larger.
#
# usage: pipelines/reproduce/slices.sh COVIDCTNET FOLDER SYSTEM
set -euo pipefail
covidctnet=$1
runs=$2
system=$3
patients=${PATIENTS:-30}
held_back=${HELD_BACK:-10}
preset=${PRESET:-tiny}
# Flags for smaller phantoms, such as "--matrix 256 --spacing-mm 5", and of the training
read -r -a shape <<< "${SHAPE:-}"
read -r -a flags <<< "${FLAGS:-}"
step() { printf '\n== %s\n' "$1"; }

case $system in
resnet50_slices)
    stage=classifier
    what="the ResNet-50 system, which answers a scan by the mean of its slices"
    flags=("--data.slices=${SLICES:-16}" "${flags[@]}")
    ;;
deeptek_unet)
    stage=segmenter
    what="the U-Net, which draws lesions and answers a scan by its longest run of positive slices"
    flags=("--data.every=${EVERY:-2}" "${flags[@]}")
    ;;
*)
    echo "expected resnet50_slices or deeptek_unet as system, got '$system'" >&2
    exit 2
    ;;
esac

step "$system on phantoms: what follows trains $what"
echo "$patients patients of each class teach it; $held_back of each are held back, and as many of"
echo "other scanners. All are phantoms (synthetic patients): the figures say that the system runs"
echo "and learns, and nothing about patients."

step "1/5 draw the patients to learn from (phantoms)"
"$covidctnet" phantom -o "$runs/phantoms" --patients "$patients" --seed 0 "${shape[@]}"

step "2/5 draw the patients held back (phantoms): known scanners, and scanners that are new"
"$covidctnet" phantom -o "$runs/held-back/known" --patients "$held_back" --seed 1000 "${shape[@]}"
"$covidctnet" phantom -o "$runs/held-back/new" --patients "$held_back" --seed 2000 \
    --scanners unseen-a unseen-b "${shape[@]}"

step "3/5 train the $stage of $system (preset $preset)"
"$covidctnet" train "$system" "$stage" --preset "$preset" --work "$runs/work" \
    --data.scans "$runs/phantoms" --ckpt_path last "${flags[@]}"

step "4/5 answer the patients held back of new scanners"
"$covidctnet" classify "$runs"/held-back/new/{Control,Covid-19,CAP} --weights "$runs/work/weights" \
    -o "$runs/results"

step "5/5 evaluate on all patients held back"
"$covidctnet" evaluate --data "$runs/held-back/known" "$runs/held-back/new" \
    --weights "$runs/work/weights" -o "$runs/report"

step "done"
echo "The page      $runs/report/index.html"
echo "The answers   $runs/results/index.html"
echo "The card      $runs/report/model-card.md"
