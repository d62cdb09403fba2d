"""Checkpoints that are whole or not there, with the one before in reserve."""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from covidctnet.errors import UsageError
from covidctnet.files import make_folder, unwritable, write_whole

__all__ = ["BEST", "LAST", "PREVIOUS", "WholeFiles", "checkpoint_of", "read_whole"]

_LOG = logging.getLogger(__name__)

BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
"""Names of the best checkpoint of a run, the last one, and the one before the last."""
_NEXT = "next.ckpt"


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint so that neither a kill nor a full disk leaves a part of one.

    The bytes go to a file beside the target, are brought to the disk, and then take its name.
    Lightning writes into the system's temporary folder first; where that lies on another file
    system, its move empties the target before it copies. The last checkpoint of a run becomes the
    previous one when a newer one is there.

    Args:
        resumed: The checkpoint that the run goes on from, if any. What an earlier run left in the
            folder is never kept in reserve for another one.
    """

    def __init__(self, resumed: str | None = None) -> None:
        self._resumed = Path(resumed).resolve() if resumed else None
        self._has_saved = False

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any = None
    ) -> None:
        """See `lightning_fabric.plugins.CheckpointIO`.

        Raises:
            StorageError: If the disk is full or refuses; what was there before is whole.
        """
        target = Path(path)
        make_folder(target.parent)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        pieces = [content.getbuffer()]
        if target.name != LAST:
            write_whole(target, pieces)
            return
        # A run that is killed between these steps finds the next one, the previous one or both.
        following, before = target.with_name(_NEXT), target.with_name(PREVIOUS)
        write_whole(following, pieces)
        is_own = self._has_saved or self._resumed in {
            path.resolve() for path in (target, before, following)
        }
        try:
            if not is_own:
                before.unlink(missing_ok=True)
            elif target.is_file() and _is_archive(target):
                target.replace(before)
            following.replace(target)
        except OSError as error:
            raise unwritable(target.name, error) from error
        self._has_saved = True


def read_whole(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds; None if it is missing, damaged or something else.

    Args:
        path: Of the file. torch itself reads a checkpoint of which a part was zeroed.
    """
    try:
        if not _is_archive(path):
            return None
        held = torch.load(path, map_location="cpu", weights_only=True)
    # What else a file may hold fails in its own way; none of it is a checkpoint.
    except (
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        ValueError,
        EOFError,
        TypeError,
        OSError,
    ):
        return None
    return held if isinstance(held, dict) and "state_dict" in held else None


def checkpoint_of(named: str, folder: Path) -> str | None:
    """The file that ``--ckpt_path`` means; None where there is no last one yet.

    A damaged last one is replaced by the one before: training from there repeats its steps exactly.

    Args:
        named: A file, or ``last``.
        folder: Of the stage.

    Raises:
        UsageError: If there is no such file, or it is no whole checkpoint.
    """
    if named != "last":
        path = Path(named)
        if not path.is_file():
            raise UsageError(
                f"the checkpoint {path.name!r} does not exist; give a file, or `last` for the "
                "last one of the work folder"
            )
        if read_whole(path) is None:
            raise _not_whole(path)
        return str(path)
    last = folder / "checkpoints" / LAST
    # A run that was killed while it put the last one in its place has left the next one beside it.
    reserve = [last.with_name(PREVIOUS)]
    if not last.is_file():
        reserve.insert(0, last.with_name(_NEXT))
    if not any(path.is_file() for path in (last, *reserve)):
        _LOG.warning("the work folder has no checkpoint yet; training starts at the beginning")
        return None
    if read_whole(last) is not None:
        return str(last)
    for path in reserve:
        held = read_whole(path)
        if held is not None:
            state = "damaged" if last.is_file() else "missing"
            _LOG.warning(
                "the last checkpoint is %s; training goes on from the one before, step %d of "
                "epoch %d, and repeats what came after it",
                state,
                held["global_step"],
                held["epoch"],
            )
            return str(path)
    raise _not_whole(last)


def _not_whole(path: Path) -> UsageError:
    return UsageError(
        f"{path.name!r} is no whole checkpoint of a training run; give another, or train from "
        "the beginning without --ckpt_path"
    )


def _is_archive(path: Path) -> bool:
    """Whether the sums of all parts of a checkpoint are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch packs nothing: the sums of what is packed could take hours.
            is_plain = all(part.compress_type == zipfile.ZIP_STORED for part in archive.infolist())
            return is_plain and archive.testzip() is None
    except (OSError, ValueError, LookupError, EOFError, NotImplementedError, zipfile.BadZipFile):
        return False
