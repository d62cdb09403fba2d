"""The card of weights for people: what the folder itself tells, before any evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidctnet.weights.thresholds import points_of, thresholds_of

__all__ = [
    "MODEL_CARD",
    "NOT_IN_CARD",
    "NOT_STATED",
    "command_words",
    "data_words",
    "stages_of",
    "weights_model_card",
]

MODEL_CARD = "model-card.md"
NOT_IN_CARD = "the card of the weights does not tell"
NOT_STATED = "not stated"
"""Licence of weights whose owner has stated none."""


def weights_model_card(card: Mapping[str, Any], *, digest: str, caveat: str) -> str:
    """The model card that travels in a folder of weights, in Markdown.

    Args:
        card: As `covidctnet.weights.card.read_card` gives it.
        digest: Of the weights and their settings.
        caveat: What must be said with every answer; may be empty.
    """
    training = stages_of(card)
    points = ", ".join(f"{name} {value:.3g}" for name, value in thresholds_of(card).items())
    chosen = points_of(card)
    figures = [
        f"{stage}: " + ", ".join(f"{name} {value}" for name, value in sorted(metrics.items()))
        for stage, metrics in card.get("metrics", {}).items()
        if isinstance(metrics, Mapping)
    ]
    parts = [
        "# Model card",
        "**Research use only. Not a medical device.**",
        f"System {card.get('system', '')}, weights {digest}. Classes: "
        f"{', '.join(map(str, card['classes']))}. Networks: "
        f"{', '.join(sorted(card['architecture'])) or NOT_IN_CARD}.",
        f"Licence: {card.get('licence') or NOT_STATED}.",
        *([f"**{caveat}**"] if caveat else []),
        "## Training data\n\n" + data_words(training),
        "## Training\n\n" + command_words(training),
        "## Thresholds\n\n"
        + (
            f"Chosen on {chosen.positives} + {chosen.negatives} {chosen.chosen_on}, with "
            f"{_target(card)} and without: {points}."
            if chosen
            else "None was chosen."
        ),
        "## Figures of the training\n\n"
        + (_bullets(figures) if figures else f"{NOT_IN_CARD.capitalize()}.")
        + "\n\nThey chose the weights, so they flatter them. `covidctnet evaluate` measures on "
        "patients held back and writes a model card with the figures.",
    ]
    return "\n\n".join(parts) + "\n"


def _target(card: Mapping[str, Any]) -> str:
    """The class that operating points are of: the first that is not the normal one."""
    normal = card.get("normal", "Control")
    return next(str(title) for title in card["classes"] if title != normal)


def stages_of(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the card of weights tells of every stage of training."""
    return [_stage(stage, record) for stage, record in card.get("training", {}).items()]


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


def data_words(training: Sequence[Mapping[str, Any]]) -> str:
    """Studies, sites and whom to name, stage by stage; of `stages_of`."""
    if not training:
        return f"What they were trained on, {NOT_IN_CARD}."
    lines = []
    for one in training:
        kinds = one["studies_by_kind"] or {}
        counts = ", ".join(f"{n if n is not None else '?'} {kind}" for kind, n in kinds.items())
        sites = f" Sites: {', '.join(one['sites'])}." if one["sites"] else ""
        thanks = f" Attribution: {one['attribution']}" if one["attribution"] else ""
        lines.append(
            f"{one['stage']}: {f'{counts} (studies)' if counts else NOT_IN_CARD}.{sites}{thanks}"
        )
    return _bullets(lines)


def command_words(training: Sequence[Mapping[str, Any]]) -> str:
    """The commands of the training; of `stages_of`."""
    commands = [one["command"] for one in training if one["command"]]
    if not commands:
        return f"By which commands, {NOT_IN_CARD}."
    return "```bash\n" + "\n".join(commands) + "\n```"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
