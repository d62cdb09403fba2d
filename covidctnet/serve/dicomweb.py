"""A PACS by DICOMweb: what it holds, its files, and results that are stored in it.

Nothing that a PACS sends is trusted: answers are read up to a limit, a file goes to the disk as it
comes and is opened by the reader of studies alone, and what was stored is looked for afterwards. No
address in an answer is followed.

Source: DICOM PS3.18 (QIDO-RS, WADO-RS, STOW-RS).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from covidctnet.errors import CovidCTNetError, UsageError

if TYPE_CHECKING:
    import requests

__all__ = ["Access", "Instance", "Pacs", "PacsError", "StudyEntry", "TooLargeError"]

MAX_LIST_BYTES = 32 * 2**20
MAX_FILE_BYTES = 2 * 2**30
PAGE = 200
_PIECE = 2**16
# Head of a part of a multipart answer.
_MAX_HEAD_BYTES = 8192
_STUDY, _SERIES, _SOP = "0020000D", "0020000E", "00080018"
_OF_STUDY, _OF_SERIES = "00201208", "00201209"
_REFERENCED, _REFERENCED_SOP = "00081199", "00081155"
_DICOM = "application/dicom"


class PacsError(CovidCTNetError):
    """A PACS does not do what it is asked for.

    Args:
        message: What was expected, what came, what to do next; no path and no patient.
        is_gone: What was asked for is not there any more.
    """

    def __init__(self, message: str, *, is_gone: bool = False) -> None:
        super().__init__(message)
        self.is_gone = is_gone


class TooLargeError(PacsError):
    """A PACS sends more than is taken."""


@dataclass(frozen=True)
class Access:
    """Where a PACS is and who asks it.

    Attributes:
        url: Root of its DICOMweb service, http or https.
        user: Of basic authentication; empty for none.
        password: Likewise.
        ca_file: Certificates to trust, for a PACS whose certificate is its hospital's own; None
            for those that the system trusts.
        timeout_s: For a connection, and for the next bytes of an answer.
    """

    url: str
    user: str = ""
    password: str = ""
    ca_file: Path | None = None
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise UsageError(
                "expected the address of a DICOMweb service, as https://HOST:PORT/dicom-web, got "
                "something else. Give the root that the PACS names."
            )
        if parts.username or parts.password:
            raise UsageError(
                "expected an address without user and password, which every list of processes "
                "shows. Give --user, and the password in COVIDCTNET_PACS_PASSWORD."
            )
        if self.ca_file is not None and not self.ca_file.is_file():
            raise UsageError(
                "expected a file of certificates behind --ca-file, got none. Name one in PEM."
            )

    def __repr__(self) -> str:
        return f"Access({urlsplit(self.url).hostname}, user={bool(self.user)})"


@dataclass(frozen=True)
class StudyEntry:
    """A study as a PACS lists it.

    Attributes:
        uid: StudyInstanceUID.
        instances: Of all its series; -1 where the PACS does not say.
    """

    uid: str
    instances: int


@dataclass(frozen=True)
class Instance:
    """One file of a PACS.

    Attributes:
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        sop: SOPInstanceUID.
    """

    study: str
    series: str
    sop: str


class Pacs:
    """A PACS that answers by DICOMweb.

    Args:
        access: Where it is.

    Raises:
        UsageError: If the package that asks is not installed.
    """

    def __init__(self, access: Access) -> None:
        try:
            import requests
        except ImportError:
            raise UsageError(
                "expected the package requests for a PACS, which is not installed. Install it "
                "with pip install covidctnet[serve]."
            ) from None
        self._access = access
        self._requests = requests
        self._session = requests.Session()
        # No user and password of a .netrc, and no proxy, is taken without being told.
        self._session.trust_env = False
        # A short answer cannot become a long one.
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.verify = str(access.ca_file) if access.ca_file else True
        if access.user:
            self._session.auth = (access.user, access.password)

    def close(self) -> None:
        """End the connections."""
        self._session.close()

    def studies(self, modalities: Sequence[str]) -> Iterator[StudyEntry]:
        """Every study that has a series of some modalities, page by page.

        Args:
            modalities: As ``CT``.

        Raises:
            PacsError: If the PACS cannot be asked.
        """
        seen: set[str] = set()
        for modality in modalities:
            query = {"ModalitiesInStudy": modality, "includefield": _OF_STUDY}
            for item in self._pages("studies", query):
                uid = _text(item, _STUDY)
                if uid and uid not in seen:
                    seen.add(uid)
                    yield StudyEntry(uid, _number(item, _OF_STUDY))

    def series(self, study: str, modalities: Sequence[str]) -> dict[str, int]:
        """The series of a study and how many files each has; -1 where the PACS does not say.

        Args:
            study: StudyInstanceUID.
            modalities: Only series of these.

        Raises:
            PacsError: If the PACS cannot be asked.
        """
        found: dict[str, int] = {}
        for modality in modalities:
            query = {"Modality": modality, "includefield": _OF_SERIES}
            for item in self._pages(f"studies/{_quoted(study)}/series", query):
                # Some answer with every series, whatever was asked for.
                if (uid := _text(item, _SERIES)) and _text(item, "00080060") in ("", modality):
                    found[uid] = _number(item, _OF_SERIES)
        return found

    def instances(self, study: str, series: Iterable[str]) -> tuple[Instance, ...]:
        """The files of some series of a study.

        Args:
            study: StudyInstanceUID.
            series: SeriesInstanceUID of each.

        Raises:
            PacsError: If the PACS cannot be asked.
        """
        found = []
        for one in series:
            where = f"studies/{_quoted(study)}/series/{_quoted(one)}/instances"
            found += [
                Instance(study, one, sop)
                for item in self._pages(where, {})
                if (sop := _text(item, _SOP))
            ]
        return tuple(dict.fromkeys(found))

    def fetch(self, instance: Instance, path: Path, *, most_bytes: int = MAX_FILE_BYTES) -> int:
        """Write a file of the PACS to the disk, as it is stored there.

        Args:
            instance: Which one.
            path: A new file; one that could not be fetched whole is removed.
            most_bytes: Larger ones are not fetched.

        Returns:
            Its size in bytes.

        Raises:
            PacsError: If it cannot be had.
            OSError: If it cannot be written.
        """
        where = (
            f"studies/{_quoted(instance.study)}/series/{_quoted(instance.series)}/instances/"
            f"{_quoted(instance.sop)}"
        )
        head = {"Accept": f'multipart/related; type="{_DICOM}"; transfer-syntax=*'}
        try:
            with self._asked("GET", where, headers=head) as answer, path.open("xb") as file:
                size = 0
                for piece in _first_part(answer):
                    size += len(piece)
                    if size > most_bytes:
                        raise TooLargeError(
                            f"expected a file of at most {most_bytes} bytes, the PACS sends more"
                        )
                    file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return size

    def store(self, files: Mapping[Instance, Path]) -> None:
        """Store results, and see that they are there.

        Args:
            files: Each with what its header says that it is.

        Raises:
            PacsError: If one of them is not found in the PACS afterwards.
            OSError: If a file cannot be read.
        """
        for instance, path in files.items():
            boundary = secrets.token_hex(16)
            kind = f'multipart/related; type="{_DICOM}"; boundary={boundary}'
            with self._asked(
                "POST",
                "studies",
                headers={"Content-Type": kind, "Accept": "application/dicom+json"},
                data=_Body(path, boundary),
            ) as answer:
                is_said = instance.sop in _stored(_limited(answer))
            # Some say that they have stored a file and have not: ask.
            if not self._has(instance):
                said = "says that it did" if is_said else "does not say that it did"
                raise PacsError(
                    f"expected the PACS to store a result, it has it not and {said}. Look into its "
                    "log; a UID that breaks the standard is one cause."
                )

    def has(self, instances: Iterable[Instance]) -> bool:
        """Whether the PACS holds all of these files.

        Raises:
            PacsError: If the PACS cannot be asked.
        """
        return all(self._has(instance) for instance in instances)

    def _has(self, instance: Instance) -> bool:
        where = f"studies/{_quoted(instance.study)}/series/{_quoted(instance.series)}/instances"
        found = self._pages(where, {"SOPInstanceUID": instance.sop})
        return any(_text(item, _SOP) == instance.sop for item in found)

    def _pages(self, where: str, query: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        offset, last = 0, None
        while True:
            page = {**query, "limit": str(PAGE), "offset": str(offset)}
            headers = {"Accept": "application/dicom+json"}
            try:
                with self._asked("GET", where, params=page, headers=headers) as answer:
                    content = _limited(answer)
            except PacsError as error:
                if error.is_gone:
                    return
                raise
            items = _json(content)
            yield from items
            # A PACS that knows no pages sends the same one again.
            if len(items) < PAGE or content == last:
                return
            offset, last = offset + len(items), content

    @contextmanager
    def _asked(self, method: str, where: str, **more: Any) -> Iterator[requests.Response]:
        """The answer to a question, if it is one."""
        url = f"{self._access.url.rstrip('/')}/{where}"
        wait = (min(10.0, self._access.timeout_s), self._access.timeout_s)
        problem = self._requests.exceptions
        try:
            with self._session.request(
                method, url, stream=True, timeout=wait, allow_redirects=False, **more
            ) as answer:
                if answer.status_code not in (200, 202, 204, 206):
                    raise _refusal(answer.status_code)
                yield answer
        except problem.SSLError:
            raise PacsError(
                "expected a certificate that is trusted, the PACS has another. Give the one of "
                "its hospital with --ca-file."
            ) from None
        except problem.Timeout:
            raise PacsError(
                f"expected an answer of the PACS within {self._access.timeout_s:g} s, none came"
            ) from None
        except problem.ConnectionError:
            raise PacsError("expected a PACS at the address, none can be reached") from None
        except problem.RequestException as error:
            raise PacsError(f"the PACS broke off its answer ({type(error).__name__})") from None


class _Body:
    """A file as the only part of a multipart request, read as it is sent.

    Args:
        path: The file.
        boundary: Between parts.
    """

    def __init__(self, path: Path, boundary: str) -> None:
        head = f"--{boundary}\r\nContent-Type: {_DICOM}\r\n\r\n"
        self._path, self._head = path, head.encode()
        self._end = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._head) + self._path.stat().st_size + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        with self._path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
        yield self._end


def _first_part(answer: requests.Response) -> Iterator[bytes]:
    """The content of the first part of a multipart answer, or all of another, as it comes."""
    pieces = answer.iter_content(_PIECE)
    kind = answer.headers.get("Content-Type", "")
    if not kind.lower().startswith("multipart/"):
        if not kind.lower().startswith(_DICOM) or "json" in kind.lower() or "xml" in kind.lower():
            raise PacsError(f"expected a DICOM file of the PACS, got {kind[:40]!r}")
        yield from pieces
        return
    boundary = _parameter(kind, "boundary")
    if not boundary:
        raise PacsError("expected a multipart answer with a boundary, the PACS names none")
    opening, closing = f"--{boundary}".encode(), f"\r\n--{boundary}".encode()
    held = b""
    for piece in pieces:
        held += piece
        start = held.find(opening)
        end = held.find(b"\r\n\r\n", start) if start >= 0 else -1
        if end >= 0:
            held = held[end + 4 :]
            break
        if len(held) > _MAX_HEAD_BYTES + _PIECE:
            raise PacsError("expected the head of a part in the answer of the PACS, got none")
    else:
        raise PacsError("the PACS broke off its answer before the file")
    while (end := held.find(closing)) < 0:
        keep = len(closing) - 1
        yield held[:-keep]
        held = held[-keep:]
        piece = next(pieces, b"")
        if not piece:
            raise PacsError("the PACS broke off its answer within a file")
        held += piece
    yield held[:end]


def _parameter(kind: str, name: str) -> str:
    """A parameter of a media type."""
    from email.message import Message

    message = Message()
    message["Content-Type"] = kind
    value = message.get_param(name)
    return value if isinstance(value, str) else ""


def _limited(answer: requests.Response) -> bytes:
    """The body of an answer, up to a limit."""
    content = bytearray()
    for piece in answer.iter_content(_PIECE):
        content += piece
        if len(content) > MAX_LIST_BYTES:
            raise PacsError(
                f"expected a list of at most {MAX_LIST_BYTES // 2**20} MiB, the PACS sends more"
            )
    return bytes(content)


def _json(content: bytes) -> list[Mapping[str, Any]]:
    """The entries of an answer; none of an empty one."""
    if not content.strip():
        return []
    try:
        items = json.loads(content)
    except (ValueError, RecursionError):
        raise PacsError(
            "expected a list in JSON, the PACS sends something else. Check that the address is "
            "the root of its DICOMweb service."
        ) from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise PacsError("expected a list of entries in JSON, the PACS sends something else")
    return items


def _stored(content: bytes) -> set[str]:
    """SOPInstanceUIDs that the answer to a STOW request calls stored."""
    try:
        answer = json.loads(content)
        sequence = answer.get(_REFERENCED, {}).get("Value", [])
        return {_text(item, _REFERENCED_SOP) for item in sequence}
    except (ValueError, RecursionError, AttributeError, TypeError):
        # Whether it was stored is asked for in any case.
        return set()


def _refusal(status: int) -> PacsError:
    if status in (404, 410):
        return PacsError("the PACS no longer has what was asked for", is_gone=True)
    if status in (401, 403):
        return PacsError(
            f"the PACS refuses access (status {status}). Check --user and "
            "COVIDCTNET_PACS_PASSWORD, and the rights of this user."
        )
    if 300 <= status < 400:
        return PacsError(
            f"the PACS sends to another address (status {status}), which is not followed. Give "
            "that address, if it is the right one."
        )
    return PacsError(f"expected an answer of the PACS, got status {status}")


def _values(item: Mapping[str, Any], tag: str) -> list[Any]:
    entry = item.get(tag)
    values = entry.get("Value") if isinstance(entry, dict) else None
    return values if isinstance(values, list) else []


def _text(item: Mapping[str, Any], tag: str) -> str:
    values = _values(item, tag)
    return values[0] if values and isinstance(values[0], str) else ""


def _number(item: Mapping[str, Any], tag: str) -> int:
    values = _values(item, tag)
    try:
        return int(values[0])
    except (IndexError, TypeError, ValueError):
        return -1


def _quoted(uid: str) -> str:
    """A UID within an address; a PACS may hold ones with any characters."""
    if uid in (".", ".."):
        raise PacsError("expected a UID, the PACS names a place in its addresses")
    return quote(uid, safe="")
