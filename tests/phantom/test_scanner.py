from dataclasses import replace

import numpy as np
import pytest

from covidctnet.phantom import SCANNERS, TRAINING_SCANNERS, UNSEEN_SCANNERS
from covidctnet.phantom.scanner import Raster, acquire, resample

SMOOTH, SHARP = "amber", "granite"


def raster_of(scanner, matrix=96, pixel_mm=0.7, slices=6):
    return Raster.of(
        scanner,
        matrix=matrix,
        spacing_mm=scanner.spacing_mm,
        pixel_mm=pixel_mm,
        height_mm=(0.0, slices * scanner.spacing_mm - 0.1),
        centre_mm=(0.0, 0.0),
    )


def scan_of_water(name, **changes):
    scanner = replace(SCANNERS[name], **changes)
    raster = raster_of(scanner)
    water = np.zeros(raster.anatomy.shape, dtype=np.float32)
    return acquire(water, raster, scanner, rng=np.random.default_rng(0)).astype(float)


def neighbours(noise):
    """Correlation of a voxel with the next one in its row."""
    return np.corrcoef(noise[:, :, :-1].ravel(), noise[:, :, 1:].ravel())[0, 1]


def test_water_stays_at_zero_hu():
    for name in SCANNERS:
        assert scan_of_water(name, is_round=False).mean() == pytest.approx(0.0, abs=1.0)


def test_noise_is_stronger_with_sharp_kernels():
    assert scan_of_water(SHARP).std() > 2.0 * scan_of_water(SMOOTH).std()


def test_noise_is_correlated_and_more_so_with_smooth_kernels():
    smooth, sharp = (neighbours(scan_of_water(name)) for name in (SMOOTH, SHARP))
    assert smooth > 0.3
    assert smooth > sharp + 0.3
    assert abs(sharp) > 0.05  # back-projection's ramp leaves sharp kernels a negative lobe


def test_noise_is_not_the_same_in_two_slices():
    scan = scan_of_water(SHARP)
    assert abs(np.corrcoef(scan[0].ravel(), scan[1].ravel())[0, 1]) < 0.1


def test_a_sharp_kernel_passes_more_of_an_edge():
    steps = []
    for name in (SMOOTH, SHARP):
        scanner = replace(SCANNERS[name], noise_hu=0.0)
        raster = raster_of(scanner, slices=3)
        edge = np.zeros(raster.anatomy.shape, dtype=np.float32)
        edge[:, :, edge.shape[2] // 2 :] = 1000.0
        row = acquire(edge, raster, scanner, rng=np.random.default_rng(0))[1, 48].astype(float)
        steps.append(np.abs(np.diff(row[24:72])).max())
    assert steps[1] > 1.15 * steps[0]


def test_thick_slices_blur_along_the_slices():
    lit = []
    for thickness in (2.0, 8.0):
        scanner = replace(SCANNERS["birch"], thickness_mm=thickness, noise_hu=0.0, is_round=False)
        raster = raster_of(scanner, slices=12)
        plate = np.zeros(raster.anatomy.shape, dtype=np.float32)
        plate[plate.shape[0] // 2] = 800.0
        scan = acquire(plate, raster, scanner, rng=np.random.default_rng(0))
        lit.append(np.count_nonzero(scan.mean(axis=(1, 2)) > 20.0))
    assert lit[1] > lit[0]


def test_resampling_carries_a_ramp_exactly():
    raster = raster_of(SCANNERS["granite"], slices=9)
    z, y, x = raster.anatomy.open()
    ramp = (3.0 * z + 2.0 * y - x).astype(np.float32)
    z, y, x = raster.voxels.open()
    shown = np.stack(list(resample(ramp, raster)))
    assert shown.shape == raster.voxels.shape
    np.testing.assert_allclose(shown, 3.0 * z + 2.0 * y - x, atol=1e-2)


def test_an_empty_field_stays_empty():
    raster = raster_of(SCANNERS["granite"])
    shown = np.stack(list(resample(np.zeros(raster.anatomy.shape, dtype=np.float32), raster)))
    assert shown.shape == raster.voxels.shape
    assert not shown.any()


def test_the_anatomy_covers_the_voxels():
    for scanner in SCANNERS.values():
        raster = raster_of(scanner)
        for painted, voxels in zip(raster.anatomy.axes, raster.voxels.axes, strict=True):
            assert painted[0] <= voxels[0] + 1e-3
            assert painted[-1] >= voxels[-1] - 1e-3


def test_scanners_are_known_by_their_names_and_are_for_training_or_unseen():
    assert all(name == scanner.name for name, scanner in SCANNERS.items())
    assert not set(TRAINING_SCANNERS) & set(UNSEEN_SCANNERS)
    assert set(TRAINING_SCANNERS) | set(UNSEEN_SCANNERS) <= set(SCANNERS)


@pytest.mark.parametrize("unseen", UNSEEN_SCANNERS)
@pytest.mark.parametrize("known", TRAINING_SCANNERS)
def test_an_unseen_scanner_differs_from_every_training_scanner(unseen, known):
    ours, theirs = SCANNERS[unseen], SCANNERS[known]
    for name in ("kernel", "cutoff", "edge_or_streaks", "noise_hu", "spacing_mm", "pixel_mm"):
        if name == "edge_or_streaks":
            assert (ours.edge, ours.streaks) != (theirs.edge, theirs.streaks)
        else:
            assert getattr(ours, name) != getattr(theirs, name)
