"""What a file holds that is named as a volume and is none: what a download left in its place."""

from __future__ import annotations

from covidctnet.errors import StudyError

__all__ = ["check_content"]

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"(\xb5/\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7z",
}
_LFS = b"version https://git-lfs"
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<error", b"{", b"[")
_TEXT = frozenset(range(32, 127)) | frozenset(b"\t\n\r\f")
# So much of a text is looked at.
_LOOKED_AT = 256


def check_content(head: bytes) -> None:
    """Refuse what begins as something else than any volume does, saying what it is.

    Args:
        head: How the file begins, inflated where it was compressed by gzip.

    Raises:
        StudyError: ``CORRUPT_FILE``.
    """
    begin = head[:_LOOKED_AT]
    packed = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
    if packed is not None:
        what, advice = f"one that is compressed ({packed})", "Unpack it and give what it holds"
    elif head.startswith(_LFS):
        what, advice = "a pointer of Git LFS in its place", "Fetch the file itself (git lfs pull)"
    elif begin.lstrip().lower().startswith(_PAGES):
        what = "a web page or a message of a server in its place"
        advice = "Look at it in a text editor, then download the file again"
    elif begin and _TEXT.issuperset(begin):
        what, advice = "a text in its place", "Look at it, then download or copy the file again"
    elif head and not any(head):
        what, advice = "a file that begins with zeros", "Download or copy it again"
    else:
        return
    raise StudyError("CORRUPT_FILE", f"expected a NIfTI, MHA or NRRD file, got {what}. {advice}.")
