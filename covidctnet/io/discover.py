"""Studies under folders and files: grouped by what the files say, never by their names."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from covidctnet.errors import UsageError
from covidctnet.io.archive import (
    BadArchiveError,
    File,
    begins_as_zip,
    is_archive,
    looks_packed,
    members,
    packing_of,
)
from covidctnet.io.dicom import (
    CT_IMAGE,
    ENHANCED_CT,
    DamagedFileError,
    Group,
    Identity,
    NotDicomError,
    group,
    identify,
    looks_like_dicom,
    series_key,
)
from covidctnet.io.itk import data_file_of, folded, looks_like_itk
from covidctnet.io.nifti import looks_like_nifti

__all__ = ["Found", "Study", "content_id", "find_studies", "study_id"]

_LOG = logging.getLogger(__name__)

MAX_DEPTH = 32
MAX_FILES = 2_000_000
Format = Literal["dicom", "nifti", "itk", "archive", "closed"]

_Kind = Format | Literal["damaged", "unknown", "unreadable", "junk", "zip"]
# So much of a file says what it is.
_HEAD_BYTES = 1024
# A larger archive within another is not looked into.
_MAX_INNER_BYTES = 2**28

_DICOM_NAMES = (".dcm", ".dicom", ".ima")
_NIFTI_NAMES = (".nii", ".nii.gz")
_ITK_NAMES = (".mha", ".mhd", ".nrrd", ".nhdr")
# Files of other kinds, by how they begin: JPEG, PNG, PDF, zip, gzip, TIFF, GIF, XML and HTML.
_KNOWN_OTHERS = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"%PDF",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"II*\0",
    b"MM\0*",
    b"GIF8",
    b"<",
)
_PRINTABLE = frozenset(range(32, 256)) | frozenset(b"\t\n\r\f")

# So many keys of series are named in a message.
_SHOWN = 8


@dataclass(frozen=True)
class Study:
    """Files that belong together, not yet read.

    Attributes:
        id: 12 hexadecimal digits, see `covidctnet.volume.Source`.
        path: The folder or file; may carry a patient's name, so shown in results.csv only.
        format: Which reader takes it; ``archive`` is one that cannot be opened, ``closed`` a
            folder that may not be read: both are refused.
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
    files are passed over and counted, and so are pipes and devices, which are never opened. Links
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
    skipped: Counter[str] = Counter()
    closed: list[Path] = []
    given: set[Path] = set()
    walked = sorted(set(_walk([Path(path) for path in paths], skipped, closed, given)))
    files, broken = _opened(walked, given)
    dicom: list[File] = []
    others: list[tuple[tuple[File, ...], Format]] = [((path,), "archive") for path in broken]
    others += [((path,), "closed") for path in sorted(set(closed))]
    claimed: list[File] = []
    unknown: list[File] = []
    shut: set[File] = set()
    named = _Voxels(files, given)
    voxels: set[str] = set()
    kinds: list[tuple[File, _Kind]] = []
    for path, kind in _kinds(files):
        kinds.append((path, kind))
        # A header of its own names the file that holds its voxels.
        if kind == "itk" and (beside := named.beside(path)) is not None:
            voxels.add(str(beside))
    for path, kind in kinds:
        if str(path) in voxels and kind not in ("nifti", "itk"):
            continue
        if kind == "dicom":
            dicom.append(path)
        elif kind == "damaged":
            claimed.append(path)
        elif kind == "unknown":
            unknown.append(path)
        elif kind == "unreadable":
            unknown.append(path)
            shut.add(path)
        elif kind == "junk":
            skipped["not a scan"] += 1
        elif kind == "itk" and (beside := named.beside(path)) is not None:
            others.append(((path, beside), kind))
        elif kind != "zip":
            others.append(((path,), kind))
    # Series are often written without suffixes: what looks like their files by name is one of them.
    habits = {(path.parent, _suffix(path)) for path in dicom}
    for path in unknown:
        if (path.parent, _suffix(path)) in habits:
            claimed.append(path)
        else:
            skipped["not readable" if path in shut else "not a scan"] += 1
    studies = _dicom_studies(dicom, claimed, skipped, every_series or series is not None)
    shut_folders = {path.parent for paths, kind in others if kind == "archive" for path in paths}
    studies = [_beside_archives(study, shut_folders) for study in studies]
    studies = studies + _file_studies(others, skipped) if series is None else _only(studies, series)
    studies.sort(key=lambda s: (str(s.path), s.id))
    if skipped:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items()))
        _LOG.debug("%d studies found; passed over: %s", len(studies), counts)
    return Found(tuple(studies), dict(skipped))


def _only(studies: Sequence[Study], series: str) -> list[Study]:
    """The one series that was asked for."""
    whole, _, part = series.partition(".")
    chosen = [study for study in studies if study.series == whole]
    if part:
        # Another id: the answer for a part is not that of its series.
        chosen = [replace(s, id=study_id(f"{s.id}\n{series}"), stack=series) for s in chosen]
    if not chosen:
        keys = sorted({study.series for study in studies if study.series})
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        raise UsageError(
            f"expected one of the series that there are, {', '.join(keys[:_SHOWN]) or 'none'}"
            f"{more}, got {series!r:.80}. Take a key that covidctnet inspect shows."
        )
    return chosen


def _walk(
    roots: Sequence[Path], skipped: Counter[str], closed: list[Path], given: set[Path]
) -> Iterator[Path]:
    """Files under some paths.

    Folders that may not be read go to `closed`, files that the caller named to `given`.
    """
    count = 0

    def keep(error: OSError) -> None:
        # What may hold a scan must not vanish; reading it says why.
        path = Path(str(error.filename))
        if not path.name.startswith("."):
            closed.append(path)

    for root in roots:
        try:
            is_there = root.exists()
        except OSError as error:  # below a folder that may not be entered, or too long a name
            raise UsageError(
                f"expected a folder or a file, {str(root)!r:.200} cannot be reached "
                f"({error.strerror}). Check its rights and its spelling."
            ) from None
        if not is_there:
            raise UsageError(
                f"expected a folder or a file, {str(root)!r} does not exist. Check the spelling."
            )
        # The caller may name a link; only links found on the way are not followed.
        start = root.resolve()
        if start.is_file():
            # Under its own name: what belongs to it lies beside the link, not beside its target.
            given.add(path := root.parent.resolve() / root.name if root.is_symlink() else start)
            yield path
            continue
        if not start.is_dir():
            skipped["pipes and devices"] += 1
            continue
        for folder, folders, names in os.walk(start, onerror=keep, followlinks=False):
            here = Path(folder)
            if len(here.relative_to(start).parts) >= MAX_DEPTH and folders:
                raise UsageError(
                    f"expected folders at most {MAX_DEPTH} deep, got more. Give a folder below."
                )
            try:
                links = [name for name in folders if (here / name).is_symlink()]
                modes = [(here / name, _mode(here / name)) for name in sorted(names)]
            except PermissionError:
                # It may be listed and not entered; the other folders can be read all the same.
                closed.append(here)
                folders.clear()
                continue
            skipped.update({"links": len(links)} if links else {})
            folders.sort()
            for path, mode in modes:
                if stat.S_ISLNK(mode):
                    skipped["links"] += 1
                elif not stat.S_ISREG(mode):
                    # Opening one may wait, or read, for ever.
                    skipped["pipes and devices"] += 1
                else:
                    count += 1
                    if count > MAX_FILES:
                        raise UsageError(
                            f"expected at most {MAX_FILES} files, got more. Give a folder below."
                        )
                    yield path


def _mode(path: Path) -> int:
    """What kind of file it is, as `stat` has it; 0 for one that has gone meanwhile."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _opened(paths: Sequence[Path], given: set[Path]) -> tuple[list[File], list[File]]:
    """Every archive replaced by what it holds, and those that cannot be opened."""
    files: list[File] = []
    broken: list[File] = []
    for path in paths:
        # A file that the caller named is an archive by its content too.
        is_zip = is_archive(path) or (path in given and _begins_as_zip(path))
        if not is_zip or path.name.startswith("."):
            files.append(path)
            continue
        try:
            found = members(path)
        except (BadArchiveError, OSError):
            # Reading it will say why.
            broken.append(path)
            continue
        files += found
        if len(files) > MAX_FILES:
            raise UsageError(f"expected at most {MAX_FILES} files, got more. Give a folder below.")
    return files, broken


def _kinds(files: Sequence[File]) -> Iterator[tuple[File, _Kind]]:
    """What files are; a zip archive by its content alone is replaced by what it holds.

    Other programs keep their files as zip archives too: one that holds no scan is none.
    """
    for path in files:
        kind = _kind(path)
        if kind != "zip":
            yield path, kind
        elif isinstance(path, Path):
            yield from _inside(path)
        else:
            yield path, _within(path)


def _inside(path: Path) -> list[tuple[File, _Kind]]:
    """What a zip archive that is not called one holds."""
    nothing: list[tuple[File, _Kind]] = [(path, "junk")]
    try:
        found = [(member, _kind(member)) for member in members(path)]
    except (BadArchiveError, OSError):
        return nothing if path.suffix else [(path, "archive")]
    if not any(kind in ("dicom", "nifti", "itk") for _, kind in found):
        return nothing
    return [(member, _within(member) if kind == "zip" else kind) for member, kind in found]


def _within(member: File) -> _Kind:
    """What a zip archive within another is: documents have a suffix of their own."""
    is_named = is_archive(member) or not member.suffix
    return "archive" if is_named and _may_hold_scan(member) else "junk"


def _may_hold_scan(archive: File) -> bool:
    """Whether an archive within another holds a scan, or cannot be told to hold none."""
    if archive.stat().st_size > _MAX_INNER_BYTES:
        return True
    try:
        with archive.open("rb") as file, zipfile.ZipFile(file) as inner:
            for entry in inner.infolist():
                with inner.open(entry) as content:
                    head = content.read(_HEAD_BYTES)
                is_scan = looks_like_dicom(head) or looks_like_nifti(head) or looks_like_itk(head)
                if is_scan or head.startswith((b"\x1f\x8b", b"PK\x03\x04")):
                    return True
    # A broken or closed archive fails in any of these ways.
    except (zipfile.BadZipFile, ValueError, LookupError, RuntimeError, OSError, EOFError):
        return True
    except (zlib.error, OverflowError, BadArchiveError):
        return True
    return False


def _beside_archives(study: Study, folders: set[Path]) -> Study:
    """The study, with a note when an archive that is not opened lies beside its files."""
    if not folders & {path.parent for path in study.files}:
        return study
    note = "an archive that is not opened lies beside its files: it may hold more of the scan"
    return replace(study, notes=(*study.notes, note))


def _suffix(path: File) -> str:
    """What a name ends in; the parts of a UID are no suffix."""
    suffix = path.suffix.lower()
    return "" if suffix[1:].isdigit() else suffix


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return begins_as_zip(file.read(4))
    except OSError:
        return False


class _Voxels:
    """Finds the file that a MetaImage or NRRD header names.

    Args:
        files: All that was found.
        given: Files that the caller named.
    """

    def __init__(self, files: Sequence[File], given: set[Path]) -> None:
        self._files = files
        self._given = given

    def beside(self, header: File) -> File | None:
        """The file in the folder of a header that it names; None when none is."""
        try:
            name = data_file_of(header)
        except (OSError, BadArchiveError):
            return None
        if name is None:
            return None
        path = header.parent / name
        if str(path) in self._exact:
            return self._exact[str(path)]
        alike = self._alike.get((str(header.parent), folded(name)), [])
        if alike:
            return alike[0] if len(alike) == 1 else None
        # Beside a file that the caller named nothing was walked. A link is followed from a link
        # alone.
        if not isinstance(header, Path) or header not in self._given:
            return None
        if not path.exists():
            found = [file for file in _folder_of(header) if folded(file.name) == folded(name)]
            if len(found) != 1:
                return None
            path = found[0]
        if path.is_file() and (header.is_symlink() or not path.is_symlink()):
            return path
        return None

    @cached_property
    def _exact(self) -> dict[str, File]:
        """Files by their whole name; where no header is, none is needed."""
        return {str(path): path for path in self._files}

    @cached_property
    def _alike(self) -> dict[tuple[str, str], list[File]]:
        """Files by folder and name: a header may have been written where case is not told apart."""
        found: dict[tuple[str, str], list[File]] = {}
        for file in self._files:
            found.setdefault((str(file.parent), folded(file.name)), []).append(file)
        return found


def _folder_of(file: Path) -> list[Path]:
    """What lies in the folder of a file."""
    try:
        return sorted(file.parent.iterdir())
    except OSError:
        return []


def _kind(path: File) -> _Kind:
    """What a file is: by its content, and by its name only where the content is silent."""
    name = path.name.lower()
    if name.startswith("."):
        return "junk"
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            packed = head
            if head.startswith(b"\x1f\x8b"):
                head = _unzipped(head)
    except (OSError, BadArchiveError):
        # Reading its study will say so.
        return _by_name(name) or "unreadable"
    if looks_like_nifti(head):
        return "nifti"
    if looks_like_itk(head):
        return "itk"
    if looks_like_dicom(head):
        # One that is compressed is not read; reading its study says what to do.
        return "dicom" if head is packed else "damaged"
    by_name = _by_name(name)
    if by_name in ("nifti", "itk"):
        # Broken, or none: reading it says so.
        return by_name
    if begins_as_zip(head):
        return "zip"
    if looks_packed(packed) and _is_packed(path):
        return "archive"
    if head.startswith(_KNOWN_OTHERS):
        return "junk"
    if by_name is not None:
        return by_name
    return "junk" if head and _PRINTABLE.issuperset(head[:512]) else "unknown"


def _is_packed(path: File) -> bool:
    try:
        return packing_of(path) is not None
    except (OSError, BadArchiveError):
        return False


def _by_name(name: str) -> _Kind | None:
    """What a name claims."""
    if name.endswith(_NIFTI_NAMES):
        return "nifti"
    if name.endswith(_ITK_NAMES):
        return "itk"
    return "damaged" if name.endswith(_DICOM_NAMES) else None


def _unzipped(head: bytes) -> bytes:
    """The beginning of what a gzip file holds; itself when that cannot be told."""
    try:
        found = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return head
    is_known = looks_like_nifti(found) or looks_like_itk(found) or looks_like_dicom(found)
    return found if is_known else head


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
    homes: dict[Path, set[int]] = {}
    for number, found in enumerate(groups):
        for path, _ in found.entries:
            homes.setdefault(path.parent, set()).add(number)
    beside: dict[int, list[File]] = {}
    orphans: dict[Path, list[File]] = {}
    for path in sorted(damaged, key=str):
        numbers = homes.get(path.parent, set())
        if len(numbers) == 1:
            # It may be a slice of any series of the study.
            beside.setdefault(next(iter(numbers)), []).append(path)
        else:
            orphans.setdefault(path.parent, []).append(path)
    studies = []
    for number, found in enumerate(groups):
        for text, series_uid, own in _parts(found, every_series):
            own = [*own, *beside.get(number, ())]
            studies.append(_dicom_study(study_id(text), own, series_uid, found.notes))
    for lost in orphans.values():
        digest = hashlib.sha256("".join(_safe_id(path) for path in lost).encode())
        studies.append(_dicom_study(digest.hexdigest()[:12], lost, None))
    return studies


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
        # What is closed is not opened to be told from others.
        is_shut = kind == "closed" or (kind == "archive" and not is_archive(paths[0]))
        identity = _id_of_path(paths[0]) if is_shut else _id_of(paths)
        if identity in studies:
            skipped["copies"] += len(paths)
        else:
            studies[identity] = Study(identity, Path(str(paths[0])), kind, paths)
    return list(studies.values())


def _id_of(paths: Sequence[File]) -> str:
    if len(paths) == 1:
        return _safe_id(paths[0])
    return hashlib.sha256("".join(_safe_id(path) for path in paths).encode()).hexdigest()[:12]


def _id_of_path(path: File) -> str:
    return hashlib.sha256(str(path).encode(errors="surrogatepass")).hexdigest()[:12]
