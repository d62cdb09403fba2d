"""What Xividocx reports: accuracy on sixteen validation pictures, which also chose the network.

Source: the notebooks of td-ct/Xidivocx. The pictures are of children, and no test is reported.
"""

from __future__ import annotations

from types import MappingProxyType

from covidctnet.published import Count, PublishedFigures

__all__ = ["PUBLISHED"]

_SOURCE = "Xividocx 2020, notebooks"


def _row(title: str, right: int) -> PublishedFigures:
    counts = MappingProxyType({"accuracy": Count(right, 16)})
    note = "8 pictures a class, looked at after every epoch; patients are not known."
    return PublishedFigures(title, _SOURCE, "picture", counts, note=note)


PUBLISHED: tuple[PublishedFigures, ...] = (
    _row("validation, hackathon version, worst epoch", 13),
    _row("validation, hackathon version, best epoch", 15),
    _row("validation, last version", 16),
)
