import numpy as np
import pytest
from scipy import ndimage

from covidctnet.chest.lungs import lung_mask
from covidctnet.classes import CHEST_CT
from covidctnet.errors import StudyError
from covidctnet.evidence import CONSOLIDATION, GROUND_GLASS
from covidctnet.phantom import paint_lesions
from covidctnet.volume import PAINTED_NOTE
from tests.volumes import a_chest, a_volume

SEEDS = range(12)


@pytest.fixture(scope="module")
def chest():
    """Elliptic lungs in an elliptic body with a scanner's noise, and the lungs."""
    volume, lungs = a_chest()
    noise = np.random.default_rng(0).normal(0, 12, volume.shape)
    return volume.then("noisy", (volume.array + noise).astype(np.int16)), lungs


@pytest.fixture(scope="module")
def painted(chest):
    volume, lungs = chest
    return {
        label: [paint_lesions(volume, label, seed, lungs=lungs) for seed in SEEDS]
        for label in CHEST_CT
    }


def ill(painted):
    return [*painted[CHEST_CT.COVID19], *painted[CHEST_CT.CAP]]


def test_nothing_outside_the_lungs_changes(chest, painted):
    volume, lungs = chest
    for patients in painted.values():
        for patient in patients:
            changed = patient.volume.array != volume.array
            assert not (changed & ~lungs).any()
            assert not (patient.lesions[~lungs] > 0).any()


def test_every_voxel_that_changes_much_is_in_the_truth(chest, painted):
    volume, _ = chest
    for patient in ill(painted):
        changed = np.abs(patient.volume.array - volume.array.astype(int)) > 150
        assert (patient.lesions[changed] > 0).mean() > 0.97


def test_every_ill_patient_has_lesions_as_dense_as_their_code_says(painted):
    for patient in ill(painted):
        hu, codes = patient.volume.array, patient.lesions
        assert (codes > 0).any()
        if (codes == CONSOLIDATION).sum() > 50:
            assert -350 < np.median(hu[codes == CONSOLIDATION]) < 80
        if (codes == GROUND_GLASS).sum() > 50:
            assert -820 < np.median(hu[codes == GROUND_GLASS]) < -250


def test_the_seed_draws_the_patient(chest, painted):
    volume, lungs = chest
    again = paint_lesions(volume, CHEST_CT.COVID19, 3, lungs=lungs)
    assert np.array_equal(again.volume.array, painted[CHEST_CT.COVID19][3].volume.array)
    assert not np.array_equal(again.volume.array, painted[CHEST_CT.COVID19][4].volume.array)


def test_the_classes_differ_as_their_diseases_do(painted):
    """Covid-19 lies in both lungs more often, and nearer to their surface, than pneumonia."""

    def both_sides(patients):
        return np.mean([len(p.findings["sides"]) == 2 for p in patients])

    def depth(patients):
        return np.mean(
            [
                ndimage.distance_transform_edt(p.lungs)[p.lesions > 0].mean()
                for p in patients
                if (p.lesions > 0).any()
            ]
        )

    covid, cap = painted[CHEST_CT.COVID19], painted[CHEST_CT.CAP]
    assert both_sides(covid) > both_sides(cap)
    assert depth(covid) < depth(cap)


def test_vessels_stay_in_ground_glass(chest):
    volume, lungs = chest
    array = volume.array.copy()
    vessels = np.zeros_like(lungs)
    vessels[:, ::9, ::9] = True
    vessels &= lungs
    array[vessels] = 60
    scan = volume.then("with vessels", array)
    crossed = 0
    for seed in SEEDS[:4]:
        patient = paint_lesions(scan, CHEST_CT.COVID19, seed, lungs=lungs)
        there = vessels & (patient.lesions == GROUND_GLASS)
        if there.any():
            crossed += 1
            assert abs(np.median(patient.volume.array[there]) - 60) < 15
    assert crossed


def test_the_noise_of_the_scan_goes_on_in_dense_lesions(painted):
    for patient in painted[CHEST_CT.CAP]:
        core = ndimage.binary_erosion(patient.lesions == CONSOLIDATION, iterations=2)
        if core.sum() > 100:
            fine = np.diff(patient.volume.array.astype(float), axis=2)[core[:, :, 1:]]
            assert 6 < np.std(fine) < 60


def test_the_volume_says_that_it_was_painted_and_keeps_its_place(chest, painted):
    volume, _ = chest
    patient = painted[CHEST_CT.CAP][0].volume
    assert PAINTED_NOTE in patient.source.notes
    assert patient.steps[-1].startswith("painted findings: ")
    assert np.array_equal(patient.affine, volume.affine)
    assert patient.array.dtype == np.int16


def test_a_control_gets_what_controls_have(painted):
    kinds = {kind for p in painted[CHEST_CT.CONTROL] for kind in p.findings["kinds"]}
    assert kinds
    assert not kinds & {"lobar", "buds", "effusion"}


def test_painting_on_another_grid_paints_the_same_patient():
    fine, fine_lungs = a_chest((100, 200, 240), 1.5)
    coarse, coarse_lungs = a_chest((50, 100, 120), 3.0)
    for seed in range(3):
        shares = [
            (paint_lesions(v, CHEST_CT.COVID19, seed, lungs=m).lesions > 0).sum() / m.sum()
            for v, m in ((fine, fine_lungs), (coarse, coarse_lungs))
        ]
        # Points are drawn on the scan's own grid, so that places differ, sizes and number do not.
        assert 0.3 < shares[0] / max(shares[1], 1e-6) < 3.3


def test_what_has_no_two_lungs_is_refused():
    volume, lungs = a_chest()
    with pytest.raises(StudyError, match="two lungs"):
        paint_lesions(a_volume(), CHEST_CT.CAP, 0)
    lungs[:, :, 60:] = False
    with pytest.raises(StudyError, match="two lungs"):
        paint_lesions(volume, CHEST_CT.CAP, 0, lungs=lungs)


def test_lungs_are_found_where_none_are_given(chest):
    volume, _ = chest
    patient = paint_lesions(volume, CHEST_CT.COVID19, 1)
    assert np.array_equal(patient.lungs, lung_mask(volume))


def test_what_is_no_hu_is_refused(chest):
    volume, lungs = chest
    with pytest.raises(StudyError, match="paint_lesions expects a volume in HU"):
        paint_lesions(
            volume.then("u", volume.array, units="unit", window_hu=(-1000, 400)),
            CHEST_CT.CAP,
            0,
            lungs=lungs,
        )
