"""Studies under folders and files: grouped by what the files say, never by their names."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from covidctnet.errors import UsageError
from covidctnet.io.archive import BadArchiveError, File, Link, Member
from covidctnet.io.detached import VoxelFiles
from covidctnet.io.dicom import (
    CT_IMAGE,
    ENHANCED_CT,
    DamagedFileError,
    Group,
    Identity,
    NotDicomError,
    group,
    holds_series,
    identify,
    keys_of_slices,
    series_key,
)
from covidctnet.io.itk import data_file_of
from covidctnet.io.kinds import Format, Kind, is_picture, is_volume, kinds_of
from covidctnet.io.names import NamesOfSlices, shape
from covidctnet.io.walk import Walk

__all__ = ["Found", "Study", "content_id", "find_studies", "study_id"]

_LOG = logging.getLogger(__name__)

_MASKS = "masks of lungs or lesions"
_PASSED_OVER = {"unreadable": "not readable", "link": "links"}
# So many keys of series are named in a message.
_SHOWN = 8


@dataclass(frozen=True)
class Study:
    """Files that belong together, not yet read.

    Attributes:
        id: 12 hexadecimal digits, see `covidctnet.volume.Source`.
        path: The folder or file; may carry a patient's name, so shown in results.csv only.
        format: Which reader takes it; ``picture`` is a file that may be a radiograph, ``archive``
            one that cannot be opened, ``closed`` a folder that may not be read: these two are
            refused.
        files: All of its files, on the disk or in an archive, sorted; damaged ones included.
        series_uid: The only series to look at, when every series is a study of its own.
        notes: What was decided about which files belong together.
        stack: Key of the only stack of slices to look at, of a series that has several.
    """

    id: str
    path: Path
    format: Format
    files: tuple[File, ...]
    series_uid: str | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    stack: str | None = None

    @property
    def series(self) -> str | None:
        """Opaque key of that series, fit to be shown; None when the study is whole."""
        return None if self.series_uid is None else series_key(self.series_uid)


@dataclass(frozen=True)
class Found(Sequence[Study]):
    """What lies under some paths: a sequence of studies, and what was passed over.

    Attributes:
        studies: In a fixed order.
        reasons: Number of files and links passed over, by reason.
    """

    studies: tuple[Study, ...]
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def skipped(self) -> int:
        """Number of files and links passed over."""
        return sum(self.reasons.values())

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, item):  # type: ignore[no-untyped-def]
        return self.studies[item]


def study_id(study_uid: str) -> str:
    """Short id of a DICOM study."""
    return hashlib.sha256(study_uid.encode()).hexdigest()[:12]


def content_id(path: File) -> str:
    """Short id of a file that carries no UID: from its content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def find_studies(
    paths: Sequence[Path | str] | Path | str,
    *,
    every_series: bool = False,
    series: str | None = None,
) -> Found:
    """Find the studies under some paths.

    DICOM files are grouped by StudyInstanceUID over all folders (see `covidctnet.io.dicom.grouping`
    for those whose UIDs were changed); a NIfTI, MHA or NRRD file is a study, a header and the file
    that it names are one. A zip archive counts as a folder. One within another, and tar, 7z and
    RAR, are not opened: each is a study of its own, which is refused when it is read. Other
    files are passed over and counted, so are masks of lungs and lesions that this package wrote
    (known by their own mark), and so are pipes and devices, which are never opened. Links
    to files and folders are not followed. A DICOM file that cannot be parsed joins the study of its
    folder, which is refused when it is read; in a folder of no study or of several it becomes a
    study of its own, and that is refused.

    Args:
        paths: Folders, files, or both, in any mix.
        every_series: A study for every series instead of one for all of them.
        series: Key of the only DICOM series, or stack of one, to look for, as `covidctnet inspect`
            shows it; nothing else of its study is judged.

    Returns:
        Studies sorted by path and id, each once, whichever paths led to it.

    Raises:
        UsageError: If a path does not exist, a tree is deeper or larger than any archive, or the
            series is not there.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    walk = Walk.under([Path(path) for path in paths])
    skipped = walk.skipped
    others: list[tuple[tuple[File, ...], Format]] = [((path,), "archive") for path in walk.broken]
    others += [((path,), "closed") for path in walk.closed]
    dicom: list[File] = []
    claimed: list[File] = []
    unknown: list[tuple[File, Kind]] = [(Link(path), "link") for path in walk.links]
    named = VoxelFiles(walk.files, walk.given)
    kinds = list(kinds_of(walk.files))
    # A header of its own names the file that holds its voxels.
    others_of_study = {path: named.voxels_of(path) for path, kind in kinds if kind == "itk"}
    voxels = {str(file) for file in others_of_study.values() if file is not None}
    for path, kind in kinds:
        if str(path) in voxels and kind not in ("nifti", "itk"):
            continue
        if kind == "dicom":
            dicom.append(path)
        elif kind == "damaged":
            claimed.append(path)
        elif kind == "junk" and path in walk.given and is_picture(path):
            # Somebody means it; reading it says that it is no CT.
            others.append(((path,), "picture"))
        elif kind == "unknown" or kind == "unreadable" or kind == "junk" or kind == "link":
            unknown.append((path, kind))
        elif kind == "mask":
            # Reading one that somebody names says that it is no CT.
            if path in walk.given:
                others.append(((path,), "nifti"))
            else:
                skipped[_MASKS] += 1
        elif kind == "itk" and (file := others_of_study[path]) is not None:
            others.append(((path, file), kind))
        elif kind != "zip":
            others.append(((path,), kind))
    claimed += _may_be_slices(unknown, dicom, skipped)
    studies = _dicom_studies(dicom, claimed, skipped, every_series or series is not None)
    shut_folders = {path.parent for paths, kind in others if kind == "archive" for path in paths}
    studies = [_with_archive_note(study, shut_folders) for study in studies]
    if series is None:
        studies += _file_studies(others, skipped)
    else:
        studies = _only(studies, series) or _holding(dicom, claimed, series)
    studies.sort(key=lambda s: (str(s.path), s.id))
    if skipped:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items()))
        _LOG.debug("%d studies found; passed over: %s", len(studies), counts)
    return Found(tuple(studies), dict(skipped))


def _may_be_slices(
    unknown: Sequence[tuple[File, Kind]], dicom: Sequence[File], skipped: Counter[str]
) -> list[File]:
    """Files that say nothing, and are named as the DICOM files in their folder are.

    A download that ends early leaves pages of errors, half files and links in place of slices.
    """
    names: dict[Path, list[str]] = {}
    for path in dicom:
        names.setdefault(path.parent, []).append(path.name)
    slices = {folder: NamesOfSlices(there) for folder, there in names.items()}
    # A folder of a scan that lies in several may hold no slice that can be read.
    next_to: dict[tuple[Path, str], list[NamesOfSlices]] = {}
    for folder, there in slices.items():
        next_to.setdefault(_like(folder), []).append(there)
    # Series are often written without suffixes.
    habits = {(path.parent, _suffix(path)) for path in dicom}
    claimed = []
    for path, kind in unknown:
        is_alike = kind not in ("junk", "link") and (path.parent, _suffix(path)) in habits
        if path.parent in slices:
            is_alike = is_alike or slices[path.parent].may_be_slice(path.name)
        elif len(siblings := next_to.get(_like(path.parent), [])) > 1:
            is_alike = any(names.has_shape_of(path.name) for names in siblings)
        if is_alike:
            claimed.append(path)
        else:
            skipped[_PASSED_OVER.get(kind, "not a scan")] += 1
    return claimed


def _only(studies: Sequence[Study], series: str) -> list[Study]:
    """The one series that was asked for; none where no study is that series by its UID."""
    whole, _, part = series.partition(".")
    chosen = [study for study in studies if study.series == whole]
    return [_part_of(study, series) for study in chosen] if part else chosen


def _part_of(study: Study, series: str) -> Study:
    # Another id: the answer for a part is not that of its series.
    return replace(study, id=study_id(f"{study.id}\n{series}"), stack=series)


def _holding(files: Sequence[File], claimed: Sequence[File], series: str) -> list[Study]:
    """Studies of which a series is a part that its UID does not name, or holds no CT.

    Raises:
        UsageError: If there is none.
    """
    studies = _dicom_studies(files, claimed, Counter(), False)
    found = [study for study in studies if holds_series(study.files, series)]
    if not found:
        keys = sorted({key for study in studies for key in keys_of_slices(study.files)})
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        raise UsageError(
            f"expected one of the series that there are, {', '.join(keys[:_SHOWN]) or 'none'}"
            f"{more}, got {series!r:.80}. Take a key that covidctnet inspect shows."
        )
    return [_part_of(study, series) for study in found]


def _with_archive_note(study: Study, folders: set[Path]) -> Study:
    """The study, with a note when an archive that is not opened lies beside its files."""
    own = {path.parent for path in study.files}
    own |= {path.archive.parent for path in study.files if isinstance(path, Member)}
    if not folders & own:
        return study
    note = "an archive that is not opened lies beside its files: it may hold more of the scan"
    return replace(study, notes=(*study.notes, note))


def _suffix(path: File) -> str:
    """What a name ends in; the parts of a UID are no suffix."""
    suffix = path.suffix.lower()
    return "" if suffix[1:].isdigit() else suffix


def _dicom_studies(
    files: Sequence[File], claimed: Sequence[File], skipped: Counter[str], every_series: bool
) -> list[Study]:
    damaged: list[File] = list(claimed)
    identified: list[tuple[File, Identity]] = []
    for path in files:
        try:
            identified.append((path, identify(path)))
        except NotDicomError:
            skipped["directories of media"] += 1
        except (DamagedFileError, OSError):
            damaged.append(path)
    groups, nameless = group(identified)
    damaged += nameless
    numbers_of_folder: dict[Path, set[int]] = {}
    for number, found in enumerate(groups):
        for path, _ in found.entries:
            numbers_of_folder.setdefault(path.parent, set()).add(number)
    spread = _spread_series(groups)
    others_of_study: dict[int, list[File]] = {}
    orphans: dict[Path, list[File]] = {}
    for path in sorted(damaged, key=str):
        numbers = numbers_of_folder.get(path.parent) or spread.get(_like(path.parent), set())
        if len(numbers) == 1:
            # It may be a slice of any series of the study.
            others_of_study.setdefault(next(iter(numbers)), []).append(path)
        else:
            orphans.setdefault(path.parent, []).append(path)
    studies = []
    for number, found in enumerate(groups):
        for text, series_uid, own in _parts(found, every_series):
            own = [*own, *others_of_study.get(number, ())]
            studies.append(_dicom_study(study_id(text), own, series_uid, found.notes))
    for lost in orphans.values():
        # By their places: patients whose files broke in one way are several all the same.
        digest = hashlib.sha256("".join(_id_of_path(path) for path in lost).encode())
        studies.append(_dicom_study(digest.hexdigest()[:12], lost, None))
    return studies


def _spread_series(groups: Sequence[Group]) -> dict[tuple[Path, str], set[int]]:
    """Groups with a series whose slices lie in several folders next to each other.

    Returns:
        By what such folders have in common, see `_like`.
    """
    folders: dict[tuple[tuple[Path, str], int, str], set[Path]] = {}
    for number, found in enumerate(groups):
        for path, identity in found.entries:
            if identity.is_slice and path not in found.single_series:
                key = (_like(path.parent), number, identity.series_uid)
                folders.setdefault(key, set()).add(path.parent)
    out: dict[tuple[Path, str], set[int]] = {}
    for (like, number, _), own in folders.items():
        if len(own) > 1:
            out.setdefault(like, set()).add(number)
    return out


def _like(folder: Path) -> tuple[Path, str]:
    """What folders have in common that are numbered in one folder."""
    return folder.parent, shape(folder.name)


def _parts(found: Group, every_series: bool) -> Iterator[tuple[str, str | None, list[File]]]:
    """What a study is asked for: all of it, or each of its series that may be worth an answer."""
    if not every_series:
        yield found.text, None, [path for path, _ in found.entries]
        return
    parts: dict[str | None, list[File]] = {}
    ct: set[str | None] = set()
    for path, identity in found.entries:
        key = None if path in found.single_series else identity.series_uid
        parts.setdefault(key, []).append(path)
        if identity.sop_class == CT_IMAGE or identity.sop_class in ENHANCED_CT:
            ct.add(key)
    for series_uid, files in parts.items():
        # Series that hold no CT are worth an answer only where a study has nothing else.
        if series_uid in ct or not ct:
            text = found.text if series_uid is None else f"{found.text}\n{series_uid}"
            yield text, series_uid, files


def _dicom_study(
    identity: str, files: Sequence[File], series_uid: str | None, notes: tuple[str, ...] = ()
) -> Study:
    folders = sorted({str(path.parent) for path in files})
    path = Path(os.path.commonpath(folders)) if len(files) > 1 else Path(str(files[0]))
    return Study(identity, path, "dicom", tuple(sorted(files, key=str)), series_uid, notes)


def _safe_id(path: File) -> str:
    try:
        return content_id(path)
    except (OSError, BadArchiveError):
        return _id_of_path(path)


def _file_studies(
    files: Sequence[tuple[tuple[File, ...], Format]], skipped: Counter[str]
) -> list[Study]:
    studies: dict[str, Study] = {}
    for paths, kind in files:
        # Only of a whole scan a second one with the same content is a copy: patients whose files
        # broke in one way are several all the same.
        identity = _id_of(paths) if _is_scan(paths, kind) else _id_of_path(paths[0])
        if identity in studies:
            skipped["copies"] += len(paths)
        else:
            studies[identity] = Study(identity, Path(str(paths[0])), kind, paths)
    return list(studies.values())


def _is_scan(paths: Sequence[File], kind: Format) -> bool:
    """Whether a file is what it is called, and all of it is there."""
    if kind not in ("nifti", "itk"):
        return False
    try:
        if not is_volume(paths[0]):
            return False
        return kind == "nifti" or len(paths) > 1 or data_file_of(paths[0]) is None
    except (OSError, BadArchiveError):
        return False


def _id_of(paths: Sequence[File]) -> str:
    if len(paths) == 1:
        return _safe_id(paths[0])
    return hashlib.sha256("".join(_safe_id(path) for path in paths).encode()).hexdigest()[:12]


def _id_of_path(path: File) -> str:
    return hashlib.sha256(str(path).encode(errors="surrogatepass")).hexdigest()[:12]
