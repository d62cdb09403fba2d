r"""Out-of-distribution scores of groups of scans, also of those that the gate would refuse.

    python -m pipelines.experiments.out_of_distribution.run "real chests=/scans" \
        --predictions phantoms=FILE.csv
    python -m pipelines.experiments.out_of_distribution.run "real chests=/scans" \
        --parts bellies=0:0.2

The score is `covidctnet.Prediction.ood_score`: above 1 a scan is flagged `out_of_distribution`.
A scan that is no chest is refused before it gets a score; here it gets one all the same, to show
what the score alone would see.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from covidctnet.errors import StudyError, UsageError
from covidctnet.evaluation.intervals import wilson
from covidctnet.io import find_studies, read_study
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from pipelines.experiments.command import tell


@dataclass(frozen=True)
class Scored:
    """One scan.

    Attributes:
        group: Its group.
        score: Over the limit.
        refused: Whether the gate refuses it.
        feature: That deviates most; empty where it is not known.
    """

    group: str
    score: float
    refused: bool = False
    feature: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Score every study of every group and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", help="NAME=FOLDER")
    parser.add_argument(
        "--predictions",
        action="append",
        default=[],
        help="NAME=FILE: predictions.csv of an evaluation with these weights, a group a site",
    )
    parser.add_argument(
        "--parts",
        nargs="*",
        default=[],
        help="NAME=FIRST:LAST: each group once more, cut to these shares of its slices, feet first",
    )
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        model = CovidCTNet.load(options.weights)
        if model.ood_detector is None:
            raise UsageError(
                "expected weights with an out-of-distribution detector, got none. Train "
                "the classifier on eight patients or more."
            )
        scored = [row for each in options.predictions for row in from_predictions(*_named(each))]
        for each in options.groups:
            name, folder = _named(each)
            scored += score(model, name, folder, dict(map(_part, options.parts)))
        return render(scored, model)

    return tell(make, options.output)


def score(
    model: CovidCTNet,
    group: str,
    folder: Path,
    parts: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> list[Scored]:
    """Every study below a folder that can be read as a volume, whole and in parts of its slices."""
    shares = {group: (0.0, 1.0), **{f"{group}: {part}": ends for part, ends in parts.items()}}
    out = []
    for study in find_studies(folder):
        try:
            volume = read_study(study)
        except StudyError as error:
            sys.stderr.write(f"study {study.id} of {group}: {error.code}\n")
            continue
        for name, ends in shares.items():
            first, last = (round(end * len(volume.array)) for end in ends)
            try:
                scan = model.preprocess(volume.then("cut", volume.array[first:last]))
            except StudyError as error:
                sys.stderr.write(f"study {study.id} of {name}: {error.code}\n")
                continue
            ood = model.score_appearance(scan.unit, scan.lungs)
            assert ood is not None
            out.append(Scored(name, ood.score, bool(scan.chest.fault), ood.feature))
    return out


def from_predictions(group: str, file: Path) -> list[Scored]:
    """Those that an evaluation has scored, a group a site."""
    with file.open(newline="", encoding="utf-8") as table:
        return [
            Scored(f"{group}, {row['site']}" if row["site"] else group, float(score))
            for row in csv.DictReader(table)
            # Tables of before call it distance.
            if (score := row.get("ood_score") or row.get("distance"))
        ]


def render(scored: Sequence[Scored], model: CovidCTNet) -> str:
    """A row a group, in the order in which they came."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        groups[one.group].append(one)
    lines = [
        "# Scans out of distribution",
        "",
        "Made by `python -m pipelines.experiments.out_of_distribution.run`; weights "
        f"{model.weights_digest}. The score is over its limit; above 1 a scan is flagged. "
        "Intervals are Wilson's, 95 %.",
        "",
        "| group | scans | refused by the gate | score: median | range | above 1 | "
        "most deviating feature |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, scans in groups.items():
        scores = [one.score for one in scans]
        refused = sum(one.refused for one in scans)
        share = wilson(sum(distance > 1 for distance in scores), len(scores))
        lines.append(
            f"| {name} | {len(scans)} | {refused or ''} | {statistics.median(scores):.2f} | "
            f"{min(scores):.2f} to {max(scores):.2f} | {share.value:.2f} "
            f"({share.low:.2f}-{share.high:.2f}) | {_commonest(scans)} |"
        )
    return "\n".join(lines) + "\n"


def _commonest(scans: Sequence[Scored]) -> str:
    """The commonest most deviating features, of those above the limit."""
    counts = Counter(one.feature for one in scans if one.score > 1 and one.feature)
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common(2))


def _part(text: str) -> tuple[str, tuple[float, float]]:
    try:
        name, _, ends = text.partition("=")
        first, last = map(float, ends.split(":"))
    except ValueError:
        first, last = 1.0, 0.0
    if not 0 <= first < last <= 1:
        raise UsageError(f"expected NAME=FIRST:LAST with shares from 0 to 1, got {text!r}")
    return name, (first, last)


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not Path(path).exists():
        raise UsageError(f"expected NAME=PATH of something that exists, got {text!r}")
    return name, Path(path)


if __name__ == "__main__":
    sys.exit(main())
