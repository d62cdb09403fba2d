"""The model card: what weights are for, what made them, and what they reach, all from the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.output import as_plain, markdown
from covidctnet.evaluation.use import operating_words
from covidctnet.report.evaluation_words import INTENDED_USE, LIMITS, NOT_FOR, NOTICE

__all__ = ["model_card"]

_NOT_IN_CARD = "the card of the weights does not tell"


def model_card(
    assessment: Assessment,
    weights_card: Mapping[str, Any],
    *,
    name: str,
    digest: str,
    trained_on: str,
    caveat: str,
) -> tuple[str, dict[str, Any]]:
    """Make the model card of weights that were evaluated.

    Args:
        assessment: The evaluation.
        weights_card: ``card.json`` of the weights.
        name: Of the weights.
        digest: Of the weights and their settings.
        trained_on: What they were trained on, in words.
        caveat: What must be said with every answer; may be empty.

    Returns:
        Markdown, and the same for JSON; nothing in them but what the arguments tell.

    Source: the headings are those of Mitchell et al., "Model cards for model reporting", 2019.
    """
    training = [_stage(stage, record) for stage, record in weights_card.get("training", {}).items()]
    plain: dict[str, Any] = {
        "name": name,
        "digest": digest,
        "notice": NOTICE,
        "caveat": caveat,
        "seen": trained_on,
        "intended_use": list(INTENDED_USE),
        "not_for": list(NOT_FOR),
        "architecture": dict(weights_card.get("architecture", {})),
        "preprocessing": dict(weights_card.get("preprocessing", {})),
        "training": training,
        "evaluation": as_plain(assessment),
        "limits": dict(LIMITS),
        "licence": weights_card.get("licence"),
    }
    parts = [
        f"# Model card: {name}",
        f"**{NOTICE}**",
        *([f"**{caveat}**"] if caveat else []),
        f"Weights `{name}` ({digest}), which have seen {trained_on}. "
        f"Networks: {', '.join(sorted(plain['architecture'])) or _NOT_IN_CARD}. "
        f"Licence: {plain['licence'] or _NOT_IN_CARD}.",
        "## Intended use\n\n" + _bullets(INTENDED_USE),
        "## Not for\n\n" + _bullets(NOT_FOR),
        "## Training data\n\n" + _data(training),
        "## Training\n\n" + _commands(training),
        "## Thresholds\n\n" + operating_words(assessment.use),
        "## Evaluation\n\n" + _evaluated(assessment),
        markdown(assessment),
        "## Limits\n\n" + _bullets(f"{title}: {words}" for title, words in LIMITS),
    ]
    return "\n\n".join(parts) + "\n", plain


def _stage(stage: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the card of the weights tells of one stage of training."""
    data = record.get("data", {})
    kinds = data.get("studies_by_kind")
    if kinds is None and "kind" in data:  # cards that knew one kind only
        kinds = {data["kind"]: data.get("studies")}
    return {
        "stage": stage,
        "command": record.get("command"),
        "studies_by_kind": kinds,
        "patients": data.get("patients"),
        "sites": data.get("sites"),
        "attribution": data.get("attribution"),
    }


def _data(training: Sequence[Mapping[str, Any]]) -> str:
    if not training:
        return f"What they were trained on, {_NOT_IN_CARD}."
    lines = []
    for one in training:
        kinds = one["studies_by_kind"] or {}
        counts = ", ".join(f"{n if n is not None else '?'} {kind}" for kind, n in kinds.items())
        sites = f" Sites: {', '.join(one['sites'])}." if one["sites"] else ""
        thanks = f" Attribution: {one['attribution']}" if one["attribution"] else ""
        lines.append(
            f"{one['stage']}: {f'{counts} (studies)' if counts else _NOT_IN_CARD}.{sites}{thanks}"
        )
    return _bullets(lines)


def _commands(training: Sequence[Mapping[str, Any]]) -> str:
    commands = [one["command"] for one in training if one["command"]]
    if not commands:
        return f"By which commands, {_NOT_IN_CARD}."
    return "```bash\n" + "\n".join(commands) + "\n```"


def _evaluated(assessment: Assessment) -> str:
    counts = ", ".join(f"{n} {label}" for label, n in assessment.answered.items())
    return (
        f"{assessment.n} studies with an answer ({counts}), {len(assessment.failures)} without. "
        "Figures with 95 % intervals: Wilson for proportions, Newcombe for the AUC of a class, "
        "else a bootstrap over patients."
    )


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)
