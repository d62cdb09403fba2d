"""Whether slices are those of one scan in order: what headers leave open, the pixels tell."""

import numpy as np
import pytest

from covidctnet import StudyError, read_volume
from covidctnet.io.dicom.continuity import is_one_scan, is_woven, roughness, seams, shrunk
from tests.io import series
from tests.io.series import a_body


def woven(one, other):
    out = one.copy()
    out[1::2] = other[1::2]
    return out


SHAPE = series.BODY_SHAPE
ONE = a_body()
OTHERS = {
    "another phase": a_body(phase=0.25, seed=4),
    "another patient": a_body(lungs=-400, seed=5),
    "contrast medium": a_body(soft=60, seed=6),
}


def numbers(ds, index):
    ds.InstanceNumber = index + 1


def twice(ds, index):
    """Numbers of two acquisitions, each from its beginning."""
    ds.InstanceNumber = index // 2 + 1


def alternating(keyword, values):
    def change(ds, index):
        numbers(ds, index)
        setattr(ds, keyword, values[index % 2])

    return change


def test_odd_and_even_slices_of_one_scan_are_one_scan():
    assert is_one_scan(shrunk(ONE), 2) and not is_woven(shrunk(ONE))


@pytest.mark.parametrize("other", OTHERS.values(), ids=list(OTHERS))
def test_two_scans_woven_are_not_one_scan(other):
    assert not is_one_scan(shrunk(woven(ONE, other)), 2)


def test_noise_alone_says_nothing():
    noise = np.random.default_rng(0).normal(0, 20, SHAPE)
    assert not is_one_scan(shrunk(noise), 2) and not is_woven(shrunk(noise))


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("KVP", (120, 80)),
        ("ConvolutionKernel", ("B30f", "B31f")),
        ("ContrastBolusAgent", ("", "agent")),
        ("SeriesNumber", (2, 3)),
        ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL"], ["ORIGINAL", "PRIMARY", "OTHER"])),
    ],
)
@pytest.mark.parametrize("count", [len(ONE), len(ONE) - 1])
def test_a_mark_that_alternates_parts_two_acquisitions(tmp_path, keyword, values, count):
    # One of two parts of an odd number of slices has one more, and is no better for it.
    series.write(tmp_path, ONE[:count], change=alternating(keyword, values))
    with pytest.raises(StudyError, match="AMBIGUOUS_SERIES"):
        read_volume(tmp_path)


@pytest.mark.parametrize("count", [len(ONE), len(ONE) - 1])
@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("AcquisitionNumber", (1, 2)),
        ("AcquisitionTime", ("101010", "101011")),
        ("AcquisitionDateTime", ("20200301101010.0", "20200301101010.5")),
        ("TriggerTime", ("0", "1")),
    ],
)
def test_what_alternates_within_one_scan_does_no_harm(tmp_path, keyword, values, count):
    series.write(tmp_path, ONE[:count], change=alternating(keyword, values))
    np.testing.assert_array_equal(read_volume(tmp_path).array, ONE[:count])


COUNTS = [twice, alternating("AcquisitionNumber", (1, 2)), alternating("Exposure", (40, 41))]


@pytest.mark.parametrize("change", COUNTS)
@pytest.mark.parametrize("other", OTHERS.values(), ids=list(OTHERS))
def test_two_scans_that_only_counts_tell_apart_are_parted_by_their_pixels(tmp_path, change, other):
    series.write(tmp_path, woven(ONE, other), change=change)
    with pytest.raises(StudyError, match="AMBIGUOUS_SERIES") as caught:
        read_volume(tmp_path)
    key = str(caught.value).partition("good: ")[2].partition(",")[0]
    found = read_volume(tmp_path, series=key).array
    assert any((found == part).all() for part in (ONE[::2], other[1::2]))


def test_numbers_that_alternate_within_one_scan_do_no_harm(tmp_path):
    def change(ds, index):
        ds.InstanceNumber = index // 2 + 1 + 16 * (index % 2)

    series.write(tmp_path, ONE, change=change)
    np.testing.assert_array_equal(read_volume(tmp_path).array, ONE)


@pytest.mark.parametrize("other", ["another patient", "contrast medium"])
def test_two_scans_that_nothing_tells_apart_are_refused(tmp_path, other):
    series.write(tmp_path, woven(ONE, OTHERS[other]), change=numbers)
    with pytest.raises(StudyError, match=r"OVERLAPPING_ACQUISITIONS.*two scans alternate"):
        read_volume(tmp_path)


def two_blocks():
    out = ONE.copy()
    out[16:] = a_body(lungs=-300, seed=5)[16:]
    return out


@pytest.mark.parametrize("again", [False, True])
def test_two_patients_that_meet_where_a_mark_changes_are_refused(tmp_path, again):
    def change(ds, index):
        ds.InstanceNumber = index + 1 - 16 * (again and index >= 16)
        ds.AcquisitionTime = "101010" if index < 16 or again else "121212"

    series.write(tmp_path, two_blocks(), change=change)
    with pytest.raises(StudyError, match=r"OVERLAPPING_ACQUISITIONS.*meet behind slice 16"):
        read_volume(tmp_path)


def test_an_acquisition_in_another_breath_still_goes_on(tmp_path):
    scan = ONE.copy()
    scan[16:] = a_body(phase=0.12, seed=7)[16:]

    def change(ds, index):
        numbers(ds, index)
        ds.AcquisitionNumber = 1 + index // 16

    series.write(tmp_path, scan, change=change)
    assert 1.5 < seams(shrunk(scan)).max() < 8
    np.testing.assert_array_equal(read_volume(tmp_path).array, scan)


def test_two_folders_numbered_each_from_one_are_refused(tmp_path):
    for part in range(2):
        series.write(
            tmp_path / str(part),
            ONE,
            skip=range(16 * part, 16 * part + 16),
            change=lambda ds, i: setattr(ds, "InstanceNumber", i % 16 + 1),
        )
    with pytest.raises(StudyError, match=r"OVERLAPPING_ACQUISITIONS.*2 folders"):
        read_volume(tmp_path)


@pytest.mark.parametrize("count", [3, 4, 7])
def test_neighbours_in_reversed_order_are_noticed(tmp_path, count):
    def change(ds, index):
        numbers(ds, index)
        place = 20 - (index - 20 + count) - 1 if 20 - count <= index < 20 else index
        ds.ImagePositionPatient = [-50.0, -60.0, 10.0 + 2.5 * place]

    series.write(tmp_path, ONE, change=change)
    with pytest.raises(StudyError, match=r"NO_GEOMETRY.*instance numbers"):
        read_volume(tmp_path)


def test_numbers_in_an_order_of_their_own_do_no_harm(tmp_path):
    order = np.random.default_rng(1).permutation(len(ONE))
    series.write(tmp_path, ONE, change=lambda ds, i: setattr(ds, "InstanceNumber", int(order[i])))
    np.testing.assert_array_equal(read_volume(tmp_path).array, ONE)
    assert roughness(shrunk(ONE), np.argsort(order)) < 1


def test_slices_behind_a_gap_that_the_caller_allows_may_be_unlike(tmp_path):
    scan = np.concatenate([ONE[:16], a_body(lungs=-300, seed=5)[16:]])
    series.write(tmp_path, scan, change=numbers, skip=range(14, 20))
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)
    assert "gaps_resampled" in read_volume(tmp_path, allow_gaps=True).source.flags


@pytest.mark.parametrize("times", [2, 3, 4])
def test_slices_that_repeat_the_one_before_are_read_with_a_note(tmp_path, times):
    scan = np.repeat(ONE[:16], times, axis=0)

    def change(ds, index):
        numbers(ds, index)
        ds.AcquisitionTime = f"10{index // 60:02d}{index % 60:02d}"

    affine = series.an_affine((2.5 / times, 0.8, 0.7))
    series.write(tmp_path, scan, change=change, affine=affine)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, scan)
    assert f"{16 * (times - 1)} of {16 * times} slices repeat the one before in every voxel" in (
        volume.source.notes
    )


def askew():
    """A body whose heart lies on one side."""
    scan = ONE.copy()
    scan[:, 24:32, 20:28] = 60
    return scan


@pytest.mark.parametrize("axes", [(2,), (1,), (1, 2)])
@pytest.mark.parametrize("which", [slice(0, 1), slice(9, 10), slice(31, 32), slice(12, 20)])
def test_mirrored_slices_among_others_are_refused(tmp_path, which, axes):
    scan = askew()
    scan[which] = np.flip(scan[which], axes)
    series.write(tmp_path, scan, change=numbers)
    with pytest.raises(StudyError, match=r"NO_GEOMETRY.*one of them is mirrored"):
        read_volume(tmp_path)


def coronal():
    """A body in coronal slices, and their affine."""
    scan = askew()[::-1, 6:-6].transpose(1, 0, 2).copy()
    affine = np.array(
        [[0, 0, 0.7, -50], [0.8, 0, 0, -60], [0, -2.5, 0, 10], [0, 0, 0, 1.0]],
    )
    return scan, affine


def test_skin_on_either_side_of_outer_coronal_slices_is_no_mirrored_slice(tmp_path):
    scan, affine = coronal()
    scan[-2:] = -1000
    scan[-2, :, 8:22] = scan[-1, :, 14:28] = 40
    series.write(tmp_path, scan, change=numbers, affine=affine)
    assert read_volume(tmp_path).array.shape == (32, 28, 36)


def test_a_mirrored_coronal_slice_is_refused(tmp_path):
    scan, affine = coronal()
    scan[20] = scan[20, :, ::-1]
    series.write(tmp_path, scan, change=numbers, affine=affine)
    with pytest.raises(StudyError, match=r"NO_GEOMETRY.*one of them is mirrored"):
        read_volume(tmp_path)


STEPS = ("SliceThickness", "SpacingBetweenSlices", "SliceLocation")


def says_steps(said):
    """A change that gives the fields of a header a step that may not be that of the positions."""

    def change(ds, index):
        numbers(ds, index)
        for name in STEPS:
            if name not in said and name in ds:
                delattr(ds, name)
            elif name in said:
                setattr(ds, name, said[name] * (index if name == "SliceLocation" else 1))

    return change


@pytest.mark.parametrize("step", [0.6, 1.2, 5.0, 7.5])
@pytest.mark.parametrize("names", [STEPS, STEPS[:2], STEPS[1:], STEPS[::2]])
def test_positions_that_two_fields_contradict_are_read_with_a_note(tmp_path, names, step):
    series.write(tmp_path, ONE, change=says_steps(dict.fromkeys(names, step)))
    notes = read_volume(tmp_path).source.notes
    assert [n for n in notes if f"say that slices lie {step:g} mm apart" in n] == list(notes)
    assert len(notes) == 1


@pytest.mark.parametrize(
    "said",
    [
        dict.fromkeys(STEPS, 2.5),
        {"SliceThickness": 5.0},
        {"SliceThickness": 5.0, "SpacingBetweenSlices": 2.5},
        {"SliceThickness": 5.0, "SpacingBetweenSlices": 5.0, "SliceLocation": -2.5},
        {"SliceThickness": 5.0, "SpacingBetweenSlices": 3.5, "SliceLocation": 9.0},
        dict.fromkeys(STEPS, 2.8),
        dict.fromkeys(STEPS, 0.0),
    ],
)
def test_fields_that_do_not_agree_against_the_positions_make_no_note(tmp_path, said):
    series.write(tmp_path, ONE, change=says_steps(said))
    assert read_volume(tmp_path).source.notes == ()


@pytest.mark.parametrize("thickness", [None, 2.5])
def test_positions_in_cm_are_refused(tmp_path, thickness):
    # A lung that winds along the body, in pixels of 3 mm.
    y, x = np.meshgrid(np.linspace(-1, 1, 96), np.linspace(-1, 1, 96), indexing="ij")
    body = np.where(x**2 + y**2 < 0.9, 40, -1000)
    angles = 0.25 * np.arange(32)
    lungs = [(x - 0.4 * np.cos(a)) ** 2 + (y - 0.4 * np.sin(a)) ** 2 < 0.12 for a in angles]
    scan = np.stack([np.where(lung, -850, body) for lung in lungs]).astype(np.int16)

    def change(ds, index):
        numbers(ds, index)
        if thickness is None:
            del ds.SliceThickness
        else:
            ds.SliceThickness = thickness

    mm = series.an_affine((7.5, 3.0, 3.0))
    series.write(tmp_path / "mm", scan, change=change, affine=mm)
    np.testing.assert_array_equal(read_volume(tmp_path / "mm").array, scan)
    series.write(tmp_path / "cm", scan, change=change, affine=series.an_affine((0.75, 3.0, 3.0)))
    with pytest.raises(StudyError, match=r"NO_GEOMETRY.*positions may be in cm"):
        read_volume(tmp_path / "cm")
