"""The data layout of nnU-Net as a labelled archive: imagesTr, labelsTr and dataset.json.

Source: https://github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md (version 2), and the
layout of the Medical Segmentation Decathlon (version 1), which names labels by their number.

nnU-Net knows no class of a patient. A case is of the class that one of its labels is named after,
``Covid-19`` or ``CAP``, where its mask has voxels of that label; of the normal class where its mask
has no lesion. Labels of lungs and other organs say nothing of the class.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidctnet.classes import Classes, Label
from covidctnet.cohort.layouts import CohortRow, refuse, titles
from covidctnet.errors import CohortError
from covidctnet.io.lesions import values_in_mask

__all__ = ["DATASET", "is_nnunet", "rows_of_nnunet"]

DATASET = "dataset.json"
# Folders of scans and masks, and the split that they ask for.
_FOLDERS = (("imagesTr", "labelsTr", None), ("imagesTs", "labelsTs", "test"))
_MAX_BYTES = 2**24
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_DEFAULT_ENDING = ".nii.gz"
# Masks are read from NIfTI alone.
_ENDINGS = (".nii.gz", ".nii")
# Labels of lesions of any kind, and of what is no lesion.
_LESION = re.compile(r"lesion|infect|covid|ggo|glass|consolid|opaci|pneumon", re.IGNORECASE)
_ORGAN = re.compile(r"background|lung|lobe|airway|trachea|vessel|heart|body|ignore", re.IGNORECASE)
# What may stand behind the name of a class.
_KIND = re.compile(r"[\W_]*(lesions?|infections?|masks?)$", re.IGNORECASE)


@dataclass(frozen=True)
class _Dataset:
    """What ``dataset.json`` says.

    Attributes:
        ending: Of the files of scans and masks.
        channel: Number of the channel that is CT.
        channels: How many there are.
        by_class: Values of a mask that stand for a class.
        lesions: All values of a mask that are lesions.
    """

    ending: str
    channel: int
    channels: int
    by_class: Mapping[int, Label]
    lesions: tuple[int, ...]


def is_nnunet(root: Path) -> bool:
    """Whether a folder has the layout of nnU-Net."""
    return (root / _FOLDERS[0][0]).is_dir()


def rows_of_nnunet(root: Path, classes: Sequence[Classes]) -> list[CohortRow]:
    """A row a case; what is wrong with them is said all at once.

    Args:
        root: Holds ``dataset.json``, ``imagesTr`` and ``labelsTr``; ``imagesTs`` with ``labelsTs``
            is the test split.
        classes: Of the labels; see `covidctnet.cohort.archive.read_cohort`.

    Raises:
        CohortError: If ``dataset.json`` is none, its channels have no CT or its labels name no
            class, or a case lacks its mask.
    """
    dataset = _read_dataset(root / DATASET, classes)
    rows: list[CohortRow] = []
    mistakes: list[str] = []
    for images, masks, split in _FOLDERS:
        if not (root / images).is_dir() or (split and not (root / masks).is_dir()):
            continue
        cases = list(_cases(root / images, dataset))
        if not cases:
            raise CohortError(
                f"expected files CASE_{dataset.channel:04d}{dataset.ending} in {images}/, as "
                f"{DATASET} says, got none. Check file_ending and channel_names."
            )
        for number, (case, scan) in enumerate(cases, start=1):
            where = f"case {number} of {len(cases)} in {images}/"
            mask = root / masks / f"{case}{dataset.ending}"
            try:
                label = _label_of(mask, masks, dataset, classes)
            except CohortError as error:
                mistakes.append(f"{where}: {error}")
                continue
            rows.append(
                CohortRow(
                    where,
                    scan,
                    case,
                    label,
                    split=split,
                    lesions=mask if dataset.lesions else None,
                    lesion_values=dataset.lesions,
                )
            )
    refuse(mistakes)
    return rows


def _cases(folder: Path, dataset: _Dataset) -> Iterator[tuple[str, Path]]:
    """Cases by name, each with its file of CT."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(dataset.ending):
            continue
        stem = path.name.removesuffix(dataset.ending)
        found = _CHANNEL.fullmatch(stem)
        if found and int(found["channel"]) == dataset.channel:
            yield found["case"], path
        elif not found and dataset.channels == 1:
            # Version 1 has no number of a channel where there is one.
            yield stem, path


def _label_of(mask: Path, folder: str, dataset: _Dataset, classes: Sequence[Classes]) -> Label:
    if not mask.is_file():
        raise CohortError(f"its mask is missing in {folder}/. Add it, or take the case out")
    there = values_in_mask(mask)
    found = {label for value, label in dataset.by_class.items() if value in there}
    if len(found) > 1:
        named = ", ".join(sorted(label.title for label in found))
        raise CohortError(f"its mask has lesions of {named}. Give a case one class")
    if found:
        return found.pop()
    if there & set(dataset.lesions):
        raise CohortError("its mask has lesions whose label names no class")
    return classes[0].normal_label


def _read_dataset(file: Path, classes: Sequence[Classes]) -> _Dataset:
    """What the file says.

    Raises:
        CohortError: If it is none, in one line.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise CohortError(f"expected {DATASET} of at most {_MAX_BYTES} bytes, got more.")
        description = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise CohortError(
            f"expected {DATASET} next to {_FOLDERS[0][0]}/, as nnU-Net has it, got none. Add "
            "it, or a cohort.csv."
        ) from None
    except OSError as error:
        raise CohortError(
            f"{DATASET} cannot be read ({error.strerror}). Check its rights."
        ) from None
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        place = f" in line {line}" if line else ""
        raise CohortError(
            f"expected JSON in {DATASET}, got a mistake{place}. Correct it."
        ) from None
    if not isinstance(description, dict):
        raise CohortError(f"expected an object in {DATASET}, got {type(description).__name__}.")
    channels = _numbered(description, ("channel_names", "modality"), "the channels, as {'0': 'CT'}")
    ct = [number for number, name in channels.items() if name.strip().casefold() == "ct"]
    if len(ct) != 1:
        raise CohortError(
            f"expected one channel named CT in {DATASET}, got "
            f"{', '.join(channels.values())!r:.80}. Other images than CT are not read."
        )
    ending = description.get("file_ending", _DEFAULT_ENDING)
    if ending not in _ENDINGS:
        raise CohortError(
            f"expected a file_ending out of {', '.join(_ENDINGS)} in {DATASET}, got {ending!r:.40}."
        )
    labels = _numbered(description, ("labels",), "the labels, as {'background': 0, 'Covid-19': 1}")
    by_class, lesions = _meaning(labels, classes)
    return _Dataset(ending, ct[0], len(channels), by_class, lesions)


def _meaning(
    labels: Mapping[int, str], classes: Sequence[Classes]
) -> tuple[dict[int, Label], tuple[int, ...]]:
    """Which values of a mask stand for a class, and which are lesions.

    Raises:
        CohortError: If no class can be told from them.
    """
    by_class: dict[int, Label] = {}
    lesions: list[int] = []
    unnamed: list[str] = []
    normal, ill = classes[0].normal_label, classes[0].positive
    for value, name in labels.items():
        if value == 0:
            continue
        label = _class_named(name, classes)
        if label is not None and label is not normal:
            by_class[value] = label
            lesions.append(value)
        elif _LESION.search(name):
            lesions.append(value)
            if len(ill) == 1:
                # A system of two classes: a lesion is of the other one.
                by_class[value] = ill[0]
            else:
                unnamed.append(name)
        elif not _ORGAN.search(name):
            unnamed.append(name)
    if unnamed or not by_class:
        got = ", ".join(unnamed) if unnamed else ", ".join(labels.values())
        raise CohortError(
            f"expected labels in {DATASET} that are lungs, or lesions named after their class "
            f"({titles(classes)}), got {got!r:.80}. Name the class there, or add a cohort.csv with "
            "study, patient, label and lesions."
        )
    return by_class, tuple(lesions)


def _class_named(name: str, classes: Sequence[Classes]) -> Label | None:
    plain = _KIND.sub("", name)
    for known in classes:
        with suppress(CohortError):
            return known.parse(plain)
    return None


def _numbered(description: Mapping[str, Any], keys: Sequence[str], what: str) -> dict[int, str]:
    """Names by number of an entry that has them as number: name, or as name: number."""
    entry = next((description[key] for key in keys if key in description), None)
    out: dict[int, str] = {}
    if isinstance(entry, dict):
        for key, value in entry.items():
            number, name = (key, value) if _is_number(key) else (value, key)
            if not _is_number(number) or not isinstance(name, str) or int(number) in out:
                out = {}
                break
            out[int(number)] = name
    if not out:
        got = "nothing" if entry is None else f"{entry!r:.60}"
        raise CohortError(f"expected {keys[0]} in {DATASET} with {what}, got {got}.")
    return out


def _is_number(value: Any) -> bool:
    """Whether it is the number of a channel or label, also as text; ``int`` takes no more."""
    return re.fullmatch("[0-9]{1,9}", str(value)) is not None
