"""Whether a lossy JPEG stream ends where its image ends: damage inside shows there.

libjpeg goes on through damage with a warning that its bindings drop. Codes that were changed are
read with other lengths, so that the image ends before the data, or the data before the image. A
decoder shows both: what it does not read may be changed and the image stays, and what it lacks may
be added and the image changes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

__all__ = ["jpeg_damage"]

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHIN = (0, 0xFF, *range(0xD0, 0xD8))
# Neither byte begins a marker; as codes they are no flat blocks.
_MORE = b"\x35\xca" * 2048
# Some writers fill up with so many bytes of one kind.
_MAX_FILLING = 16
# So many bytes at the end decide on pixels, of grey and of colours. In 1579 real files the last 1
# and 5 bytes are the most that decide on none.
_CHANGED = {2: 4, 3: 8}
# One scan of several may refine little: so many bytes of one that is not short.
_CHANGED_OF_MANY = 64
_LEAST_SCAN = 1024
# Some writers leave out the last bits: in 8 of the files the last blocks change with what is added.
_LAST_SAMPLES = 4096
_MASKS = (0xFF, 0x55, 0xAA, 0x0F)
# More scans than this are not tried.
_MAX_SCANS = 16


def jpeg_damage(stream: bytes, decode: Callable[[bytes], np.ndarray]) -> str | None:
    """What is wrong with a stream that decodes; None when nothing is found.

    A change that keeps the length of every code is not found, nor one before a restart marker.

    Args:
        stream: Of Huffman codes, from its start marker on.
        decode: The decoder, which gives an image of any type and may raise errors of its own.
    """
    image = decode(stream)

    def changed(other: bytes) -> int:
        try:
            found = decode(other)
        except Exception:  # whatever it fails with, it has read on
            return image.size
        return image.size if found.shape != image.shape else int((found != image).sum())

    ends = _scan_ends(stream)
    is_progressive = len(ends) > 1
    for start, end in pairwise([0, *ends]):
        if changed(stream[:end] + _MORE + stream[end:]) > min(_LAST_SAMPLES, image.size // 16):
            return "its data end before its image"
        body = stream[:end]
        changed_bytes = _CHANGED_OF_MANY if is_progressive else _CHANGED[image.ndim]
        if is_progressive and end - start < _LEAST_SCAN:
            continue
        filling = len(body) - len(body.rstrip(body[-1:])) if body[-1] in (0, 0xFF) else 0
        last = end - min(filling, _MAX_FILLING)
        first = last - changed_bytes
        while body[first - 1] == 0xFF:  # what follows it makes a marker of it
            first -= 1
        part = np.frombuffer(body[first:last], np.uint8)
        others = (np.minimum(part ^ np.uint8(mask), 0xFE).tobytes() for mask in _MASKS)
        if not any(changed(body[:first] + other + stream[last:]) for other in others):
            return "its image ends before its data"
    return None


def _scan_ends(stream: bytes) -> list[int]:
    """Where the codes of each scan end; scans of a thumbnail within a segment are none."""
    ends: list[int] = []
    place = 2
    while len(ends) < _MAX_SCANS:
        place = stream.find(b"\xff", place)
        if place < 0 or place + 3 >= len(stream):
            break
        marker = stream[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker == _END_OF_IMAGE:
            break
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if marker != _START_OF_SCAN:
            continue
        # Stuffed bytes, restart markers and fill bytes belong to the codes.
        while (place := stream.find(b"\xff", place)) >= 0 and place + 1 < len(stream):
            if stream[place + 1] not in _WITHIN:
                break
            place += 1 if stream[place + 1] == 0xFF else 2
        if place < 0 or place + 1 >= len(stream):
            break
        ends.append(place)
    return ends
