"""Reading radiographs in a child process: decoders are C code, and files come from anywhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Self

from covidctnet.evidence import Finding
from covidctnet.io.child import bytes_of, packed, unpacked
from covidctnet.io.discover import Study
from covidctnet.radiograph.read import Radiograph, read_radiograph
from covidctnet.volume import source_of
from covidctnet.workers.isolate import Child, Limits, Reply

__all__ = ["RadiographChild"]


class RadiographChild:
    """Reads radiographs in a child process, one after the other.

    See `covidctnet.workers.isolate.Child`.

    Args:
        limits: What a radiograph may cost.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._child = Child(f"{__name__}:work", limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, study: Study) -> Radiograph:
        """`covidctnet.radiograph.read.read_radiograph`, elsewhere.

        Raises:
            StudyError: As `read_radiograph`.
            ChildError: If the child died or hung.
        """
        reply, pixels = self._child.ask({"study": packed(study)}, files_bytes=bytes_of(study))
        assert pixels is not None
        spacing = reply["spacing_mm"]
        return Radiograph(
            pixels,
            reply["format"],
            source_of(reply["source"]),
            tuple(Finding(**one) for one in reply["findings"]),
            None if spacing is None else (float(spacing[0]), float(spacing[1])),
        )

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._child.close()


def work(study: dict[str, Any]) -> Reply:
    """What the child of `RadiographChild` does."""
    found = read_radiograph(unpacked(study))
    reply = {
        "format": found.format,
        "source": asdict(found.source),
        "findings": [asdict(one) for one in found.findings],
        "spacing_mm": found.spacing_mm,
    }
    return reply, found.pixels
