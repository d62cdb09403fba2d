"""Nothing of a header or a path that tells who, when or where reaches a log or a report."""

import json
import logging

import numpy as np
import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from covidctnet import read_volume
from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.cohort.pseudonyms import PRIVATE
from covidctnet.cohort.splits import SplitSettings
from covidctnet.contract import PredictorInfo
from covidctnet.errors import StudyError
from covidctnet.io import find_studies
from covidctnet.preprocess import PreprocessSettings
from covidctnet.report import Results
from covidctnet.results import Prediction
from covidctnet.run.classify import classify_into
from covidctnet.run.prepare import prepare
from tests.io import series
from tests.small import PREPROCESSING
from tests.volumes import a_chest

WORD, DATE, TIME = "Canary", "18560708", "131719"
MARKED = (
    "AccessionNumber",
    "AcquisitionComments",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "AdditionalPatientHistory",
    "AdmissionID",
    "AdmittingDiagnosesDescription",
    "BranchOfService",
    "ConsultingPhysicianName",
    "ContentDate",
    "ContentTime",
    "CountryOfResidence",
    "CurrentPatientLocation",
    "DerivationDescription",
    "DeviceSerialNumber",
    "EthnicGroup",
    "ImageComments",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "InstitutionAddress",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "IssuerOfPatientID",
    "MilitaryRank",
    "NameOfPhysiciansReadingStudy",
    "Occupation",
    "OperatorsName",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientAddress",
    "PatientBirthDate",
    "PatientBirthName",
    "PatientBirthTime",
    "PatientComments",
    "PatientID",
    "PatientMotherBirthName",
    "PatientName",
    "PatientReligiousPreference",
    "PatientTelephoneNumbers",
    "PerformedProcedureStepDescription",
    "PerformedProcedureStepID",
    "PerformedProcedureStepStartDate",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "ProtocolName",
    "ReferringPhysicianName",
    "RegionOfResidence",
    "RequestedProcedureDescription",
    "RequestingPhysician",
    "ResponsiblePerson",
    "SeriesDate",
    "SeriesDescription",
    "SeriesTime",
    "StationName",
    "StudyComments",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyTime",
)
SECRETS = (
    WORD,
    WORD.upper(),
    DATE,
    TIME,
    "1856",
    "13:17:19",
    series.uid("study"),
    series.uid("two"),
)


def mark(dataset, index=0):
    for number, keyword in enumerate(MARKED):
        kind = dictionary_VR(keyword)
        value = {"DA": DATE, "TM": TIME, "DT": DATE + TIME, "PN": f"{WORD}{number}^Eve"}
        setattr(dataset, keyword, value.get(kind, f"{WORD} {number}"))
    nested = Dataset()
    nested.PatientName = f"{WORD}^Nested"
    dataset.ReferencedPatientSequence = Sequence([nested])
    dataset.add_new(0x00090010, "LO", f"{WORD} private")
    dataset.add_new(0x00091001, "UT", f"{WORD} private text")


def test_forty_marks_and_more_are_set():
    dataset = Dataset()
    mark(dataset)
    assert len(MARKED) >= 40
    assert all(keyword_for_tag(tag_for_keyword(keyword)) == keyword for keyword in MARKED)
    assert sum(WORD in str(element.value) for element in dataset) >= 40


class Oracle:
    """Answers at once."""

    info = PredictorInfo(
        "covidctnet",
        "oracle",
        "0123456789ab",
        CHEST_CT,
        caveat="seen nobody",
        provenance={"weights": "oracle", "device": "cpu"},
    )

    def prepare(self, volume):
        return volume

    def __call__(self, volume, *, keep="numbers"):
        return Prediction(volume.source.study, dict.fromkeys(CHEST_CT, 1 / 3))


def spoil(name, value):
    def change(dataset, index):
        mark(dataset)
        if index == 5:
            if value is None:
                del dataset[name]
            else:
                setattr(dataset, name, value)

    return change


FAULTS = {
    "good": mark,
    "patient": spoil("PatientID", f"{WORD} other"),
    "study": spoil("StudyInstanceUID", series.uid("two")),
    "rescale": spoil("RescaleSlope", None),
    "scale": spoil("RescaleSlope", 3),
    "place": spoil("ImagePositionPatient", [0, 0, 0]),
    "matrix": spoil("Rows", 65535),
    "pixels": spoil("PixelData", b"CANARY"),
    "bits": spoil("BitsAllocated", 12),
    "number": spoil("ImageOrientationPatient", [1, 0, 0, 0, 0, 0]),
    "charset": spoil("SpecificCharacterSet", "ISO_IR 100"),
    "frames": spoil("NumberOfFrames", 7),
}


@pytest.fixture
def archive(tmp_path):
    """Every fault as a study of its own, under folders that are named after patients."""
    root = tmp_path / f"{WORD} archive {DATE}"
    for fault, change in FAULTS.items():
        series.write(
            root / f"{WORD}^Eve {fault}",
            change=change,
            study=f"study {fault}",
            name=f"{WORD}-{{:04d}}.dcm",
        )
    for file in (root / f"{WORD}^Eve charset").iterdir():
        file.write_bytes(file.read_bytes().replace(b"ISO_IR 100", b"CANARY_13 "))
    broken = root / f"{WORD} broken" / f"{WORD}.dcm"
    broken.parent.mkdir()
    broken.write_bytes(bytes(128) + b"DICM" + WORD.encode() * 30)
    for number, name in enumerate(("s.nii", "s.nii.gz", "s.mha", "s.nrrd", "s.zip")):
        (root / f"{WORD}-{name}").write_bytes(WORD.encode() * (200 + number))
    return root


def assert_silent(text):
    for secret in SECRETS:
        assert secret not in text, f"{secret} is told"


def test_no_mark_reaches_a_volume_an_error_or_a_log(archive, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    texts = []
    studies = find_studies(archive)
    assert len(studies) >= len(FAULTS) + 5
    for folder in sorted(archive.iterdir()):
        try:
            volume = read_volume(folder)
        except StudyError as error:
            texts.append(f"{error} {error.message} {error.study} {error!r}")
        else:
            texts.append(f"{volume.source} {volume.steps} {volume!r}")
    assert any("Source(" in text for text in texts)
    assert sum("Source(" not in text for text in texts) >= len(FAULTS)
    assert_silent(" ".join([*texts, caplog.text, *capfd.readouterr()]))


def test_no_mark_reaches_results_but_the_path_in_the_table(archive, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "out"
    counts = classify_into(Results(out), [archive], Oracle())
    assert counts.answered >= 1
    assert_silent(" ".join([caplog.text, *capfd.readouterr(), str(counts)]))
    assert_silent((out / "index.html").read_text())
    results = json.loads((out / "results.json").read_text())
    for study in results["studies"]:
        assert WORD in study.pop("source_path")
    assert_silent(json.dumps(results))
    for row in (out / "results.csv").read_text().splitlines()[1:]:
        assert row.count(WORD) == row.split(",")[1].count(WORD)


@pytest.mark.parametrize("options", [[], ["--json"], ["--quick"]])
def test_no_mark_reaches_what_inspect_shows(archive, caplog, capfd, options):
    main(["inspect", str(archive), "--verbose", *options])
    out, err = capfd.readouterr()
    assert out.count(str(archive)) >= 1
    # The path is for whoever asked; nothing else is.
    shown = [line for line in out.splitlines() if str(archive) not in line]
    assert_silent(" ".join([caplog.text, err, *shown]))


def test_ids_are_shown_on_a_terminal_alone(archive, monkeypatch, capfd):
    for options in (["--show-ids"], ["--show-ids", "--json"]):
        assert main(["inspect", str(archive), "--quick", *options]) == 2
    assert_silent(" ".join(capfd.readouterr()))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    main(["inspect", str(archive), "--quick", "--show-ids"])
    shown = [line for line in capfd.readouterr().out.splitlines() if str(archive) not in line]
    assert any(WORD in line and line.startswith("   patient ") for line in shown)


def test_no_mark_reaches_what_training_keeps(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    scan, _ = a_chest((25, 50, 60), 6.0)
    data = tmp_path / "data"
    for label, count in (("Control", 5), ("Covid-19", 4), ("CAP", 4)):
        for number in range(count):
            name = f"{label}{number}"
            array = np.array(scan.array)
            array[0, 0, :2] = ord(label[2]), number
            series.write(
                data / label / f"{WORD} {name}",
                array,
                change=mark,
                affine=series.an_affine((6.0, 6.0, 6.0)),
                study=name,
            )
    refused = next((data / "CAP").iterdir())
    next(refused.iterdir()).write_bytes(b"")
    work = tmp_path / "work"
    settings = PreprocessSettings(**PREPROCESSING)
    done = prepare(data, work, settings=settings, split=SplitSettings())
    assert len(done.failures) == 1
    assert_silent(" ".join([caplog.text, *capfd.readouterr(), str(done.failures)]))
    files = [
        file
        for file in work.rglob("*")
        if file.is_file() and file.name != "refused.csv" and file.parent.name != PRIVATE
    ]
    assert len(files) >= 9
    for file in files:
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in SECRETS[:5])
        assert_silent(str(file.relative_to(work)))
