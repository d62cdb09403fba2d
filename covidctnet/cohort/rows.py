"""The studies of splits.json as its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from covidctnet.classes import Classes
from covidctnet.cohort.members import Member, Refused

__all__ = ["ASSIGNMENT", "member_from", "member_row", "refused_from", "refused_row"]

# What the digest of splits is over.
ASSIGNMENT = ("study", "patient", "label", "split")


def member_row(member: Member) -> dict[str, Any]:
    """Plain values of a study, ready for JSON."""
    known = {
        "site": member.site,
        "content": member.content,
        "series": list(member.series),
        "asked": member.is_requested,
        "host": member.host,
        "traits": dict(member.traits),
    }
    return {
        "study": member.study,
        "patient": member.patient,
        "label": member.label.title,
        "split": str(member.split),
        **{name: value for name, value in known.items() if value},
    }


def member_from(row: Mapping[str, Any], classes: Classes) -> Member:
    """The study that `member_row` gave.

    Raises:
        KeyError, CohortError: If it gave it not.
    """
    return Member(
        row["study"],
        row["patient"],
        classes.parse(row["label"]),
        row["split"],
        row.get("site"),
        row.get("content", ""),
        tuple(row.get("series", ())),
        bool(row.get("asked", False)),
        row.get("host", ""),
        tuple((str(name), str(text)) for name, text in row.get("traits", {}).items()),
    )


def refused_row(refused: Refused) -> dict[str, Any]:
    """Plain values of a study that could not be used, ready for JSON."""
    row = asdict(refused) | {"label": refused.label.title, "asked": refused.is_requested}
    return {k: v for k, v in row.items() if v and k != "is_requested"}


def refused_from(row: Mapping[str, Any], classes: Classes) -> Refused:
    """The study that `refused_row` gave.

    Raises:
        KeyError, CohortError: If it gave it not.
    """
    return Refused(
        row["study"],
        row["patient"],
        classes.parse(row["label"]),
        row["code"],
        row.get("split"),
        row.get("site"),
        bool(row.get("asked", False)),
    )
