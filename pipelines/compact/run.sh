#!/usr/bin/env bash
# Makes weights/compact, and evaluates them. Some six hours on two cores; every step goes on where it
# was interrupted.
#
# CONTROLS is an archive of real Control scans of three sites or more, with a cohort.csv that names
# them (column site). Its ATTRIBUTION.txt, if there is one, names whom their licence wants named.
# STRANGERS is a labelled archive of real patients that must teach nothing (split: test in its
# cohort.csv); it may be left out.
#
# usage: pipelines/compact/run.sh COVIDCTNET PYTHON FOLDER CONTROLS [STRANGERS]
set -euo pipefail
covidctnet=$1
python=$2
runs=$3
controls=${4:-}
strangers=${5:-}
preset=$(dirname "$0")
if [ -z "$controls" ]; then
    echo "expected an archive of real Controls, got none. Call make compact CONTROLS=FOLDER" >&2
    exit 2
fi

"$covidctnet" phantom -o "$runs/phantoms" --controls 60 --patients 40 --seed 0
archives=("$controls" "$runs/phantoms")
if [ -n "$strangers" ]; then
    archives+=("$strangers")
fi
named=(--licence Apache-2.0)
if [ -f "$controls/ATTRIBUTION.txt" ]; then
    named+=(--attribution "$(cat "$controls/ATTRIBUTION.txt")")
fi
# 3: some studies were refused, and named in refused.csv.
"$covidctnet" preprocess "${archives[@]}" -o "$runs/work" --preset compact || test $? -eq 3
"$covidctnet" cross-fit "$runs/work" --preset compact --device cpu "${named[@]}"
"$python" -m pipelines.strangers.run --work "$runs/work" --settings "$preset/cross-fit.yaml" \
    --output "$runs/strangers.md" --table "$runs/strangers.csv"

"$covidctnet" phantom -o "$runs/held-back" --patients 10 --seed 1000 \
    --scanners unseen-a unseen-b
"$covidctnet" phantom -o "$runs/held-back-known" --patients 7 --seed 2000
"$covidctnet" evaluate --data "$runs/held-back" "$runs/held-back-known" \
    --weights "$runs/work/cross-fit/all/weights" -o "$runs/evaluation"

echo "The weights are in $runs/work/cross-fit/all/weights; ship them with:"
echo "  cp -r $runs/work/cross-fit/all/weights/* weights/compact/"
echo "  cp $runs/evaluation/evaluation.md docs/measured/compact.md"
echo "  cp $runs/evaluation/model-card.md docs/measured/compact/"
echo "  cp $runs/evaluation/index.html docs/measured/compact/evaluation.html"
echo "  cp $runs/strangers.md docs/measured/strangers.md"
