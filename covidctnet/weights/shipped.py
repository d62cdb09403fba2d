"""Where the presets and the weights that travel with the package are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["presets_root", "weights_root"]


def presets_root() -> Path:
    """Folder with one folder of YAML files a preset."""
    return _root("shipped_pipelines", "pipelines")


def weights_root() -> Path:
    """Folder with one folder a set of weights."""
    return _root("shipped_weights", "weights")


def _root(packaged: str, in_tree: str) -> Path:
    """Inside the installed package, or at the top of the source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / packaged
    return installed if installed.is_dir() else package.parent / in_tree
