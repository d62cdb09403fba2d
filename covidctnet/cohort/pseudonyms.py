"""Ids that nobody can turn back into patients who does not have the key.

A plain digest of a patient number is no secret: all numbers of eight digits are tried in seconds.
Ids are keyed digests (HMAC-SHA-256). The key lies in a folder ``do-not-share`` within the folder of
the work, the results or the evaluation, so that it lives as long as the ids do and a run that is
continued finds it; who shares the others leaves that folder out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from covidctnet.cohort.archive import CohortStudy
from covidctnet.errors import UsageError
from covidctnet.files import make_folder, unwritable, write_whole
from covidctnet.io.discover import Study

__all__ = [
    "FORMER",
    "IDS_FILE",
    "KEY_FILE",
    "PRIVATE",
    "Pseudonyms",
    "ids_of_work",
    "is_keyed",
    "private_folder",
    "pseudonyms_of",
]

_LOG = logging.getLogger(__name__)
_S = TypeVar("_S", bound=Study)

PRIVATE = "do-not-share"
"""Name of the folder that tells who patients are."""
KEY_FILE = "do-not-share-key.txt"
IDS_FILE = "ids.json"
"""Says that the ids of a folder are keyed, and lets a wrong key be known."""
_README = """DO NOT SHARE THIS FOLDER.

do-not-share-key.txt
    The key that the ids of studies and patients are made with. Who has it can find out which
    patient an id is, by trying names and numbers.
do-not-share-key-table.csv
    Which study and patient an id is: paths, UIDs, patient numbers.

Keep it where the scans may lie. Share the rest of the folder above without it. Without the key no
run can be continued here: ids would change.
"""
_KEY_BYTES = 32
_DIGITS = 12
_WAIT_S = 2.0


@dataclass(frozen=True)
class Pseudonyms:
    """How ids are made of a folder's studies and patients.

    Attributes:
        secret: The key; empty for the ids of before keys, which are plain digests.
    """

    secret: bytes = field(repr=False)

    def patient(self, name: str) -> str:
        """The id of a patient by a name of any kind: ``p`` and 12 hexadecimal digits."""
        if not self.secret:
            return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]
        return f"p{self._digest('patient', name)}"

    def study(self, study: str) -> str:
        """The id of a study by the id that readers give it: ``s`` and 12 hexadecimal digits.

        The letter keeps spreadsheets from reading an id as a number.
        """
        return f"s{self._digest('study', study)}" if self.secret else study

    def named(self, study: _S) -> _S:
        """A study under its id."""
        return replace(study, id=self.study(study.id))

    def cohort(self, cohort: Iterable[CohortStudy]) -> tuple[CohortStudy, ...]:
        """Labelled studies under their ids, with the pseudonyms of their patients."""
        return tuple(
            replace(e, study=self.named(e.study), patient=self.patient(e.patient)) for e in cohort
        )

    @property
    def check(self) -> str:
        """Says whether two keys are one, and nothing about the key."""
        return self._digest("check", "")

    def keep(self, folder: Path) -> Pseudonyms:
        """Write the key into a folder, readable by its owner alone.

        Several processes may do so at once: the first one's key stays.

        Args:
            folder: That the ids are of; made where it is not there.

        Returns:
            What the folder has now.

        Raises:
            UsageError: If it has the key of other ids.
            StorageError: If it cannot be written.
        """
        if not self.secret:
            return self
        private = private_folder(folder)
        try:
            _write_once(private / KEY_FILE, f"{self.secret.hex()}\n")
        except OSError as error:
            raise unwritable("the key of the ids", error) from error
        kept = Pseudonyms(_read_key(private / KEY_FILE))
        _compare(folder, kept)
        if _known_check(folder) is None:
            told = {"ids": "keyed", "check": kept.check}
            write_whole(folder / IDS_FILE, json.dumps(told) + "\n")
        return kept

    def _digest(self, kind: str, text: str) -> str:
        message = f"{kind}\n{text}".encode(errors="surrogatepass")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()[:_DIGITS]


FORMER = Pseudonyms(b"")
"""The ids of before keys."""


def is_keyed(study: str) -> bool:
    """Whether the id of a study was made with a key."""
    return study.startswith("s") and len(study) == 1 + _DIGITS


def ids_of_work(work: Path) -> Pseudonyms:
    """How the ids of a work folder, or of a fold in it, were made.

    Raises:
        UsageError: If its key cannot be read.
    """
    for folder in (work, work.resolve().parent.parent):
        if (folder / PRIVATE / KEY_FILE).is_file():
            return Pseudonyms(_read_key(folder / PRIVATE / KEY_FILE))
    return FORMER


def private_folder(folder: Path) -> Path:
    """The folder within another one that says who patients are; only its owner may look into it.

    Raises:
        UsageError: If it cannot be made.
        StorageError: If it cannot be written into.
    """
    private = folder / PRIVATE
    make_folder(private)
    # A file system that knows no rights has none to take.
    with suppress(OSError):
        private.chmod(0o700)
    if not (private / "README.txt").exists():
        write_whole(private / "README.txt", _README)
    return private


def pseudonyms_of(folder: Path, *, has_former: bool, key: Path | None = None) -> Pseudonyms:
    """How the ids of a folder are made; a new key where it has none, which is not written yet.

    Args:
        folder: Of the work, the results or the evaluation, there or not.
        has_former: Whether it holds ids, which are plain digests if it has no key.
        key: A folder of an earlier run, its ``do-not-share`` or the file in it: the key to take.

    Raises:
        UsageError: If the folder has lost its key, or the key is another one or none.
    """
    own, known = folder / PRIVATE / KEY_FILE, _known_check(folder)
    if key is not None:
        if has_former and known is None and not own.exists():
            raise UsageError(
                "expected a new folder for --key, got one whose ids were made without a key. Leave "
                "--key out, or give another folder."
            )
        chosen = Pseudonyms(_read_key(_key_file(key)))
    elif own.exists():
        chosen = Pseudonyms(_read_key(own))
    elif known is not None:
        raise UsageError(
            f"expected the key of the ids in {PRIVATE}/{KEY_FILE}, got none: with a new one every "
            "patient would be somebody else. Put the folder back, or name it with --key."
        )
    elif has_former:
        _LOG.info("the ids of this folder were made without a key, and stay as they are")
        return FORMER
    else:
        return Pseudonyms(secrets.token_bytes(_KEY_BYTES))
    _compare(folder, chosen)
    if own.exists() and _read_key(own) != chosen.secret:
        raise _other_key()
    return chosen


def _compare(folder: Path, chosen: Pseudonyms) -> None:
    if _known_check(folder) not in (None, chosen.check):
        raise _other_key()


def _other_key() -> UsageError:
    return UsageError(
        "expected the key that the ids of this folder were made with, got another one. Leave --key "
        "out, put the right one back, or give another folder."
    )


def _known_check(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / IDS_FILE).read_text(encoding="utf-8"))["check"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key_file(path: Path) -> Path:
    for file in (path, path / KEY_FILE, path / PRIVATE / KEY_FILE):
        if file.is_file():
            return file
    raise UsageError(
        f"expected a folder with {PRIVATE}/{KEY_FILE} behind --key, got {path.name!r}. Name the "
        "work, results or evaluation folder whose ids are wanted."
    )


def _read_key(file: Path) -> bytes:
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            secret = bytes.fromhex(file.read_text(encoding="ascii").strip())
        except OSError as error:
            raise UsageError(
                f"the key of the ids cannot be read ({error.strerror}); check the rights of "
                f"{PRIVATE}/{KEY_FILE}"
            ) from None
        except ValueError:
            secret = b""
        if len(secret) == _KEY_BYTES:
            return secret
        # Another process may be writing it, where a file system knows no links.
        if time.monotonic() > end:
            raise UsageError(
                f"expected {2 * _KEY_BYTES} hexadecimal digits in {KEY_FILE}, got something else. "
                "Restore it from a copy."
            )
        time.sleep(0.05)


def _write_once(file: Path, text: str) -> None:
    """Write a file that only its owner may read, unless it is there: whole, and by one process."""
    if file.exists():
        return
    whole = file.with_name(f".{file.name}.{secrets.token_hex(4)}.unfinished")
    try:
        _write_private(whole, text)
        try:
            os.link(whole, file)
        except FileExistsError:
            return
        except OSError:
            # A file system without links.
            with suppress(FileExistsError):
                _write_private(file, text)
    finally:
        whole.unlink(missing_ok=True)


def _write_private(file: Path, text: str) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
