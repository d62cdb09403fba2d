#!/usr/bin/env bash
# Makes weights/compact anew, and evaluates them on phantoms held back: other seeds, on scanners
# that no training patient saw and on those of the training. Some three hours on two cores; every
# step goes on where it was interrupted. The denoiser learns in two steps, without filled lobes and
# then with them; docs/explanation/decisions.md tells what they buy.
#
# Without CONTROLS, everything is learned from phantoms. CONTROLS is an archive of real Control
# scans; its cohort.csv puts all of them into the split denoiser_train, and its ATTRIBUTION.txt, if
# there is one, names whom their licence wants named. The denoiser then learns from them as well,
# and the classifier from lesions painted into their lungs.
#
# usage: pipelines/compact/run.sh COVIDCTNET FOLDER [CONTROLS]
set -euo pipefail
covidctnet=$1
runs=$2
controls=${3:-}

"$covidctnet" phantom -o "$runs/phantoms" --controls 80 --patients 45 --seed 0
archives=("$runs/phantoms")
named=()
if [ -n "$controls" ]; then
    "$covidctnet" paint "$controls" -o "$runs/painted" --copies 6 --seed 0
    archives+=("$controls" "$runs/painted")
    if [ -f "$controls/ATTRIBUTION.txt" ]; then
        named=(--attribution "$(cat "$controls/ATTRIBUTION.txt")")
    fi
fi
"$covidctnet" preprocess "${archives[@]}" -o "$runs/work" --preset compact
if [ ! -d "$runs/without-lobes" ]; then
    "$covidctnet" train-denoiser --work "$runs/work" --preset compact --ckpt_path last \
        --model.noise.lobes 0 "${named[@]}"
    rm -rf "$runs/without-lobes.part"
    cp -r "$runs/work/weights" "$runs/without-lobes.part"
    # Or the second step would go on from the checkpoint of the first.
    rm -rf "$runs/work/denoiser"
    mv "$runs/without-lobes.part" "$runs/without-lobes"
fi
"$covidctnet" train-denoiser --work "$runs/work" --preset compact --ckpt_path last \
    --init "$runs/without-lobes" --model.learning_rate 5.0e-4 --trainer.max_epochs 4 "${named[@]}"
"$covidctnet" train-classifier --work "$runs/work" --preset compact --ckpt_path last "${named[@]}"
"$covidctnet" phantom -o "$runs/held-back" --patients 10 --seed 1000 \
    --scanners '[unseen-a, unseen-b]'
"$covidctnet" phantom -o "$runs/held-back-known" --patients 7 --seed 2000
"$covidctnet" evaluate --data "$runs/held-back" "$runs/held-back-known" \
    --weights "$runs/work/weights" -o "$runs/evaluation"

echo "The weights are in $runs/work/weights; ship them with:"
echo "  cp -r $runs/work/weights/* weights/compact/"
echo "  cp $runs/evaluation/evaluation.md docs/measured/compact.md"
echo "  cp $runs/evaluation/model-card.md docs/measured/compact/"
echo "  cp $runs/evaluation/index.html docs/measured/compact/evaluation.html"
