"""Which of several stacks is read."""

import numpy as np
import pytest
from pydicom.uid import XRayRadiationDoseSRStorage

from covidctnet.cli import main
from covidctnet.errors import StudyError, UsageError
from covidctnet.io import find_studies, read_study, read_volume
from covidctnet.io.dicom.kernels import kernel_kind
from covidctnet.io.dicom.objects import series_key
from covidctnet.run.inspect import describe, inspect_paths, render
from tests.io import series
from tests.volumes import a_chest


def test_localizers_are_dropped_and_noted(tmp_path):
    series.write(tmp_path / "scan")
    series.write(
        tmp_path / "scout",
        series.a_scan()[:2],
        series="scout",
        change=lambda ds, i: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, series.a_scan())
    assert any("localizer" in note for note in volume.source.notes)


def test_a_localizer_in_the_same_series_is_told_by_its_geometry(tmp_path):
    series.write(tmp_path)
    coronal = np.array([[0, 0, 0.7, 0], [-2.5, 0, 0, 0], [0, -0.8, 0, 0], [0, 0, 0, 1.0]])
    ds = series.a_slice(series.a_scan()[0], 99, affine=coronal)
    series.save(ds, tmp_path / "scout.dcm")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, series.a_scan())
    assert any("TOO_FEW" in note for note in volume.source.notes)


def test_thinner_slices_win(tmp_path):
    thin = series.a_scan((30, 20, 16))
    series.write(tmp_path / "thick", series="a")
    series.write(tmp_path / "thin", thin, series="b", affine=series.an_affine((1.0, 0.8, 0.7)))
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, thin)
    assert any("thicker slices" in note for note in volume.source.notes)


def test_a_short_series_does_not_win_by_thin_slices(tmp_path):
    series.write(tmp_path / "thick", series="a")
    series.write(tmp_path / "thin", series="b", affine=series.an_affine((1.0, 0.8, 0.7)))
    assert read_volume(tmp_path).spacing[0] == pytest.approx(2.5)


def test_original_wins_over_derived_and_axial_over_coronal(tmp_path):
    series.write(tmp_path / "a", series="a")
    other = series.a_scan() + np.int16(1)
    series.write(
        tmp_path / "b",
        other,
        series="b",
        change=lambda ds, i: setattr(ds, "ImageType", ["DERIVED", "SECONDARY"]),
    )
    coronal = np.array([[0, 0, 0.7, 0], [2.5, 0, 0, 0], [0, -0.8, 0, 0], [0, 0, 0, 1.0]])
    series.write(tmp_path / "c", series="c", affine=coronal)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, series.a_scan())
    told = " ".join(volume.source.notes)
    assert "derived" in told and "not axial" in told


def test_a_standard_kernel_wins_over_lung_and_lung_over_bone(tmp_path):
    for k, kernel in enumerate(["B80s", "B60f", "B30f"]):
        series.write(
            tmp_path / kernel,
            series.a_scan() + np.int16(k),
            series=kernel,
            change=lambda ds, i, kernel=kernel: setattr(ds, "ConvolutionKernel", kernel),
        )
    np.testing.assert_array_equal(read_volume(tmp_path).array, series.a_scan() + 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("B30f", "standard"),
        ("B60f", "lung"),
        ("Bl57", "lung"),
        ("B80s", "bone"),
        ("STANDARD", "standard"),
        ("LUNG", "lung"),
        ("BONEPLUS", "bone"),
        ("FC08", "standard"),
        ("FC51", "lung"),
        ("FC30", "bone"),
        ("YA", "lung"),
        ("C", "standard"),
        ("Br40d\\3", "standard"),
        ("", "unknown"),
    ],
)
def test_kernels_are_known_by_their_names(name, kind):
    assert kernel_kind(name) == kind


def test_a_tie_is_refused_and_the_caller_can_choose(tmp_path):
    series.write(tmp_path / "a", series="a")
    series.write(tmp_path / "b", series.a_scan() + np.int16(1), series="b")
    with pytest.raises(StudyError, match=r"AMBIGUOUS_SERIES.*series=KEY") as caught:
        read_volume(tmp_path)
    keys = [s["key"] for s in describe(find_studies(tmp_path)[0])["series"]]
    assert all(key in str(caught.value) for key in keys)
    arrays = [read_volume(tmp_path, series=key).array for key in keys]
    assert sorted(int(a[0, 0, 1]) for a in arrays) == [100, 101]
    with pytest.raises(StudyError, match="UNKNOWN_SERIES"):
        read_volume(tmp_path, series="nonsense")


def test_every_series_can_be_a_study(tmp_path):
    series.write(tmp_path / "a", series="a")
    series.write(tmp_path / "b", series.a_scan() + np.int16(1), series="b")
    found = find_studies(tmp_path, every_series=True)
    assert len({s.id for s in found}) == 2
    assert {int(read_study(s).array[0, 0, 1]) for s in found} == {100, 101}
    assert len({s.series for s in found} - {None}) == 2
    assert find_studies(tmp_path)[0].series is None


def test_a_whole_series_wins_over_one_with_a_gap(tmp_path):
    series.write(tmp_path / "a", series="a")
    series.write(
        tmp_path / "b",
        series.a_scan((30, 20, 16)),
        series="b",
        affine=series.an_affine((1.0, 0.8, 0.7)),
        skip=(9,),
    )
    volume = read_volume(tmp_path)
    assert len(volume.array) == 12
    assert any("SLICE_GAP" in note for note in volume.source.notes)


def test_copies_of_slices_are_dropped_and_noted(tmp_path):
    series.write(tmp_path / "a")
    series.write(tmp_path / "b")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, series.a_scan())
    assert any("12 copies" in note for note in volume.source.notes)


def test_two_acquisitions_in_one_series_are_told_apart(tmp_path):
    series.write(tmp_path)

    def second(ds, index):
        ds.AcquisitionNumber = 2
        ds.SOPInstanceUID = series.uid(f"second/{index}")

    series.write(tmp_path, series.a_scan() + np.int16(5), change=second, name="b{:04d}.dcm")
    with pytest.raises(StudyError, match="AMBIGUOUS_SERIES"):
        read_volume(tmp_path)
    keys = [s["key"] for s in describe(find_studies(tmp_path)[0])["series"]]
    assert {int(read_volume(tmp_path, series=k).array[0, 0, 1]) for k in keys} == {100, 105}


def test_interleaved_acquisitions_are_not_woven_together(tmp_path):
    series.write(tmp_path)

    def second(ds, index):
        ds.AcquisitionNumber = 2
        ds.SOPInstanceUID = series.uid(f"second/{index}")
        ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], ds.ImagePositionPatient[2] + 1.25]

    series.write(tmp_path, series.a_scan() + np.int16(5), change=second, name="b{:04d}.dcm")
    with pytest.raises(StudyError, match="AMBIGUOUS_SERIES"):
        read_volume(tmp_path)


def test_acquisitions_one_above_the_other_stay_one_scan(tmp_path):
    series.write(tmp_path, change=lambda ds, i: setattr(ds, "AcquisitionNumber", i // 4))
    np.testing.assert_array_equal(read_volume(tmp_path).array, series.a_scan())


def test_acquisitions_that_nothing_separates_are_refused(tmp_path):
    series.write(tmp_path)
    series.write(
        tmp_path,
        series.a_scan() + np.int16(5),
        name="b{:04d}.dcm",
        change=lambda ds, i: setattr(ds, "SOPInstanceUID", series.uid(f"second/{i}")),
    )
    with pytest.raises(StudyError, match="OVERLAPPING_ACQUISITIONS"):
        read_volume(tmp_path)


@pytest.mark.parametrize("which", [5, 11])
def test_a_slice_of_another_matrix_leaves_a_hole(tmp_path, which):
    def other(ds, index):
        if index == which:
            ds.Rows, ds.PixelData = ds.Rows // 2, ds.PixelData[: len(ds.PixelData) // 2]

    series.write(tmp_path, change=other)
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def test_a_last_slice_of_another_frame_of_reference_leaves_the_volume_cut(tmp_path):
    def other(ds, index):
        if index == 11:
            ds.FrameOfReferenceUID = series.uid("another")

    series.write(tmp_path, change=other)
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def test_a_slice_of_another_spacing_leaves_a_hole(tmp_path):
    def other(ds, index):
        if index == 5:
            ds.PixelSpacing = [0.9, 0.7]

    series.write(tmp_path, change=other)
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def test_describe_tells_what_would_be_read_and_no_names(tmp_path):
    series.write(tmp_path / "Jane Doe", patient="secret-id")
    told = inspect_paths([tmp_path], voxels=False)
    (study,) = told["studies"]
    assert [s["chosen"] for s in study["series"]] == [True]
    assert study["outcome"] == "readable" and study["flags"] == ["few_slices"]
    assert study["geometry"]["shape"] == [12, 20, 16]
    assert study["geometry"]["spacing_mm"] == [2.5, 0.8, 0.7]
    # The path is told, for the person who asks; nothing else of whom.
    assert study["path"] == str(tmp_path / "Jane Doe")
    text = f"{told} {render(told)}".replace(study["path"], "")
    assert "12 x 20 x 16" in text
    assert not any(word in text for word in ("secret", "Doe", "Jane", series.uid("study")))


@pytest.mark.parametrize("turn", [1, -1])
def test_describe_and_reading_agree_on_flags(tmp_path, turn):
    affine = series.an_affine((6.0, 0.8, 0.7))
    affine[:3, 1:3] *= turn  # -1: prone
    series.write(
        tmp_path, affine=affine, change=lambda ds, i: setattr(ds, "ContrastBolusAgent", "agent")
    )
    (study,) = inspect_paths([tmp_path])["studies"]
    assert tuple(study["flags"]) == read_volume(tmp_path).source.flags
    assert ("odd_orientation" in study["flags"]) == (turn == -1)


def test_describe_tells_what_the_gates_find(tmp_path):
    scan, _ = a_chest((50, 60, 70), 5.0)
    affine = series.an_affine((5.0, 5.0, 5.0))
    series.write(tmp_path / "chest", scan.array, affine=affine)
    series.write(tmp_path / "belly", series.a_scan(), study="two", patient="2")
    chest, belly = sorted(inspect_paths([tmp_path])["studies"], key=lambda study: study["outcome"])
    assert chest["outcome"] == "readable"
    assert chest["chest"]["length_mm"] > 150
    assert (belly["outcome"], belly["code"]) == ("refused", "NOT_CHEST")
    assert belly["geometry"]["shape"] == [12, 20, 16]


def test_describe_tells_why_each_series_is_left_out(tmp_path):
    thin = series.a_scan((30, 20, 16))
    series.write(tmp_path / "thick", series="a")
    series.write(tmp_path / "thin", thin, series="b", affine=series.an_affine((1.0, 0.8, 0.7)))
    series.write(
        tmp_path / "scout",
        series.a_scan()[:1],
        series="c",
        change=lambda ds, i: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )
    told = inspect_paths([tmp_path])
    seen = {s["kind"] + str(s["images"]): s for s in told["studies"][0]["series"]}
    assert seen["CT30"]["chosen"] and not seen["CT12"]["chosen"]
    assert seen["CT12"]["why"] == "thicker slices"
    assert "localizer1" in seen and "localizer" in render(told)


def test_describe_tells_a_refusal(tmp_path):
    series.write(tmp_path, skip=(4,))
    told = describe(find_studies(tmp_path)[0])
    assert (told["outcome"], told["code"]) == ("refused", "SLICE_GAP")
    assert told["series"][0]["why"] == "SLICE_GAP"
    assert "SLICE_GAP" in render(inspect_paths([tmp_path]))


def test_a_last_slice_under_another_series_uid_is_joined_where_all_else_agrees(tmp_path):
    series.write(tmp_path, skip=(11,))
    series.write(tmp_path, series="other", skip=tuple(range(11)), name="other{:04d}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path).array, series.a_scan())


def test_a_last_slice_of_another_series_and_acquisition_leaves_the_volume_cut(tmp_path):
    def change(ds, index):
        ds.AcquisitionNumber = 2

    series.write(tmp_path, skip=(11,))
    others = tuple(range(11))
    series.write(tmp_path, series="other", skip=others, name="other{:04d}.dcm", change=change)
    with pytest.raises(StudyError, match="where the scan of 11 slices goes on") as caught:
        read_volume(tmp_path)
    assert caught.value.code == "SLICE_GAP"


def test_slices_under_another_frame_of_reference_are_counted_once(tmp_path):
    # Before, images of the same series in another format were counted as both.
    long = series.a_scan((24, 20, 16))

    def change(ds, index):
        if index >= 14:
            ds.FrameOfReferenceUID = series.uid("another frame")

    series.write(tmp_path, long, change=change)
    with pytest.raises(StudyError, match=r"got 10 images .* scan of 14 slices goes on") as caught:
        read_volume(tmp_path)
    assert caught.value.code == "SLICE_GAP"


def test_a_single_image_elsewhere_is_left_out(tmp_path):
    series.write(tmp_path)
    series.write(tmp_path, series="other", skip=tuple(range(1, 12)), name="other{:04d}.dcm")
    assert (read_volume(tmp_path).array == series.a_scan()).all()


@pytest.mark.parametrize("moved", [0, 5, 11])
def test_a_slice_under_another_study_uid_refuses_the_series(tmp_path, moved):
    def change(ds, index):
        if index == moved:
            ds.StudyInstanceUID = series.uid("another study")

    series.write(tmp_path, change=change)
    with pytest.raises(StudyError, match="2 study UIDs") as caught:
        read_volume(tmp_path)
    assert caught.value.code == "MIXED_STUDY"


def test_one_series_uid_for_all_patients_of_an_archive_does_no_harm(tmp_path):
    def change(ds, index):
        ds.SeriesInstanceUID = series.uid("constant")

    for patient in ("1", "2"):
        series.write(tmp_path / patient, change=change, study=patient, patient=patient)
    assert [study.id for study in find_studies(tmp_path)] != []
    assert len(find_studies(tmp_path)) == 2


def keys_of(folder):
    return [entry["key"] for entry in describe(find_studies(folder)[0], voxels=False)["series"]]


def test_the_key_of_a_report_leads_to_a_refusal_that_names_it(tmp_path):
    def report(ds, index):
        ds.SOPClassUID, ds.SeriesInstanceUID = XRayRadiationDoseSRStorage, series.uid("report")
        for keyword in ("PixelData", "Rows", "Columns", "ImagePositionPatient"):
            delattr(ds, keyword)

    series.write(tmp_path)
    series.write(tmp_path, series.a_scan()[:1], name="report.dcm", change=report)
    key = series_key(series.uid("report"))
    assert key in keys_of(tmp_path)
    (study,) = find_studies(tmp_path, series=key)
    with pytest.raises(StudyError, match=r"NOT_CT: .* got 1 x X-Ray Radiation Dose SR Storage"):
        read_study(study)
    with pytest.raises(UsageError, match=r"the series that there are, [0-9a-f]{8}, got 'none'"):
        find_studies(tmp_path, series="none")
    with pytest.raises(StudyError, match=r"the series of this study, [0-9a-f]{8}, got none"):
        read_volume(tmp_path, series="none")


@pytest.mark.parametrize("count", [3, 99], ids=["a few for all", "one each"])
def test_the_keys_of_series_whose_uids_say_nothing_can_be_asked_for(tmp_path, count):
    thick = series.an_affine((5.0, 0.8, 0.7))
    for number, (scan, affine) in enumerate(((series.a_body(), None), (series.a_scan(), thick))):

        def change(ds, index, number=number):
            draw = np.random.default_rng(index + 100 * number).integers(count)
            own = index + 100 * number if count == 99 else draw
            ds.SeriesInstanceUID, ds.SeriesNumber = series.uid(f"{own}"), number + 2
            ds.SliceThickness = 5.0 if number else 2.5

        series.write(tmp_path, scan, affine=affine, change=change, name=f"{number}-" + "{:04d}.dcm")
    keys = keys_of(tmp_path)
    assert len(keys) == 2
    shapes = set()
    for key in keys:
        (study,) = find_studies(tmp_path, series=key)
        shapes.add(read_study(study).shape)
    assert shapes == {series.BODY_SHAPE, series.SHAPE}


def test_the_files_of_the_series_that_inspect_lists_add_up_to_those_found(tmp_path):
    series.write(tmp_path / "a", change=lambda ds, i: setattr(ds, "InstanceNumber", i + 1))
    series.write(tmp_path / "a", series="thick", name="t{}.dcm", affine=series.an_affine((5, 1, 1)))
    series.write(tmp_path / "a", skip=tuple(range(3, 12)), name="copy{}.dcm")
    (tmp_path / "a" / "broken.dcm").write_bytes(b"")
    (tmp_path / "a" / "note.txt").write_text("nothing")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "lost.dcm").write_bytes(b"")
    found = inspect_paths(tmp_path, voxels=False)
    assert found["files"] == 12 + 12 + 3 + 3
    inside = [study["files"] for study in found["studies"]]
    assert sum(inside) + found["skipped"] == found["files"]
    for study in found["studies"]:
        assert sum(entry["files"] for entry in study["series"]) == study["files"], study
    text = render(found)
    assert "30 files found: 29 in 2 studies, 1 passed over" in text
    assert str(tmp_path / "a") in text


def test_inspect_exits_by_what_it_found(tmp_path, capsys):
    series.write(tmp_path / "good", study="good")
    assert main(["inspect", "--quick", str(tmp_path)]) == 0
    series.write(tmp_path / "bad", study="bad", skip=(5,))
    assert main(["inspect", "--quick", str(tmp_path)]) == 3
    assert main(["inspect", "--quick", str(tmp_path / "bad")]) == 4
    (tmp_path / "none").mkdir()
    assert main(["inspect", "--quick", str(tmp_path / "none")]) == 4
