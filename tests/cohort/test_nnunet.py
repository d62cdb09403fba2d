"""The layout of nnU-Net as a labelled archive."""

import json

import nibabel as nib
import numpy as np
import pytest

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.cohort.archive import read_cohort
from covidctnet.errors import CohortError
from covidctnet.io import read_volume
from covidctnet.io.lesions import lesion_truth
from tests.io import series
from tests.io.test_nifti import an_image

LABELS = {"background": 0, "lung": 1, "Covid-19": 2, "CAP_lesion": 3}
DATASET = {
    "channel_names": {"0": "CT"},
    "labels": LABELS,
    "numTraining": 3,
    "file_ending": ".nii.gz",
}


def mask_of(*values):
    """A mask of the scan's grid with a few voxels of each value, in NIfTI's order of axes."""
    mask = np.zeros(series.SHAPE, np.uint8)
    for place, value in enumerate(values):
        mask[2 + place, 3:6, 3:6] = value
    return mask


def nnunet(root, cases, *, first=0, told=None, ending=".nii.gz", channels=("_0000",), part="Tr"):
    """A folder as nnU-Net has it, with the values of the mask of each case."""
    (root / f"images{part}").mkdir(parents=True)
    (root / f"labels{part}").mkdir()
    if told is not None:
        (root / "dataset.json").write_text(json.dumps(told) if isinstance(told, dict) else told)
    affine = an_image().affine
    for number, (case, values) in enumerate(cases.items(), start=first):
        # Another scan each: the same one twice is refused.
        scan = series.a_scan()
        scan[0, 0, :5] += number
        for channel in channels:
            an_image(scan).to_filename(root / f"images{part}" / f"{case}{channel}{ending}")
        if values is not None:
            image = nib.Nifti1Image(mask_of(*values).T, affine)
            image.set_sform(affine, code=1)
            nib.save(image, root / f"labels{part}" / f"{case}{ending}")
    return root


def test_a_case_has_the_class_of_the_lesions_in_its_mask(tmp_path):
    cases = {"case_1": (1, 2), "case_2": (1,), "case_3": (3,)}
    cohort = read_cohort(nnunet(tmp_path, cases, told=DATASET))
    assert [(e.patient, e.label) for e in cohort] == [
        ("case_1", CHEST_CT.COVID19),
        ("case_2", CHEST_CT.CONTROL),
        ("case_3", CHEST_CT.CAP),
    ]
    assert all(entry.study.format == "nifti" and entry.split is None for entry in cohort)


def test_lungs_in_a_mask_are_no_lesions(tmp_path):
    (entry,) = read_cohort(nnunet(tmp_path, {"a": (1, 3)}, told=DATASET))
    volume = read_volume(entry.root / entry.path)
    truth = lesion_truth(entry.mask, volume)
    # The second of the two slices with a value, of nine voxels.
    np.testing.assert_array_equal(truth, mask_of(0, 1).astype(bool))


def test_version_1_and_a_test_set_with_masks_are_read(tmp_path):
    told = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "COVID-19 infection"}}
    nnunet(tmp_path, {"a": (1,)}, told=told, channels=("",))
    nnunet(tmp_path, {"b": (0, 0, 1)}, first=1, channels=("",), part="Ts")
    cohort = read_cohort(tmp_path)
    assert {(e.patient, e.label, e.split) for e in cohort} == {
        ("a", CHEST_CT.COVID19, None),
        ("b", CHEST_CT.COVID19, "test"),
    }


def test_only_the_channel_that_is_ct_is_read(tmp_path):
    told = {**DATASET, "channel_names": {"0": "PET", "1": "CT"}}
    (entry,) = read_cohort(nnunet(tmp_path, {"a": (2,)}, told=told, channels=("_0000", "_0001")))
    assert entry.path.name == "a_0001.nii.gz"


def test_a_lesion_without_a_class_is_of_the_only_other_class_of_a_system(tmp_path):
    two = Classes(("Control", "Covid-19"), normal="Control")
    told = {**DATASET, "labels": {"background": 0, "lesion": 1}}
    cohort = read_cohort(nnunet(tmp_path, {"a": (1,), "b": (0,)}, told=told), classes=[two])
    assert [entry.label.title for entry in cohort] == ["Covid-19", "Control"]


def test_a_cohort_csv_wins_over_the_layout(tmp_path):
    nnunet(tmp_path, {"a": (2,)}, told=DATASET)
    (tmp_path / "cohort.csv").write_text("study,patient,label\nimagesTr/a_0000.nii.gz,p1,CAP\n")
    (entry,) = read_cohort(tmp_path)
    assert (entry.patient, entry.label) == ("p1", CHEST_CT.CAP)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (None, "expected dataset.json next to imagesTr/"),
        ('{"labels": ', "expected JSON in dataset.json, got a mistake in line 1"),
        ("[1]", "expected an object in dataset.json, got list"),
        ({"labels": LABELS}, "expected channel_names in dataset.json with the channels"),
        ({**DATASET, "channel_names": {"0": "T1"}}, "expected one channel named CT .* got 'T1'"),
        ({**DATASET, "labels": [0, 1]}, "expected labels in dataset.json"),
        ({**DATASET, "labels": {"²": "Covid-19"}}, "expected labels in dataset.json"),
        ({**DATASET, "labels": {"9" * 5000: "Covid-19"}}, "expected labels in dataset.json"),
        ({**DATASET, "labels": {"lung": 1, "lesion": 2}}, "named after their class .*got 'lesion'"),
        ({**DATASET, "labels": {"background": 0, "lung": 1}}, "Name the class there, or add a coh"),
        ({**DATASET, "labels": {"Covid-19": 1, "spleen": 2}}, "got 'spleen'"),
        ({**DATASET, "file_ending": ".nrrd"}, "expected a file_ending out of .nii.gz, .nii"),
        ({**DATASET, "file_ending": ".nii"}, r"expected files CASE_0000.nii in imagesTr/"),
    ],
)
def test_a_dataset_json_that_cannot_be_followed_is_one_clear_line(tmp_path, told, message):
    with pytest.raises(CohortError, match=message) as caught:
        read_cohort(nnunet(tmp_path, {"a": (2,)}, told=told))
    assert "\n" not in str(caught.value)


def test_masks_that_are_missing_or_of_two_classes_are_listed_together(tmp_path):
    with pytest.raises(CohortError) as caught:
        read_cohort(nnunet(tmp_path, {"a": None, "b": (2, 3), "c": (2,)}, told=DATASET))
    told = str(caught.value)
    assert told.startswith("2 mistakes: case 1 of 3 in imagesTr/: its mask is missing")
    assert "case 2 of 3 in imagesTr/: its mask has lesions of CAP, Covid-19" in told
