import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidctnet.classes import CHEST_CT
from covidctnet.evidence import LesionVolume, Region
from covidctnet.io.fingerprint import fingerprint_of
from covidctnet.report.provenance import json_bytes
from covidctnet.report.record import Record, columns, record_of
from tests.report.answers import AStudy, answer, refusal


def record(outcome, study=None, **rest):
    values = {
        "fingerprint": "fedcba9876543210",
        "seconds": {"read": 0.5, "classify": 1.25},
        "weights": "0123456789ab",
        "run": "feed",
        "order": 1,
        "answered": "2020-03-01T12:00:00+00:00",
        "picture": None,
    }
    return record_of(study or AStudy(), outcome, **{**values, **rest})


def row(*arguments, **rest):
    return dict(zip(columns(CHEST_CT), record(*arguments, **rest).to_row(CHEST_CT), strict=True))


def test_the_columns_are_the_documented_ones_in_their_order():
    assert (
        *("study", "source_path", "status", "code", "message", "label"),
        *("p_control", "p_covid19", "p_cap"),
        *("labels_left", "ood_score", "affected_lung", "lesion_ml", "seconds", "weights"),
    ) == columns(CHEST_CT)


def test_an_answer_becomes_a_row():
    cells = row(answer())
    assert cells["status"] == "classified"
    assert cells["label"] == "Covid-19"
    assert [cells[f"p_{label.key}"] for label in CHEST_CT] == ["0.200000", "0.700000", "0.100000"]
    assert (cells["seconds"], cells["weights"]) == ("1.75", "0123456789ab")
    assert (cells["code"], cells["message"]) == ("", "")
    assert cells["source_path"] == str(AStudy().path)


def test_a_flagged_answer_says_why_in_code_and_in_words():
    cells = row(answer(flags=("lungs_cut", "lossy")))
    assert cells["status"] == "flagged"
    assert cells["code"] == "lungs_cut lossy"
    assert cells["message"].startswith("The scan cuts off a part of the lungs. The images were")


def test_an_abstention_says_which_labels_are_left():
    cells = row(answer(prediction_set=(CHEST_CT.COVID19, CHEST_CT.CAP), ood_score=0.51234))
    assert cells["status"] == "abstained"
    assert cells["label"] == "Covid-19"
    assert (cells["labels_left"], cells["ood_score"]) == ("Covid-19; CAP", "0.5123")
    assert row(answer(prediction_set=(CHEST_CT.COVID19,)))["status"] == "classified"


def test_the_lesion_volume_is_told_in_shares_and_millilitres():
    regions = tuple(
        Region(lung, third, 500.0, 50.0 if third == "lower" else 0.0)
        for lung in ("right", "left")
        for third in ("upper", "middle", "lower")
    )
    record_made = record(answer(evidence=(LesionVolume(0.08, regions, (-120.0,)),)))
    cells = dict(zip(columns(CHEST_CT), record_made.to_row(CHEST_CT), strict=True))
    assert (cells["affected_lung"], cells["lesion_ml"]) == ("0.0333333", "100")
    assert (
        Record.from_json(json.loads(json.dumps(record_made.to_json()))).evidence
        == record_made.evidence
    )


def test_a_record_of_before_there_was_evidence_is_read(tmp_path):
    regions = [{"lung": "left", "third": "lower", "lung_ml": 500.0, "lesion_ml": 25.0}]
    burden = {"share": 0.05, "lesion_ml": 25.0, "lung_ml": 500.0, "threshold": 0.04}
    data = record(answer()).to_json()
    del data["evidence"]
    data["burden"] = {**burden, "top_slices_mm": [-120.0], "regions": regions}
    data["picture"] = "a.webp"
    restored = Record.from_json(json.loads(json.dumps(data)))
    cells = dict(zip(columns(CHEST_CT), restored.to_row(CHEST_CT), strict=True))
    assert (cells["affected_lung"], cells["lesion_ml"]) == ("0.05", "25")
    assert restored.evidence[1]["window_hu"] == [-1000.0, 400.0]
    assert Record.from_json(json.loads(json.dumps(restored.to_json()))) == restored


@pytest.mark.parametrize("told", [3, [3], [{"type": "lesion_volume"}], [{}]])
def test_a_record_with_evidence_that_is_none_is_not_read(told):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Record.from_json({**record(answer()).to_json(), "evidence": told})


def test_a_lesion_volume_without_lungs_is_left_out():
    cells = row(answer(evidence=(LesionVolume(0.08, ()),)))
    assert (cells["affected_lung"], cells["lesion_ml"]) == ("", "")


def test_a_refusal_has_a_reason_and_no_probabilities():
    cells = row(refusal())
    assert (cells["status"], cells["code"]) == ("refused", "SLICE_GAP")
    assert cells["message"] == "3 gaps in 212 slices"
    assert not any(cells[name] for name in ("label", "p_control", "p_covid19", "p_cap"))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_run_as_a_formula(start):
    study = AStudy(path=Path(f'{start}HYPERLINK("x")'))
    cell = row(answer(), study)["source_path"]
    assert cell.startswith("\\" if start.isspace() else f"'{start}")


def test_a_path_that_is_no_text_is_still_written():
    study = AStudy(path=Path(os.fsdecode(b"/inbox/\xff\xfe")))
    cells = row(answer(), study)
    assert cells["source_path"].encode()
    assert json_bytes(record(answer(), study).to_json()).decode()


def test_a_message_of_many_lines_becomes_one():
    assert row(refusal(message="one\n two\r\n\tthree"))["message"] == "one two three"


@pytest.mark.parametrize(
    "named", ["/inbox/Doe_Jane/scan.nii", "scan.nii", "/inbox/Doe_Jane"], ids=repr
)
def test_the_page_s_message_names_no_file(named):
    study = AStudy(path=Path("/inbox/Doe_Jane"), files=(Path("/inbox/Doe_Jane/scan.nii"),))
    record_made = record(refusal(message=f"cannot read {named}, expected a scan"), study)
    assert record_made.shown_message == "cannot read (file), expected a scan"
    assert named in record_made.message


@given(st.tuples(*[st.floats(0.01, 1)] * 3), st.text(), st.tuples(st.sampled_from("abc")))
def test_a_record_survives_json(weights, message, flags):
    import json

    shares = [w / sum(weights) for w in weights]
    for outcome in (
        answer(control=shares[0], covid19=shares[1], cap=shares[2], flags=flags, notes=("n",)),
        refusal(message=message),
    ):
        before = record(outcome)
        assert Record.from_json(json.loads(json_bytes(before.to_json()))) == before


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_studies_have_different_safe_file_names(one, other):
    stems = [record(answer(study=name), AStudy(id=name)).file_stem for name in (one, other)]
    assert (stems[0] == stems[1]) == (one == other)
    assert all(c.isascii() and (c.isalnum() or c in "-_") for c in "".join(stems))


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "one" / "scan.nii"
    file.parent.mkdir()
    file.write_bytes(b"voxels")
    return AStudy(path=file.parent, files=(file,))


def test_a_study_that_was_moved_keeps_its_fingerprint(study, tmp_path):
    before = fingerprint_of(study)
    moved = study.path.rename(tmp_path / "two")
    assert fingerprint_of(AStudy(path=moved, files=(moved / "scan.nii",))) == before


@pytest.mark.parametrize("change", ["longer", "voxels", "name", "another", "gone"])
def test_a_study_that_changed_changes_its_fingerprint(study, change):
    (file,) = study.files
    before, moment = fingerprint_of(study), file.stat().st_mtime_ns
    files = [file]
    if change == "longer":
        file.write_bytes(b"voxels+")
        os.utime(file, ns=(moment, moment))
    elif change == "voxels":
        file.write_bytes(b"VOXELS")
        os.utime(file, ns=(moment, moment + 10**6))
    elif change == "name":
        files = [file.rename(file.with_name("other.nii"))]
    elif change == "another":
        files.append(file.with_name("more.nii"))
    else:
        file.unlink()
    assert fingerprint_of(AStudy(path=study.path, files=tuple(files))) != before


def test_the_order_of_the_files_does_not_matter(tmp_path):
    files = [tmp_path / name for name in "cab"]
    for file in files:
        file.write_text(file.name)
    assert fingerprint_of(AStudy(files=tuple(files))) == fingerprint_of(
        AStudy(files=tuple(reversed(files)))
    )
