"""The worker next to a real PACS: studies that come, grow and break, kills and a restart.

    python -m pipelines.experiments.pacs.trial --weights compact --output docs/measured/pacs.md

Phantoms are sent to an Orthanc while `covidctnet serve pacs` runs. Some come in parts, some are no
chest CT, one is broken. The worker is killed three times with SIGKILL and Orthanc is restarted
once. The trial fails unless every study has one outcome, every chest CT one answer, and the PACS
holds what was sent and what was to be stored, and nothing else.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from covidctnet.errors import CovidCTNetError, UsageError
from covidctnet.report import Results
from covidctnet.results import ANSWERED
from covidctnet.serve.ledger import Ledger
from pipelines.experiments.command import tell
from pipelines.experiments.pacs.orthanc import PASSWORD, USER, WHY_NOT, Orthanc

KILLS = 3
QUIET_S, POLL_S = 4.0, 0.5
# Between the parts of a study that grows: shorter than what counts as quiet.
PAUSE_S = 1.5
WAIT_S = 3600.0


class TrialError(CovidCTNetError):
    """A study was lost, doubled or answered wrongly."""


@dataclass(frozen=True)
class Sent:
    """A study that is sent.

    Attributes:
        kind: Why it is there.
        files: In the order in which they are sent.
        parts: Portions, with a pause between them.
        is_chest: Whether it is to be answered.
        is_asked: Whether the worker is to fetch it.
    """

    kind: str
    files: tuple[Path, ...]
    parts: int = 1
    is_chest: bool = True
    is_asked: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trial and print its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--patients", type=int, default=15, help="phantoms of each class")
    parser.add_argument("--matrix", type=int, default=256)
    parser.add_argument("--spacing-mm", type=float, default=5.0)
    parser.add_argument("--others", type=int, default=5, help="growing studies, and no chest CT")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        if WHY_NOT:
            raise UsageError(f"{WHY_NOT}. Install orthanc and orthanc-dicomweb.")
        with tempfile.TemporaryDirectory(prefix="pacs-") as folder:
            return Trial(Path(folder), options).run()

    return tell(make, options.output)


class Trial:
    """One trial.

    Args:
        folder: For everything that it writes.
        options: Of the command line.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder, self._options = folder, options
        self._state = folder / "state"
        self._orthanc = Orthanc(folder / "orthanc")
        self._worker: subprocess.Popen[bytes] | None = None
        self._sent_files = 0
        self._kills = self._restarts = 0

    def run(self) -> str:
        """The page.

        Raises:
            TrialError: If a study was lost, doubled or answered wrongly.
        """
        studies = list(self._studies())
        began = time.monotonic()
        sending = threading.Thread(target=self._send, args=(studies,), daemon=True)
        try:
            self._orthanc.start()
            self._start()
            sending.start()
            self._disturb(sum(study.is_asked for study in studies), began)
            sending.join()
            outcomes = self._outcomes()
            self._end()
            return self._page(studies, outcomes, time.monotonic() - began)
        finally:
            self._end()
            self._orthanc.stop()

    def _studies(self) -> Iterator[Sent]:
        """What is sent: chests, some of them in parts, others, and one of broken pixels."""
        options = self._options
        archive = self._folder / "phantoms"
        command = ["phantom", "-o", str(archive), "--patients", str(options.patients)]
        command += ["--matrix", str(options.matrix), "--spacing-mm", str(options.spacing_mm)]
        subprocess.run(
            [sys.executable, "-P", "-m", "covidctnet", *command], check=True, capture_output=True
        )
        groups: dict[Path, list[Path]] = {}
        for path in sorted(archive.rglob("*.dcm")):
            groups.setdefault(path.parent, []).append(path)
        chests = [tuple(files) for _, files in sorted(groups.items())]
        growing, others = options.others, options.others
        whole = chests[: len(chests) - others - growing - 1]
        for number, files in enumerate(chests[len(whole) :]):
            if number < growing:
                yield Sent("chest CT that grows", files, parts=3)
            elif number < growing + others:
                # Every second one is of another modality, which is not even fetched.
                is_ct = (number - growing) % 2 == 0
                change = _without_body if is_ct else _magnetic
                yield Sent("no chest CT", tuple(change(files)), is_chest=False, is_asked=is_ct)
            else:
                yield Sent("chest CT with broken pixels", tuple(_broken(files)), is_chest=False)
        for files in whole:
            yield Sent("chest CT", files)

    def _send(self, studies: Sequence[Sent]) -> None:
        for study in studies:
            size = -(-len(study.files) // study.parts)
            for start in range(0, len(study.files), size):
                if start:
                    time.sleep(PAUSE_S)
                for path in study.files[start : start + size]:
                    self._deliver(path)

    def _deliver(self, path: Path) -> None:
        """As a scanner does: again, until it is stored."""
        while True:
            try:
                self._orthanc.send(path)
            except OSError:
                time.sleep(0.2)
            else:
                self._sent_files += 1
                return

    def _start(self) -> None:
        command = ["serve", "pacs", "--dicomweb", self._orthanc.url, "--user", USER]
        command += ["--state", str(self._state), "--weights", str(self._options.weights)]
        command += ["--quiet", str(QUIET_S), "--poll", str(POLL_S)]
        with (self._folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "covidctnet", *command],
                env={**os.environ, "COVIDCTNET_PACS_PASSWORD": PASSWORD},
                stdout=log,
                stderr=log,
            )

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.send_signal(signal.SIGTERM)
            self._worker.wait(60)
            self._worker = None

    def _outcomes(self) -> Counter[str]:
        path = self._state / "studies.sqlite"
        if not path.is_file():
            return Counter()
        with closing(Ledger(path)) as ledger:
            return Counter(ledger.outcomes())

    def _disturb(self, expected: int, began: float) -> None:
        """Kill the worker three times and restart the PACS once, while studies come."""
        moments = [expected * (k + 1) // (KILLS + 2) for k in range(KILLS + 1)]
        while (done := sum(self._outcomes().values())) < expected:
            if time.monotonic() - began > WAIT_S:
                raise TrialError(f"expected {expected} outcomes, got {done} in an hour")
            if self._worker is not None and self._worker.poll() is not None:
                raise TrialError(f"the worker ended by itself: {self._log()}")
            if moments and done >= moments[0]:
                moments.pop(0)
                if self._kills == 1 and not self._restarts:
                    self._orthanc.stop()
                    time.sleep(1)
                    self._orthanc.start()
                    self._restarts += 1
                else:
                    assert self._worker is not None
                    self._worker.kill()
                    self._worker.wait()
                    self._kills += 1
                    self._start()
            time.sleep(0.1)
        # Nothing is to come after the last one.
        time.sleep(2 * QUIET_S)

    def _log(self) -> str:
        return (self._folder / "worker.log").read_text(errors="replace")[-500:]

    def _page(self, studies: Sequence[Sent], outcomes: Counter[str], seconds: float) -> str:
        (results,) = (self._state / "results").iterdir()
        records = Counter(record.status for record in Results(results).records)
        answered = sum(records[status] for status in ANSWERED)
        chests = sum(study.is_chest for study in studies)
        objects = [path for path in results.rglob("*.dcm") if path.is_file()]
        held = len(self._orthanc.ask("/instances"))
        faults = []
        if answered != chests:
            faults.append(f"{answered} answers for {chests} chest CT")
        asked = sum(study.is_asked for study in studies)
        if sum(outcomes.values()) != asked or sum(records.values()) > asked:
            faults.append(f"{sum(outcomes.values())} outcomes for {asked} studies")
        if held != self._sent_files + len(objects):
            faults.append(
                f"{held} files in the PACS, {self._sent_files} sent and {len(objects)} results"
            )
        kept = Counter(
            self._orthanc.ask(f"/series/{one}")["MainDicomTags"]["Modality"]
            for one in self._orthanc.ask("/series")
        )
        if (kept["SEG"], kept["SR"]) != (chests, chests):
            faults.append(f"{kept['SEG']} SEG and {kept['SR']} SR for {chests} chest CT")
        if (self._kills, self._restarts) != (KILLS, 1):
            faults.append(f"{self._kills} kills and {self._restarts} restarts")
        if left := list((self._state / "incoming").glob("*")):
            faults.append(f"{len(left)} folders of patients left")
        if faults:
            raise TrialError(f"the trial failed: {'; '.join(faults)}. {self._log()}")
        kinds = Counter(study.kind for study in studies)
        lines = [
            "# Next to a PACS",
            "",
            f"Made by `make pacs-trial` (weights `{Path(self._options.weights).name}`): "
            f"{len(studies)} studies of phantoms, synthetic patients, sent to Orthanc while "
            f"`covidctnet serve pacs` ran. The worker was killed {self._kills} times and Orthanc "
            f"restarted {self._restarts} time. All of it took {seconds:.0f} s.",
            "",
            "| studies | number |",
            "|---|---|",
            *(f"| {kind} | {count} |" for kind, count in kinds.items()),
            "",
            "| outcome | studies |",
            "|---|---|",
            *(f"| {name} | {count} |" for name, count in sorted(outcomes.items())),
            "",
            f"Every chest CT has one answer ({answered} of {chests}). The PACS holds {held} files: "
            f"{self._sent_files} that were sent and {len(objects)} results, with {kept['SEG']} SEG "
            f"and {kept['SR']} SR among them.",
            "",
        ]
        return "\n".join(lines)


def _changed(files: Sequence[Path]) -> Iterator[tuple[Path, pydicom.Dataset]]:
    for path in files:
        yield path, pydicom.dcmread(path)


def _magnetic(files: Sequence[Path]) -> list[Path]:
    """The same files as another modality."""
    for path, data in _changed(files):
        data.Modality = "MR"
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
        data.save_as(path)
    return list(files)


def _without_body(files: Sequence[Path]) -> list[Path]:
    """A CT of nothing but water."""
    for path, data in _changed(files):
        data.PixelData = (data.pixel_array * 0 + 1024).tobytes()
        data.save_as(path)
    return list(files)


def _broken(files: Sequence[Path]) -> list[Path]:
    """Files that say that they are JPEG 2000 and hold noise."""
    for path, data in _changed(files):
        noise = os.urandom(1000)
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        data.PixelData = pydicom.encaps.encapsulate([noise])
        data["PixelData"].is_undefined_length = True
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.save_as(path)
    return list(files)


if __name__ == "__main__":
    sys.exit(main())
