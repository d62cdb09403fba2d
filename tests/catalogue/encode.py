"""Small encoders of compressed pixels: what no installed package writes, or not without its layer.

Source: ITU-T T.81 (JPEG), DICOM PS3.5 annexes A and G.
"""

from __future__ import annotations

import struct

import numpy as np
from pydicom.encaps import encapsulate
from scipy.fft import dctn

_BLOCK = 8


def jpeg_lossless(array: np.ndarray, predictor: int = 1) -> bytes:
    """16-bit lossless JPEG (process 14); predictor 1 is what syntax .70 asks for.

    Args:
        array: Unsigned, 16 bits, shape (row, column).
        predictor: 1 (left) to 7 (mean of left and above).
    """
    samples = array.astype(np.int64)
    left, above, corner = (np.zeros_like(samples) for _ in range(3))
    left[:, 1:] = samples[:, :-1]
    above[1:] = samples[:-1]
    corner[1:, 1:] = samples[:-1, :-1]
    guess = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor]
    guess[0], guess[:, 0] = left[0], above[:, 0]
    guess[0, 0] = 2**15
    bits = []
    for difference in ((samples - guess + 2**15) % 2**16 - 2**15).ravel().tolist():
        # 32768 and -32768 are one number modulo 65536; it has a category without further bits.
        size = 16 if difference == -(2**15) else abs(difference).bit_length()
        bits.append(f"{size:05b}" + ("" if size == 16 else _signed(difference, size)))
    table = _huffman(0x00, 5, range(17))
    return _stream(0xC3, array.shape, 16, table, bytes([predictor, 0, 0]), "".join(bits))


def jpeg_lossy(array: np.ndarray, precision: int = 12) -> bytes:
    """Sequential JPEG, 8 or 12 bits, with the finest quantisation: off by two numbers at most.

    Args:
        array: Unsigned, below 2 ** precision, shape (row, column).
        precision: 12 is syntax .51, 8 is syntax .50.
    """
    rows, columns = array.shape
    padded = np.pad(array.astype(float), ((0, -rows % _BLOCK), (0, -columns % _BLOCK)), "edge")
    order = sorted(
        np.ndindex(_BLOCK, _BLOCK),
        key=lambda p: (p[0] + p[1], p[0] if (p[0] + p[1]) % 2 else p[1]),
    )
    bits = []
    last = 0
    for row in range(0, padded.shape[0], _BLOCK):
        for column in range(0, padded.shape[1], _BLOCK):
            block = padded[row : row + _BLOCK, column : column + _BLOCK] - 2 ** (precision - 1)
            terms = np.rint(dctn(block, norm="ortho")).astype(int)
            first, *others = (int(terms[place]) for place in order)
            size = abs(first - last).bit_length()
            bits.append(f"{size:05b}" + _signed(first - last, size))
            last = first
            run = 0
            while others and others[-1] == 0:
                others.pop()
            for term in others:
                if term == 0:
                    run += 1
                    continue
                while run > 15:
                    bits.append(_ac(15, 0))
                    run -= 16
                size = abs(term).bit_length()
                bits.append(_ac(run, size) + _signed(term, size))
                run = 0
            if len(others) < _BLOCK**2 - 1:
                bits.append(_ac(0, 0))
    tables = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64)
    tables += _huffman(0x00, 5, range(16)) + _huffman(0x10, 8, range(255))
    frame = 0xC0 if precision == 8 else 0xC1
    return _stream(frame, array.shape, precision, tables, bytes([0, 63, 0]), "".join(bits))


def rle(array: np.ndarray) -> bytes:
    """DICOM RLE of 16-bit numbers, without a single repeated run."""
    content = array.astype(">u2").tobytes()
    segments = []
    for plane in (content[0::2], content[1::2]):
        parts = (plane[i : i + 128] for i in range(0, len(plane), 128))
        segment = b"".join(bytes([len(part) - 1]) + part for part in parts)
        segments.append(segment + b"\0" * (len(segment) % 2))
    header = struct.pack("<3I", 2, 64, 64 + len(segments[0])).ljust(64, b"\0")
    return header + b"".join(segments)


def jpeg_ls(array: np.ndarray, lossy_error: int = 0) -> bytes:
    """JPEG-LS of unsigned 16-bit numbers."""
    import jpeg_ls

    return bytes(jpeg_ls.encode_array(np.ascontiguousarray(array), lossy_error=lossy_error))


def jpeg_2000(array: np.ndarray, ratio: float | None = None) -> bytes:
    """JPEG 2000, without loss unless a ratio is given; wants 32 rows and columns."""
    from openjpeg.utils import encode_array

    return encode_array(
        np.ascontiguousarray(array),
        photometric_interpretation=2,
        compression_ratios=None if ratio is None else [ratio],
    )


def high_throughput_jpeg_2000(array: np.ndarray) -> bytes:
    """High-throughput JPEG 2000 without loss, by another library than the reader's decoder."""
    from imagecodecs import htj2k_encode

    return bytes(htj2k_encode(np.ascontiguousarray(array)))


def plain(array: np.ndarray) -> bytes:
    """Little endian, as it is."""
    return array.astype("<u2").tobytes()


def fragmented(stream: bytes, parts: int = 1) -> bytes:
    """One encapsulated frame in some fragments."""
    return encapsulate([stream], fragments_per_frame=parts)


def _ac(run: int, size: int) -> str:
    # Code words of one length, in the order of the table's symbols.
    return f"{run << 4 | size:08b}"


def _signed(number: int, size: int) -> str:
    if size == 0:
        return ""
    return f"{number if number > 0 else number + 2**size - 1:0{size}b}"


def _huffman(kind: int, length: int, symbols: range) -> bytes:
    """A table whose code words are all of one length."""
    counts = bytes(len(symbols) if k == length else 0 for k in range(1, 17))
    content = bytes([kind]) + counts + bytes(symbols)
    return b"\xff\xc4" + struct.pack(">H", len(content) + 2) + content


def _stream(
    frame: int, shape: tuple[int, ...], precision: int, tables: bytes, scan: bytes, bits: str
) -> bytes:
    bits += "1" * (-len(bits) % 8)
    content = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    sizes = struct.pack(">HBHHB", 11, precision, shape[0], shape[1], 1) + bytes([1, 0x11, 0])
    return (
        b"\xff\xd8"
        + tables
        + bytes([0xFF, frame])
        + sizes
        + b"\xff\xda"
        + struct.pack(">HB", 8, 1)
        + bytes([1, 0x00])
        + scan
        + content.replace(b"\xff", b"\xff\x00")
        + b"\xff\xd9"
    )
