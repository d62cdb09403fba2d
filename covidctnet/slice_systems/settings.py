"""Settings of systems that read slices, as their cards state them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from covidctnet.errors import UsageError

__all__ = ["read_settings"]

S = TypeVar("S")


def read_settings(
    kind: type[S],
    entry: Mapping[str, Any],
    parts: Mapping[str, Callable[[Any], object]] | None = None,
) -> S:
    """The settings that a card states.

    Args:
        kind: A dataclass.
        entry: Of the card, by the names of its fields.
        parts: What makes the value of a field that is no plain one; such a field must be there.

    Raises:
        UsageError: If they are none.
    """
    try:
        made = {name: make(entry[name]) for name, make in (parts or {}).items()}
        return kind(**{**entry, **made})
    except (TypeError, KeyError, AttributeError) as error:
        names = ", ".join(field.name for field in fields(kind))  # type: ignore[arg-type]
        raise UsageError(f"expected {names} as settings, {error!s:.200}") from None
