"""The model card: what weights are for, what made them, and what they reach, all from the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.output import as_plain, markdown
from covidctnet.evaluation.use import operating_words
from covidctnet.report.evaluation_words import INTENDED_USE, LIMITS, NOT_FOR, NOTICE
from covidctnet.weights.model_card import NOT_IN_CARD, command_words, data_words, stages_of

__all__ = ["model_card"]


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
    training = stages_of(weights_card)
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
        f"Networks: {', '.join(sorted(plain['architecture'])) or NOT_IN_CARD}. "
        f"Licence: {plain['licence'] or NOT_IN_CARD}.",
        "## Intended use\n\n" + _bullets(INTENDED_USE),
        "## Not for\n\n" + _bullets(NOT_FOR),
        "## Training data\n\n" + data_words(training),
        "## Training\n\n" + command_words(training),
        "## Thresholds\n\n" + operating_words(assessment.use),
        "## Evaluation\n\n" + _evaluated(assessment),
        markdown(assessment),
        "## Limits\n\n" + _bullets(f"{title}: {words}" for title, words in LIMITS),
    ]
    return "\n\n".join(parts) + "\n", plain


def _evaluated(assessment: Assessment) -> str:
    counts = ", ".join(f"{n} {label}" for label, n in assessment.answered.items())
    return (
        f"{assessment.n} studies with an answer ({counts}), {len(assessment.failures)} without. "
        "Figures with 95 % intervals: Wilson for proportions, Newcombe for the AUC of a class, "
        "else a bootstrap over patients."
    )


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)
