"""Which decoder of compressed DICOM: speed on whole scans, and what damaged streams do to it.

    python -m pipelines.experiments.robustness.decoders SCAN [SCAN ...] --trials 3000

Prints two tables in Markdown. A scan is a folder of DICOM files in JPEG lossless or JPEG-LS; JPEG
2000 streams are made from its slices. Each library decodes the same streams, in turn. Damaged ones
are decoded in child processes with limits: a crash there is counted, not suffered.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.encaps import generate_frames

from covidctnet.workers.isolate import Child, ChildError, Limits, Reply
from tests.fuzz.mutate import damaged

REPEATS = 5
LIMITS = Limits(memory_mb=2048, seconds=10.0)
FAMILIES = {
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
}
Decode = Callable[[bytes], Any]


@cache
def decoders() -> Mapping[tuple[str, str], Decode]:
    """By family and library; those that are installed."""
    import jpeg_ls
    import libjpeg
    import openjpeg

    by_name: dict[tuple[str, str], Decode] = {
        ("JPEG lossless", "pylibjpeg-libjpeg"): lambda stream: libjpeg.decode_pixel_data(
            stream, version=2, photometric_interpretation="MONOCHROME2"
        ),
        ("JPEG-LS", "pyjpegls"): lambda stream: jpeg_ls.decode_pixel_data(stream)[0],
        ("JPEG 2000", "pylibjpeg-openjpeg"): lambda stream: openjpeg.decode_pixel_data(
            stream, version=2
        ),
    }
    try:
        import imagecodecs
    except ImportError:
        return by_name
    return by_name | {
        ("JPEG lossless", "imagecodecs ljpeg"): imagecodecs.ljpeg_decode,
        ("JPEG lossless", "imagecodecs jpegsof3"): imagecodecs.jpegsof3_decode,
        ("JPEG-LS", "imagecodecs jpegls"): imagecodecs.jpegls_decode,
        ("JPEG 2000", "imagecodecs jpeg2k"): imagecodecs.jpeg2k_decode,
    }


@cache
def streams(folder: str) -> tuple[str, tuple[bytes, ...]]:
    """Family and compressed slices of a scan."""
    out = []
    family = ""
    for file in sorted(Path(folder).iterdir()):
        dataset = dcmread(file)
        family = FAMILIES.get(str(dataset.file_meta.TransferSyntaxUID), "")
        if not family:
            sys.exit("expected scans in JPEG lossless or JPEG-LS")
        out.append(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    return family, tuple(out)


@cache
def recoded(folder: str) -> tuple[str, tuple[bytes, ...]]:
    """A third of a scan's slices in JPEG 2000."""
    from openjpeg.utils import encode_array

    arrays = [dcmread(file).pixel_array for file in sorted(Path(folder).iterdir())[::3]]
    return "JPEG 2000", tuple(encode_array(a, bits_stored=16, codec_format=0) for a in arrays)


def source(folders: Sequence[str], number: int) -> tuple[str, tuple[bytes, ...]]:
    """Family and streams: of each scan, and last of the first one recoded."""
    return streams(folders[number]) if number < len(folders) else recoded(folders[0])


def speed(folders: Sequence[str]) -> str:
    """Seconds for a scan, one thread and two, the libraries in turn; medians."""
    lines = [
        "| family | slices | library | one thread | two threads | equal |",
        "|---|---|---|---|---|---|",
    ]
    for number in range(len(folders) + 1):
        family, scan = source(folders, number)
        named = {library: f for (kind, library), f in decoders().items() if kind == family}
        seconds: dict[tuple[str, int], list[float]] = {}
        for _ in range(REPEATS):
            for library, decode in named.items():
                for threads in (1, 2):
                    with ThreadPoolExecutor(threads) as pool:
                        start = time.perf_counter()
                        list(pool.map(decode, scan))
                        elapsed = time.perf_counter() - start
                    seconds.setdefault((library, threads), []).append(elapsed)
        first = next(iter(named.values()))
        expected = [_numbers(first(stream)) for stream in scan[::20]]
        for library, decode in named.items():
            equal = all(
                np.array_equal(_numbers(decode(stream)), array)
                for stream, array in zip(scan[::20], expected, strict=True)
            )
            one, two = (statistics.median(seconds[library, n]) for n in (1, 2))
            lines.append(
                f"| {family} | {len(scan)} | {library} | {one:.2f} s | {two:.2f} s | "
                f"{'yes' if equal else 'NO'} |"
            )
    return "\n".join(lines)


def _numbers(decoded: Any) -> np.ndarray:
    if isinstance(decoded, np.ndarray):
        return decoded.reshape(-1).astype("<u2")
    return np.frombuffer(bytes(decoded), "<u2")


def work(folders: list[str], number: int, library: str, seed: int) -> Reply:
    """Decode one damaged stream, in a child process."""
    family, scan = source(folders, number)
    rng = np.random.default_rng([number, seed])
    stream = scan[int(rng.integers(len(scan)))]
    wound = damaged(stream, rng, head=64)
    try:
        decoded = decoders()[family, library](wound)
    except MemoryError:
        return {"how": "error"}, None
    except Exception:  # whatever it raises is its way to refuse
        return {"how": "error"}, None
    whole = _numbers(decoders()[family, library](stream)).size
    return {"how": "decoded" if np.size(_numbers(decoded)) == whole else "other size"}, None


def crashes(folders: Sequence[str], trials: int) -> str:
    """What damaged streams do, by library."""
    columns = ("error", "decoded", "other size", "CRASHED", "TIMED_OUT", "OUT_OF_MEMORY")
    lines = [f"| family | library | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for number in range(len(folders) + 1):
        family, _ = source(folders, number)
        for kind, library in decoders():
            if kind != family:
                continue
            counts: Counter[str] = Counter()
            with Child("pipelines.experiments.robustness.decoders:work", limits=LIMITS) as child:
                for seed in range(trials):
                    request = {"folders": [*folders], "number": number, "library": library}
                    try:
                        reply, _ = child.ask({**request, "seed": seed})
                        counts[reply["how"]] += 1
                    except ChildError as error:
                        counts[error.code] += 1
            cells = " | ".join(str(counts[column]) for column in columns)
            lines.append(f"| {family} | {library} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scans", nargs="+", help="folders of compressed DICOM files")
    parser.add_argument("--trials", type=int, default=3000, help="damaged streams a library")
    options = parser.parse_args()
    folders = [str(Path(scan).resolve()) for scan in options.scans]
    sys.stdout.write(speed(folders) + "\n\n")
    sys.stdout.flush()
    sys.stdout.write(crashes(folders, options.trials) + "\n")


if __name__ == "__main__":
    main()
