"""The file next to a header that holds its voxels."""

from __future__ import annotations

import re
import unicodedata

from covidctnet.io.archive import File

MAX_HEADER_BYTES = 65536


def data_file_of(path: File) -> str | None:
    """The name of the file next to a header that holds its voxels; None when there is none.

    Raises:
        OSError: If the header cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    # Within a line: blanks that may span lines cost the square of their number.
    pattern = (
        rb"^data ?file:[ \t]*(.*?)[ \t\r]*$"
        if head.startswith(b"NRRD")
        else rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*(.*?)[ \t\r]*$"
    )
    match = re.search(pattern, head, re.MULTILINE | re.IGNORECASE)
    name = bare_name(match[1].decode("utf-8", errors="surrogateescape") if match else "LOCAL")
    return None if name.upper() == "LOCAL" or not is_plain(name) else name


def bare_name(name: str) -> str:
    """A name without what says that the file lies next to the header."""
    return re.sub(r"^(?:\./|\.\\)+", "", name.strip().strip('"'))


def folded(name: str) -> str:
    """The name of a file as a system has it that does not tell letter case and accents apart."""
    return unicodedata.normalize("NFC", name).casefold()


def is_plain(name: str) -> bool:
    """Whether a name leads to a file in the same folder."""
    return bool(name) and not re.search(r"[/\\\0:]|%\d*d|^\.+$", name) and name.upper() != "LIST"
