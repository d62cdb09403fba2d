"""Scans with masks of lesions as training data of a system that reads slices."""

import logging

import nibabel as nib
import numpy as np
import pytest

from covidctnet.cohort.archive import read_cohort
from covidctnet.errors import CohortError
from covidctnet.io import read_study
from covidctnet.slicewise.sampling import lung_range
from covidctnet.slicewise.window import hu_to_8_bit
from covidctnet.systems.deeptek_unet.classes import CLASSES
from covidctnet.training.images import describe_images
from covidctnet.training.scans import store_scans
from tests.io.series import an_affine, write
from tests.small import SPACING
from tests.volumes import a_chest

SHAPE = (25, 50, 60)
LESIONS = (slice(8, 14), slice(20, 32), slice(10, 20))


def write_mask(path, codes):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ an_affine(SPACING)
    image = nib.Nifti1Image(codes, affine)
    image.header.set_sform(affine, 1)
    nib.save(image, path)


def write_scan(folder, number, *, sick):
    """A chest with large spots of its own: no slice looks like that of another patient."""
    volume, lungs = a_chest(SHAPE, 6.0)
    spots = np.random.default_rng(number).integers(0, 240, (1, 10, 12))
    scan = volume.array + (np.kron(spots, np.ones((SHAPE[0], 5, 5))) * lungs).astype(np.int16)
    if sick:
        scan[LESIONS] = -500
    write(folder, scan, affine=an_affine(SPACING), study=str(number), patient=f"p{number}")


def archive(root, patients=2, *, masks=True):
    """Patients with Covid-19 and Controls in turn; half of each lesion is consolidation."""
    codes = np.zeros(SHAPE, np.uint8)
    codes[LESIONS] = 1
    codes[11:14, 20:32, 10:20] = 2
    rows = ["study,patient,label,lesions"]
    for number in range(patients):
        name, label = f"p{number}", ("Covid-19", "Control")[number % 2]
        write_scan(root / "scans" / name, number, sick=label != "Control")
        file = f"truth/{name}.nii" if masks and label != "Control" else ""
        rows.append(f"scans/{name},{name},{label},{file}")
        if file:
            write_mask(root / file, codes)
    (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    return root


def store(cohort, folder, every=1, **how):
    """Every so many-th slice with lung."""

    def choose(areas):
        first, last = lung_range(areas)
        return range(first, last + 1, every)

    return store_scans(cohort, folder, CLASSES, choose=choose, **how)


def test_slices_of_scans_are_stored_with_their_lesions(tmp_path):
    cohort = read_cohort(archive(tmp_path / "archive"))
    found = store(cohort, tmp_path / "slices")
    volumes = {entry.study.id: read_study(entry.study) for entry in cohort}
    lesions = {True: np.zeros(SHAPE, np.uint8), False: np.zeros(SHAPE, np.uint8)}
    lesions[True][LESIONS] = 1
    for one in found.stored:
        volume, place = volumes[one.image.scan], round(one.image.z_mm / SPACING[0])
        np.testing.assert_array_equal(one.pixels(), hu_to_8_bit(volume.array[place]))
        is_ill = one.image.label.title == "Covid-19"
        np.testing.assert_array_equal(one.labels(), lesions[is_ill][place])
        assert one.scan == volume.source.mark
    assert {one.image.patient for one in found.stored} == {"p0", "p1"}
    assert not found.synthetic
    told = describe_images(found.stored, "")
    assert told["seen"].split() == sorted(v.source.mark for v in volumes.values())


def test_two_kinds_of_lesion_are_numbered_by_their_codes(tmp_path):
    cohort = read_cohort(archive(tmp_path / "archive"))
    found = store(cohort, tmp_path / "slices", kinds=2)
    ill = [one for one in found.stored if one.labels().any()]
    assert [int(one.labels().max()) for one in ill] == [1, 1, 1, 2, 2, 2]
    with pytest.raises(CohortError, match="expected one kind of lesion, or two"):
        store(cohort, tmp_path / "slices", kinds=3)


def test_each_third_slice_of_the_lungs_is_a_third_of_them(tmp_path):
    cohort = read_cohort(archive(tmp_path / "archive"))
    every, third = (store(cohort, tmp_path / str(k), every=k).stored for k in (1, 3))
    of_one = [one.image.z_mm for one in every if one.image.patient == "p0"]
    assert [one.image.z_mm for one in third if one.image.patient == "p0"] == of_one[::3]


def test_an_ill_scan_without_a_mask_is_refused_where_masks_teach(tmp_path):
    cohort = read_cohort(archive(tmp_path / "archive", masks=False))
    with pytest.raises(CohortError, match="none for 1 of 2 scans") as caught:
        store(cohort, tmp_path / "slices")
    assert "p0" not in str(caught.value)
    without = store(cohort, tmp_path / "slices", kinds=0)
    assert {one.mask for one in without.stored} == {None}
    assert {one.image.patient for one in without.stored} == {"p0", "p1"}


def test_a_scan_that_cannot_be_read_is_left_out_and_named(tmp_path, caplog):
    root = archive(tmp_path / "archive", 4)
    cohort = read_cohort(root)
    broken = cohort[0]
    for file in broken.study.files:
        file.write_bytes(file.read_bytes()[:600])
    with caplog.at_level(logging.WARNING):
        found = store(cohort, tmp_path / "slices")
    assert {one.image.patient for one in found.stored} == {"p1", "p2", "p3"}
    assert f"study {broken.study.id} is left out" in caplog.text
    with pytest.raises(CohortError, match="none that can be read of 1"):
        store(cohort[:1], tmp_path / "slices")


def test_a_mask_of_another_place_is_refused_with_its_study(tmp_path):
    root = archive(tmp_path / "archive")
    cohort = read_cohort(root)
    (root / "truth" / "p0.nii").write_bytes(b"no image")
    with pytest.raises(CohortError, match=f"study {cohort[0].study.id}.*lesion mask"):
        store(cohort, tmp_path / "slices")
