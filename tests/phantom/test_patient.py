import numpy as np
import pytest
from scipy import ndimage

from covidctnet.chest.lungs import lung_mask
from covidctnet.classes import CHEST_CT
from covidctnet.errors import UsageError
from covidctnet.evidence import CONSOLIDATION, GROUND_GLASS, OTHER_LESION
from covidctnet.phantom import SCANNERS, make_phantom, patient
from covidctnet.phantom.lesions import NO_LESION
from covidctnet.volume import SYNTHETIC_NOTE
from tests.phantom.conftest import HEALTHY, LOBAR_CAP
from tests.phantom.small import dice, is_right

TINY = {"matrix": 64, "spacing_mm": 8.0}


def test_the_same_label_and_seed_give_the_same_voxels(typical_covid):
    known = typical_covid[0]
    again = make_phantom(known.label, known.seed, matrix=96, spacing_mm=6.0)
    np.testing.assert_array_equal(again.volume.array, known.volume.array)
    np.testing.assert_array_equal(again.lungs, known.lungs)
    np.testing.assert_array_equal(again.lesions, known.lesions)
    np.testing.assert_array_equal(again.volume.affine, known.volume.affine)
    assert again.volume.source == known.volume.source
    assert again.findings == known.findings


def test_another_seed_and_another_label_are_other_patients(typical_covid, lobar_cap):
    first, second, _ = typical_covid
    same_seed = lobar_cap[0]
    assert same_seed.seed == first.seed
    for other in (second, same_seed):
        assert other.volume.source.study != first.volume.source.study
        assert other.volume.source.digest != first.volume.source.digest
        assert other.findings["lung_ml"] != first.findings["lung_ml"]


def test_slabs_of_a_few_slices_paint_the_same_patient_as_the_whole(monkeypatch):
    known = make_phantom(CHEST_CT.CAP, 2, **TINY)  # with an effusion, buds and a patch
    monkeypatch.setattr(patient, "SLAB_VOXELS", 5 * 64 * 64)
    slabs = make_phantom(CHEST_CT.CAP, 2, **TINY)
    np.testing.assert_array_equal(slabs.volume.array, known.volume.array)
    np.testing.assert_array_equal(slabs.lungs, known.lungs)
    np.testing.assert_array_equal(slabs.lesions, known.lesions)


def test_the_scanner_does_not_change_the_patient(typical_covid):
    known = typical_covid[0]
    for scanner, matrix, spacing_mm in (("dune", 96, 5.0), ("unseen-a", 80, 7.0)):
        other = make_phantom(
            known.label,
            known.seed,
            scanner=SCANNERS[scanner],
            matrix=matrix,
            spacing_mm=spacing_mm,
        )
        assert other.findings["lung_ml"] == pytest.approx(known.findings["lung_ml"], rel=0.02)
        for name in ("pattern", "count", "kinds", "lobes", "sides"):
            assert other.findings[name] == known.findings[name]
        sick = "ground_glass_percent"
        assert other.findings[sick] == pytest.approx(known.findings[sick], rel=0.25)


def test_masks_have_the_grid_of_the_scan_and_cannot_be_changed(patients):
    for phantom in patients:
        assert phantom.lungs.shape == phantom.lesions.shape == phantom.volume.shape
        assert phantom.lungs.dtype == bool
        assert phantom.lesions.dtype == np.uint8
        assert not phantom.lungs.flags.writeable
        assert not phantom.lesions.flags.writeable


def test_a_phantom_says_that_it_is_synthetic(patients):
    for phantom in patients:
        assert SYNTHETIC_NOTE in phantom.volume.source.notes
        assert phantom.volume.source.reader == "phantom"


def test_lesions_lie_inside_the_lungs_where_no_fluid_is(patients):
    for phantom in patients:
        assert "effusion" not in phantom.findings["kinds"]
        assert not phantom.lesions[~phantom.lungs].any()


def test_an_effusion_lies_outside_the_lungs_and_is_an_other_lesion():
    phantom = make_phantom(CHEST_CT.CAP, 2, **TINY)
    assert phantom.findings["kinds"]["effusion"] == 1
    outside = phantom.lesions[~phantom.lungs]
    assert set(np.unique(outside)) == {NO_LESION, OTHER_LESION}


def test_a_healthy_control_has_no_lesion(healthy):
    for phantom in healthy:
        assert phantom.findings["pattern"] == "healthy"
        assert not phantom.lesions.any()
        assert phantom.findings["ground_glass_percent"] == 0.0


@pytest.mark.parametrize(("seed", "pattern"), [(0, "nodules"), (3, "bands"), (7, "dependent")])
def test_a_control_shows_hardly_any_ground_glass_around_its_findings(seed, pattern):
    phantom = make_phantom(CHEST_CT.CONTROL, seed, **TINY)
    assert phantom.findings["pattern"] == pattern
    assert phantom.lesions.any()
    assert phantom.findings["ground_glass_percent"] < 1.0


def test_typical_covid_is_ground_glass_in_both_lungs(typical_covid):
    for phantom in typical_covid:
        assert phantom.findings["pattern"] == "typical"
        glass = phantom.lesions == GROUND_GLASS
        right = is_right(phantom)
        for side in (right, ~right):
            assert np.count_nonzero(glass & side) > 0.004 * np.count_nonzero(phantom.lungs & side)


def test_typical_covid_lies_low_and_at_the_edge_on_average(typical_covid):
    lower, deeper = [], []
    for phantom in typical_covid:
        glass = phantom.lesions == GROUND_GLASS
        heights = np.broadcast_to(
            np.arange(phantom.volume.shape[0])[:, None, None], phantom.volume.shape
        )
        lower.append(heights[glass].mean() - heights[phantom.lungs].mean())
        depth = ndimage.distance_transform_edt(phantom.lungs, sampling=phantom.volume.spacing)
        deeper.append(depth[glass].mean() - depth[phantom.lungs].mean())
    assert np.mean(lower) < 0
    assert np.mean(deeper) < 0


def test_lobar_cap_is_consolidation_on_one_side(lobar_cap):
    for phantom in lobar_cap:
        assert phantom.findings["pattern"] == "lobar"
        dense = phantom.lesions == CONSOLIDATION
        right = is_right(phantom)
        counts = [np.count_nonzero(dense & side) for side in (right, ~right)]
        assert sum(counts) > 0
        assert max(counts) > 0.8 * sum(counts)


def test_lungs_have_the_density_of_lungs(healthy):
    medians = [float(np.median(p.volume.array[p.lungs])) for p in healthy]
    assert all(-900 < median < -700 for median in medians)
    assert -900 < np.mean(medians) < -780


def test_sick_lungs_are_denser_where_the_masks_say_so(typical_covid, lobar_cap):
    for phantom in typical_covid + lobar_cap:
        scan, codes = phantom.volume.array, phantom.lesions
        free = np.median(scan[phantom.lungs & (codes == NO_LESION)])
        glass = np.median(scan[codes == GROUND_GLASS])
        assert free + 60 < glass < -250
        if np.count_nonzero(codes == CONSOLIDATION) > 50:
            assert -250 < np.median(scan[codes == CONSOLIDATION]) < 120


def test_the_air_around_a_patient_is_minus_1000(patients):
    for phantom in patients:
        front = phantom.volume.array[:, :2, :]
        assert np.median(front) == pytest.approx(-1000, abs=8)


def test_the_body_holds_bone(patients):
    for phantom in patients:
        body = ndimage.uniform_filter(phantom.volume.array.astype(np.float32), 3) > -200
        bone = phantom.volume.array > 200
        assert 0.01 < np.count_nonzero(bone & body) / np.count_nonzero(body) < 0.15


def test_voxels_fit_twelve_bits(patients):
    for phantom in patients:
        assert phantom.volume.array.dtype == np.int16
        assert phantom.volume.array.min() >= -1024
        assert phantom.volume.array.max() <= 3071


def test_a_round_field_of_view_leaves_the_corners_at_the_lowest_value():
    phantom = make_phantom(CHEST_CT.CONTROL, 4, scanner=SCANNERS["birch"], **TINY)
    assert (phantom.volume.array[:, 0, 0] == -1024).all()
    assert (phantom.volume.array[:, 32, 0] > -1024).any()


@pytest.mark.parametrize(
    ("label", "seeds", "least"),
    [(CHEST_CT.CONTROL, HEALTHY, 0.97), (CHEST_CT.CAP, LOBAR_CAP, 0.93)],
    ids=["healthy", "consolidated"],
)
def test_the_lungs_found_by_density_are_the_lungs(label, seeds, least):
    overlaps = []
    for seed in seeds:
        phantom = make_phantom(label, seed, matrix=160, spacing_mm=4.0)
        assert (phantom.lesions == 2).any() == (label is CHEST_CT.CAP)
        overlaps.append(dice(lung_mask(phantom.volume), phantom.lungs))
    assert np.mean(overlaps) >= least


def test_the_lungs_found_by_density_are_nearly_those_of_the_sick(typical_covid, lobar_cap):
    for phantom in typical_covid + lobar_cap:
        assert dice(lung_mask(phantom.volume), phantom.lungs) >= 0.85


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"matrix": 8}, "matrix must be from 16 to 2048, got 8"),
        ({"matrix": 4096}, "matrix must be from 16 to 2048"),
        ({"spacing_mm": 0.1}, "0.3 to 20 mm apart, got 0.1"),
        ({"spacing_mm": 21.0}, "0.3 to 20 mm apart"),
        ({"spacing_mm": float("nan")}, "0.3 to 20 mm apart"),
    ],
)
def test_what_cannot_be_made_is_refused(changes, message):
    settings = {"seed": 0, **changes}
    with pytest.raises(UsageError, match=message):
        make_phantom(CHEST_CT.CONTROL, settings.pop("seed"), **settings)
