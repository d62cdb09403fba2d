"""What the paper of a system reports, next to our figures; intervals come from its counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from covidctnet.evaluation.intervals import Estimate, wilson
from covidctnet.published import Count, PublishedFigures

__all__ = ["COUNTED", "published_rows"]

# By the name of a count, its column.
COUNTED: Mapping[str, str] = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "ppv": "PPV",
    "npv": "NPV",
}


def published_rows(
    published: Sequence[PublishedFigures],
) -> Iterator[tuple[str, dict[str, Estimate]]]:
    """A row for each test of the paper.

    Args:
        published: Of the system.

    Yields:
        The name of the test, with its unit and what is to be known of it, and by the names of
        `COUNTED` the share with Wilson's interval.
    """
    for one in published:
        is_reconstructed = any(count.reconstructed for count in one.counts.values())
        printed = ", ".join(f"{_plain(name)} {value:g}" for name, value in one.figures.items())
        parts = [
            f"by {one.unit}",
            "counts worked out from printed rates" if is_reconstructed else "",
            f"printed: {printed}" if printed else "",
        ]
        name = f"{one.source}: {one.title} ({'; '.join(filter(None, parts))})"
        yield name, {key: _interval(count) for key, count in one.counts.items()}


def _interval(count: Count) -> Estimate:
    return wilson(count.found, count.of)


def _plain(name: str) -> str:
    return "AUC" if name == "auc" else name.replace("_", " ").replace("auc", "AUC")
