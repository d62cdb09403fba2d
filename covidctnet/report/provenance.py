"""What a result must carry to be understood and repeated."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Set
from importlib import metadata
from pathlib import PurePath
from typing import Any

from covidctnet._version import __version__
from covidctnet.contract import PredictorInfo

__all__ = ["json_bytes", "library_versions", "provenance_of", "run_key"]

_LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "SimpleITK",
    "pydicom",
    "imagecodecs",
    "nibabel",
    "safetensors",
    "pillow",
)


def provenance_of(info: PredictorInfo) -> dict[str, Any]:
    """Package, weights, settings, platform and libraries; nothing about the command or its user."""
    return {
        "covidctnet": __version__,
        "weights_digest": info.digest,
        "caveat": info.caveat,
        "model": json.loads(json_bytes(info.provenance)),
        "platform": {
            "python": platform.python_version(),
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
        },
        "libraries": library_versions(),
    }


def library_versions() -> dict[str, str]:
    """Versions of the libraries that answers depend on, by name."""
    return {name: version for name in _LIBRARIES if (version := _version(name))}


def run_key(provenance: Mapping[str, Any]) -> str:
    """Short name of a provenance: equal for equal ones."""
    return hashlib.sha256(json_bytes(provenance)).hexdigest()[:12]


def json_bytes(value: Any, *, indent: int | None = None) -> bytes:
    """JSON in UTF-8; mappings, sets and paths of any kind included."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)
    # A path may hold bytes that are no text; they stay readable.
    return (text + "\n").encode(errors="backslashreplace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Set):
        return sorted(value, key=str)
    if isinstance(value, PurePath):
        return value.name
    return str(value)


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""
