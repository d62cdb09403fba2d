import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from scipy import ndimage

from covidctnet.classes import CHEST_CT
from covidctnet.errors import UsageError
from covidctnet.phantom import SCANNERS, XRAY_UNITS, make_radiograph
from covidctnet.phantom.detector import counted, density, presented
from covidctnet.phantom.findings import plan_lesions
from covidctnet.phantom.patient import draw_patient, paint
from covidctnet.phantom.radiograph import standing
from covidctnet.phantom.radiograph_file import radiograph_bytes, suffix_of
from covidctnet.phantom.rays import (
    Beam,
    Field,
    attenuation,
    line_integrals,
    magnification,
)
from covidctnet.radiograph.chest import check_frontal
from covidctnet.radiograph.read import read_radiograph_file
from covidctnet.volume import SYNTHETIC_NOTE

SMALL = 72
PLAIN = replace(XRAY_UNITS["amber"], scatter=0.0)


@pytest.fixture(scope="module")
def shown():
    """A patient on three units: DICOM of both polarities, and a PNG of 16 bits."""
    return {
        name: make_radiograph(CHEST_CT.CONTROL, 10, unit=XRAY_UNITS[name], size=SMALL)
        for name in ("amber", "birch", "ember")
    }


def read_back(radiograph, folder, name):
    file = folder / f"{name}{suffix_of(radiograph.unit)}"
    file.write_bytes(radiograph_bytes(radiograph, patient="somebody"))
    return read_radiograph_file(file)


def test_every_site_of_a_ct_scanner_has_an_x_ray_unit():
    assert set(XRAY_UNITS) == set(SCANNERS)
    kinds = {(unit.format, unit.bits > 8, unit.is_inverted) for unit in XRAY_UNITS.values()}
    assert {("PNG", True, False), ("PNG", False, False), ("DICOM", False, True)} <= kinds
    assert ("DICOM", True, True) in kinds and ("DICOM", True, False) in kinds


def test_the_variance_of_the_noise_is_that_of_counted_photons_and_falls_with_the_dose():
    flat = np.full((200, 200), 2.0, np.float32)
    spread = {}
    for dose in (1e3, 4e3):
        unit = replace(PLAIN, photons_per_mm2=dose)
        counts = counted(flat, unit, 1.0, rng=np.random.default_rng(0))
        expected = dose * np.exp(-2.0)
        assert counts.mean() == pytest.approx(expected, rel=0.01)
        assert counts.var() == pytest.approx(expected, rel=0.03)
        spread[dose] = density(counts, unit, 1.0).var()
        assert density(counts, unit, 1.0).mean() == pytest.approx(2.0, abs=0.01)
    assert spread[1e3] / spread[4e3] == pytest.approx(4.0, rel=0.06)


def test_scatter_is_the_share_that_the_unit_states_and_takes_contrast():
    flat = np.full((64, 64), 2.0, np.float32)
    flat[:, 32:] = 2.5
    contrast = {}
    for share in (0.0, 0.5):
        unit = replace(PLAIN, scatter=share, photons_per_mm2=1e7)
        counts = counted(flat, unit, 5.0, rng=np.random.default_rng(0))
        if share == 0.5:  # far from the step as many are scattered as come straight
            assert counts[32, 0] == pytest.approx(2 * 25e7 * np.exp(-2.0), rel=0.03)
        dense = density(counts, unit, 5.0)
        contrast[share] = dense[:, 34:38].mean() - dense[:, 26:30].mean()
    assert contrast[0.0] == pytest.approx(0.5, abs=0.01)
    assert contrast[0.5] < 0.35


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_what_is_stored_fills_the_bits_and_is_turned_round_where_bones_are_low(bits):
    dense = np.linspace(0, 5, 100 * 100, dtype=np.float32).reshape(100, 100)
    plain = presented(dense, replace(PLAIN, bits=bits))
    turned = presented(dense, replace(PLAIN, bits=bits, is_inverted=True))
    assert plain.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert plain.min() == 0 and plain.max() == 2**bits - 1
    assert (np.diff(plain.astype(int).ravel()) >= 0).all()
    assert np.abs(plain.astype(int) + turned.astype(int) - (2**bits - 1)).max() <= 1


def test_the_same_patient_and_unit_give_the_same_file():
    one, two = (make_radiograph(CHEST_CT.CAP, 3, unit=PLAIN, size=40) for _ in range(2))
    assert radiograph_bytes(one, patient="a") == radiograph_bytes(two, patient="a")
    other = make_radiograph(CHEST_CT.CAP, 4, unit=PLAIN, size=40)
    assert other.stored.shape != one.stored.shape or (other.stored != one.stored).any()


def test_files_are_read_as_they_are_shown_and_say_that_they_are_phantoms(shown, tmp_path):
    for name, radiograph in shown.items():
        found = read_back(radiograph, tmp_path, name)
        assert SYNTHETIC_NOTE in found.source.notes
        assert found.format == radiograph.unit.format
        assert found.shape == radiograph.stored.shape
        ours, theirs = radiograph.grey.astype(float), found.pixels.astype(float)
        # A PNG of 16 bits states no range: the reader stretches it.
        tolerance = 0.999 if radiograph.unit.format == "PNG" else 0.99999
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > tolerance
        if radiograph.unit.format == "DICOM":
            assert np.abs(ours - theirs).max() <= 1
            assert found.spacing_mm == pytest.approx((radiograph.pixel_mm,) * 2, rel=1e-6)


def test_they_are_taken_for_frontal_chests_read_the_usual_way_round(shown):
    for radiograph in shown.values():
        grey = radiograph.grey
        assert check_frontal(grey) == ()
        with pytest.raises(Exception, match="two dark lung fields"):
            check_frontal(grey[::-1].T)
        rows, columns = grey.shape
        dense = radiograph.integrals
        # The heart lies to the patient's left, the viewer's right; the liver is below, not above.
        heart = slice(rows * 5 // 10, rows * 6 // 10)
        middle = columns // 2
        near = columns // 8
        assert (
            dense[heart, middle : middle + near].mean()
            > dense[heart, middle - near : middle].mean()
        )
        fields = [slice(columns // 4, columns * 2 // 5), slice(columns * 3 // 5, columns * 3 // 4)]
        for side in fields:
            assert dense[-rows // 12 :, side].mean() > dense[rows // 3 : rows // 2, side].mean()


def test_the_right_lung_of_the_ct_is_the_one_at_the_left_of_the_radiograph():
    thorax, _, _ = draw_patient(CHEST_CT.CONTROL, 4)
    grid = standing(thorax, 6.0)
    lungs = paint(thorax, (), grid, has_couch=False).lungs
    lungs[..., grid.x > thorax.build.shift[2]] = 0  # the patient's right alone
    centre = (float(grid.z.mean()), thorax.build.shift[2])
    found = line_integrals(lungs, grid, Beam(), Field(60, 60, 7.0, centre))
    assert found[:, :30].sum() > 20 * found[:, 30:].sum() > 0


@pytest.mark.parametrize("seed", [4, 9])
def test_a_drawn_consolidation_is_seen_where_it_lies(seed):
    thorax, plan, _ = draw_patient(CHEST_CT.CAP, seed)
    grid = standing(thorax, 6.0)
    field = Field(70, 70, 6.0, (float(grid.z.mean()), float(grid.x.mean())))
    ill, well = (paint(thorax, lesions, grid, has_couch=False) for lesions in (plan, ()))
    beam = Beam()
    shadows = [line_integrals(attenuation(p.hu, beam.kev), grid, beam, field) for p in (ill, well)]
    added = shadows[0] - shadows[1]
    lesion = line_integrals(ill.dense, grid, beam, field)
    inside = lesion > 0.5 * lesion.max()
    # 1 / mm of consolidated lung minus that of aerated lung, over its thickness.
    assert added[inside].mean() > 0.2
    assert added[inside].mean() > 10 * np.abs(added[lesion == 0]).mean()
    # More than twice the noise of the coarsest unit, over a square centimetre.
    unit = XRAY_UNITS["unseen-a"]
    rng = np.random.default_rng(0)
    noisy = [density(counted(s, unit, 6.0, rng=rng), unit, 6.0) for s in shadows]
    difference = ndimage.uniform_filter(noisy[0] - noisy[1], 2)
    assert difference[inside].mean() > 2 * difference[lesion == 0].std()


def test_a_bedside_unit_shows_the_same_heart_larger():
    thorax, _, _ = draw_patient(CHEST_CT.CONTROL, 4)
    grid = standing(thorax, 6.0)
    front = float(thorax.build.shift[1]) - 60.0  # where the heart lies
    upright = magnification(grid, XRAY_UNITS["amber"].beam, front)
    bedside = magnification(grid, XRAY_UNITS["unseen-a"].beam, front)
    assert 1.0 < upright < 1.15 < bedside


def test_the_dicom_header_is_that_of_a_chest_for_reading(shown):
    for name, photometric in (("amber", "MONOCHROME2"), ("birch", "MONOCHROME1")):
        content = radiograph_bytes(shown[name], patient="control-0-0001")
        ds = dcmread(io.BytesIO(content))
        assert ds.PatientID == "control-0-0001" and ds.Modality == "DX"
        assert ds.PhotometricInterpretation == photometric and ds.ViewPosition == "PA"
        assert ds.PresentationIntentType == "FOR PRESENTATION"
        assert ds.PatientOrientation == ["L", "F"] and ds.BodyPartExamined == "CHEST"
        assert ds.BitsStored == shown[name].unit.bits
        assert int(ds.pixel_array.max()) == 2**ds.BitsStored - 1
        assert not ds.PatientBirthDate and not ds.StudyDate


def test_a_png_of_sixteen_bits_uses_all_of_them(shown):
    picture = Image.open(io.BytesIO(radiograph_bytes(shown["ember"], patient="x")))
    assert picture.mode == "I;16" and np.asarray(picture).max() == 65535
    assert b"somebody" not in radiograph_bytes(shown["ember"], patient="somebody")


def test_the_patient_is_that_of_the_ct():
    thorax, plan, _ = draw_patient(CHEST_CT.COVID19, 5)
    again, same, _ = draw_patient(CHEST_CT.COVID19, 5)
    assert thorax.build == again.build and plan == same
    assert plan == tuple(
        plan_lesions(
            CHEST_CT.COVID19, thorax, np.random.default_rng([5, int(CHEST_CT.COVID19), 1])
        )[0]
    )


@pytest.mark.parametrize("wrong", [{"size": 8}, {"size": 5000}, {"seed": -1}])
def test_impossible_radiographs_are_refused(wrong):
    seed = wrong.pop("seed", 0)
    with pytest.raises(UsageError, match=r"radiograph of 32 to 4096|seed must be 0"):
        make_radiograph(CHEST_CT.CAP, seed, **wrong)


@pytest.mark.parametrize("wrong", [{"scatter": 1.0}, {"photons_per_mm2": 0.0}, {"bits": 7}])
def test_impossible_units_are_refused(wrong):
    with pytest.raises(UsageError, match=r"expected scatter of 0 to below 1"):
        replace(PLAIN, **wrong)
