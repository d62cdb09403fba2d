"""What is kept of one study's answer: a line of the table, an entry of the JSON file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.evidence import Evidence, LesionVolume, evidence_from
from covidctnet.files import harmless, number_text
from covidctnet.io.archive import File
from covidctnet.report.evidence import Picture
from covidctnet.report.words import flag_words
from covidctnet.results import Failure, Prediction

__all__ = ["Record", "StudyLike", "columns", "file_stem_of", "labels_in", "record_of"]

# What the residual was drawn by before records had the window.
_FORMER_WINDOW_HU = (-1000.0, 400.0)


def labels_in(records: Iterable[Record]) -> tuple[Label, ...]:
    """Every class that some records tell apart, in order, each key once.

    A folder whose weights were changed for those of another system holds answers of both.
    """
    sets = dict.fromkeys(record.classes for record in records if record.probabilities)
    labels = {label.key: label for classes in sets or [CHEST_CT] for label in classes}
    return tuple(labels.values())


def columns(labels: Iterable[Label]) -> tuple[str, ...]:
    """Headers of the table of results.

    Args:
        labels: From `labels_in`.
    """
    return (
        "study",
        "source_path",
        "status",
        "code",
        "message",
        "label",
        *(f"p_{label.key}" for label in labels),
        "labels_left",
        "ood_score",
        "affected_lung",
        "lesion_ml",
        "seconds",
        "weights",
    )


class StudyLike(Protocol):
    """What a record needs to know of a study."""

    @property
    def id(self) -> str:
        """Short study id; unique among the studies of one run."""

    @property
    def path(self) -> Path:
        """Where it was found."""

    @property
    def files(self) -> tuple[File, ...]:
        """The files it is made of."""


@dataclass(frozen=True)
class Record:
    """One study's answer, as it is kept.

    Attributes:
        study: Short study id.
        source_path: Where the study was found; never shown on the page.
        fingerprint: Digest of its files' names, sizes and moments of change, from before they were
            read; see `covidctnet.io.fingerprint.fingerprint_of`.
        status: ``classified``, ``flagged``, ``abstained``, ``refused`` or ``failed``.
        code: Reason of a refusal or failure; the flags of an answer.
        message: One line for a person.
        shown_message: The same without file names, for the page.
        probabilities: By the key of the label; empty without an answer.
        labels_left: Keys of the labels that the promised coverage leaves open; see
            `Prediction.prediction_set`.
        ood_score: From the training data, over its limit; None when not known.
        evidence: As `Evidence.to_dict` tells it.
        flags: See `Prediction`.
        notes: What the reader and the stages did.
        seconds: Wall-clock seconds by stage, in the order they ran.
        weights: Digest of the weights and their settings.
        run: Key of the provenance this answer was made with.
        order: Place in the table, counted from the folder's first answer.
        answered: Moment of the answer, UTC, ISO 8601.
        slice_mm: Heights of the slices in the picture, in patient millimetres.
        picture: File name of the picture next to the record, or empty.
        kinds: Rows of the picture, from above.
        titles: Of the classes that were distinguished, in their order.
        normal: Title of the normal one.
        outputs: What was written beside it, by kind (``dicom``, ``nifti``): ``files`` below the
            results folder, or the ``code`` and ``message`` of why there are none.
        is_gone: Whether its study is gone, renamed or changed since. The record is kept for the
            case that the study comes back; it has no row.
    """

    study: str
    source_path: str
    fingerprint: str
    status: str
    code: str = ""
    message: str = ""
    shown_message: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    labels_left: tuple[str, ...] = ()
    ood_score: float | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    weights: str = ""
    run: str = ""
    order: int = 0
    answered: str = ""
    slice_mm: tuple[float, ...] = ()
    picture: str = ""
    kinds: tuple[str, ...] = ()
    titles: tuple[str, ...] = CHEST_CT.titles
    normal: str = CHEST_CT.normal
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    is_gone: bool = False

    @property
    def classes(self) -> Classes:
        """The classes that were distinguished."""
        classes = Classes(self.titles, self.normal)
        return CHEST_CT if classes == CHEST_CT else classes

    @property
    def label(self) -> Label | None:
        """The most probable label, or None without an answer."""
        if not self.probabilities:
            return None
        return max(self.classes, key=lambda label: self.probabilities[label.key])

    @property
    def restored(self) -> tuple[Evidence, ...]:
        """The evidence that needs no voxels."""
        return tuple(one for record in self.evidence if (one := evidence_from(record)) is not None)

    @property
    def output_files(self) -> tuple[str, ...]:
        """Names of all that was written beside it, below the results folder."""
        return tuple(_files_in(self.outputs))

    @property
    def total_seconds(self) -> float:
        """Seconds of all stages together."""
        return sum(self.seconds.values())

    @property
    def file_stem(self) -> str:
        """Name of the record's file, without its ending."""
        return file_stem_of(self.study)

    def to_row(self, labels: Iterable[Label]) -> tuple[str, ...]:
        """Cells of the table, in the order of `columns`, safe to open in a spreadsheet.

        Args:
            labels: From `labels_in`.
        """
        label, p = self.label, self.probabilities
        lesions = next((e for e in self.restored if isinstance(e, LesionVolume)), None)
        cells = (
            self.study,
            self.source_path,
            self.status,
            self.code,
            self.message,
            label.title if label is not None else "",
            *(f"{p[x.key]:.6f}" if x.key in p else "" for x in labels),
            "; ".join(x.title for x in self.classes if x.key in self.labels_left),
            number_text(self.ood_score),
            number_text(lesions.share if lesions and lesions.lung_ml else None),
            number_text(lesions.lesion_ml if lesions and lesions.lung_ml else None),
            number_text(self.total_seconds),
            self.weights,
        )
        return tuple(harmless(cell) for cell in cells)

    def to_json(self) -> dict[str, Any]:
        """A value that `json` writes and `from_json` reads back."""
        label = self.label
        return {**asdict(self), "label": label.title if label is not None else None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """The record that `to_json` made `value` of.

        Raises:
            TypeError, KeyError, ValueError: If it made it not.
        """
        # Records of before other classes than these three name none.
        value = {"titles": CHEST_CT.titles, "normal": CHEST_CT.normal, **value}
        value = {"is_gone": False, "outputs": {}, **value}
        if "ood_score" not in value:
            value["ood_score"] = value["distance"]
        if "evidence" not in value:
            value["evidence"] = _former_evidence(value)
        known = {f.name: value[f.name] for f in fields(cls)}
        for name in ("flags", "notes", "slice_mm", "labels_left", "kinds", "titles", "evidence"):
            known[name] = tuple(known[name])
        tuple(map(evidence_from, known["evidence"]))
        if not all(map(_is_below, _files_in(known["outputs"]))):
            raise ValueError("outputs beside the results folder")
        if known["probabilities"]:
            known["probabilities"] = {
                x.key: float(known["probabilities"][x.key])
                for x in Classes(known["titles"], known["normal"])
            }
        return cls(**known)


def record_of(
    study: StudyLike,
    outcome: Prediction | Failure,
    *,
    fingerprint: str,
    seconds: Mapping[str, float],
    weights: str,
    run: str,
    order: int,
    answered: str,
    picture: Picture | None,
    outputs: Mapping[str, Mapping[str, Any]] | None = None,
) -> Record:
    """The record of what came of a study."""
    common: dict[str, Any] = {
        "study": study.id,
        "source_path": str(study.path),
        "fingerprint": fingerprint,
        "status": outcome.status,
        "seconds": {stage: round(float(value), 4) for stage, value in seconds.items()},
        "weights": weights,
        "run": run,
        "order": order,
        "answered": answered,
    }
    if isinstance(outcome, Failure):
        message = _one_line(outcome.message)
        return Record(
            **common,
            code=outcome.code,
            message=message,
            shown_message=_without_file_names(message, study),
        )
    message = " ".join(flag_words(flag) for flag in outcome.flags)
    return Record(
        **common,
        code=" ".join(outcome.flags),
        message=message,
        shown_message=message,
        probabilities={label.key: p for label, p in outcome.probabilities.items()},
        titles=outcome.classes.titles,
        normal=outcome.classes.normal,
        labels_left=tuple(label.key for label in outcome.prediction_set),
        ood_score=None if outcome.ood_score is None else round(outcome.ood_score, 4),
        evidence=tuple(one.to_dict() for one in outcome.evidence),
        flags=outcome.flags,
        notes=outcome.notes,
        slice_mm=tuple(round(h, 2) for h in picture.heights_mm) if picture else (),
        picture=_picture_name(study.id, picture.content) if picture else "",
        kinds=picture.kinds if picture else (),
        outputs=outputs or {},
    )


def _former_evidence(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a record had in entries of its own before there was evidence."""
    evidence = []
    if burden := value["burden"]:
        evidence.append({"type": "lesion_volume", **burden})
    if value["picture"]:
        evidence.append(
            {"type": "panels", "units": ["residual"], "window_hu": list(_FORMER_WINDOW_HU)}
        )
    return evidence


def _files_in(outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [str(name) for written in outputs.values() for name in written["files"]]


def _is_below(name: str) -> bool:
    return re.fullmatch(r"[a-z]+/[A-Za-z0-9_-]+/[a-z]+(\.[a-z]+)+", name) is not None


def file_stem_of(study: str) -> str:
    """A file name that is safe on every system, different for different studies."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", study)[:64]
    if safe == study:
        return safe
    return f"{safe}-{hashlib.sha256(study.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _picture_name(study: str, picture: bytes) -> str:
    """Named after its content, so that a new picture never stands next to an old record."""
    return f"{file_stem_of(study)}.{hashlib.sha256(picture).hexdigest()[:8]}.webp"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _without_file_names(message: str, study: StudyLike) -> str:
    """The message without the study's paths: people name files after patients."""
    paths = (study.path, *study.files)
    names = {text for path in paths for text in (str(path), path.name) if len(text) > 2}
    for name in sorted((n for n in names if n in message), key=len, reverse=True):
        message = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "(file)", message)
    return message
