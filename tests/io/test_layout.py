"""Voxels lie in rows of the length that the header says, whatever the order of their axes."""

from itertools import permutations

import numpy as np
import pytest

from covidctnet.errors import StudyError
from covidctnet.io.canonical import check_extent, check_layout
from tests.io import series

SHAPE = (18, 40, 32)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_scan_in_any_order_of_axes_is_let_pass(axes, order):
    check_layout(np.asarray(series.a_scan(SHAPE).transpose(axes), order=order))


@pytest.mark.parametrize("shape", [s for s in permutations(SHAPE) if s != SHAPE])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_scan_whose_sizes_were_exchanged_is_refused(shape, dtype):
    with pytest.raises(StudyError, match="wrong or in another order") as caught:
        check_layout(series.a_scan(SHAPE).astype(dtype).reshape(shape))
    assert caught.value.code == "NO_GEOMETRY"


@pytest.mark.parametrize(
    ("factors", "fit"),
    [
        ((1, 1 / 2, 2), "rows of 60:"),
        ((1, 2, 1 / 2), "rows of 60:"),
        ((1, 4, 1 / 4), "rows of 60:"),
        ((1, 3 / 2, 2 / 3), "rows of 60:"),
        ((1, 2 / 3, 3 / 2), "rows of 60:"),
        ((4, 1 / 2, 1 / 2), "rows of 60:"),
        ((1 / 2, 2, 1), "fit 72:"),
        ((2, 1 / 2, 1), "fit 72:"),
        ((1 / 3, 3, 1), "fit 72:"),
    ],
)
@pytest.mark.parametrize("noise", [0, 120])
def test_a_scan_whose_sizes_got_factors_of_each_other_is_refused(factors, fit, noise):
    scan = series.a_body(shape=(48, 72, 60)) + np.random.default_rng(5).normal(
        0, noise, (48, 72, 60)
    )
    check_layout(scan)
    shape = [round(n * factor) for n, factor in zip(scan.shape, factors, strict=True)]
    with pytest.raises(StudyError, match=fit) as caught:
        check_layout(scan.reshape(shape))
    assert caught.value.code == "NO_GEOMETRY"


def test_thick_slices_that_lie_between_rows_in_memory_are_let_pass():
    scan = series.a_body(shape=(48, 72, 60))[::8]
    for axes in permutations(range(3)):
        check_layout(np.ascontiguousarray(scan.transpose(axes)))


def test_numbers_of_another_width_are_refused():
    wide = series.a_scan(SHAPE).astype(np.int32).view(np.int16).reshape(36, 40, 32)
    with pytest.raises(StudyError, match="one number a voxel"):
        check_layout(wide)


def test_noise_alone_is_let_pass():
    check_layout(np.random.default_rng(0).normal(0, 100, SHAPE))
    check_layout(np.zeros(SHAPE))


@pytest.mark.parametrize(
    ("spacing", "shape", "code"),
    [
        ((2.5, 0.7, 0.7), (100, 512, 512), None),
        ((20.0, 6.0, 6.0), (20, 100, 100), None),
        ((0.7, 0.7, 12.0), (512, 512, 30), None),
        ((2.5, 8.1, 8.1), (100, 100, 100), "ABSURD_EXTENT"),
        ((21.0, 0.7, 0.7), (20, 512, 512), "ABSURD_EXTENT"),
        ((2.5, 5.0, 5.0), (100, 512, 512), "ABSURD_EXTENT"),
        ((5.0, 0.7, 0.7), (501, 512, 512), "ABSURD_EXTENT"),
        ((2.5, 0.09, 0.09), (100, 512, 512), "NO_GEOMETRY"),
    ],
)
def test_voxels_and_volumes_have_the_size_of_a_chest(spacing, shape, code):
    if code is None:
        check_extent(spacing, shape)
        return
    with pytest.raises(StudyError) as caught:
        check_extent(spacing, shape)
    assert caught.value.code == code
