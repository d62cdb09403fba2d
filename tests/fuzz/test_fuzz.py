"""A short run of the fuzz, and tampering with one slice, which is always noticed."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covidctnet import read_volume
from covidctnet.errors import StudyError
from covidctnet.workers.isolate import Limits
from tests.fuzz.__main__ import run, table
from tests.fuzz.trial import FORMATS, base_of, mutant, work
from tests.io import series

SLICES = st.integers(0, 11)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_never_give_a_wrong_volume_or_an_error_without_a_name(kind):
    for seed in range(1_000_000, 1_000_012):
        told, _ = work(kind, seed)
        assert told["verdict"] not in ("wrong", "untyped"), f"--format {kind} --only {seed}: {told}"


def test_every_format_has_a_sound_input_and_damage_changes_it(tmp_path):
    for kind in FORMATS:
        assert (base_of(kind).volume.array[0, 0, 1] == 100).all()
        _, before, after = mutant(kind, 3, tmp_path / kind)
        assert before != after


def test_the_same_seed_does_the_same_damage(tmp_path):
    first = mutant("explicit", 7, tmp_path / "a")[2]
    assert mutant("explicit", 7, tmp_path / "b")[2] == first
    assert mutant("explicit", 8, tmp_path / "c")[2] != first


def test_trials_in_child_processes_are_counted_by_verdict():
    tally, faults = run([("explicit", seed) for seed in range(6)], Limits(2048, 30.0))
    assert sum(tally["explicit"].values()) == 6
    assert not faults
    assert table(tally).splitlines()[-1].startswith("| all |")


def tampered(change):
    """Code of the refusal, or the volume."""
    with tempfile.TemporaryDirectory() as folder:
        series.write(Path(folder), change=_numbered(change))
        try:
            return read_volume(folder)
        except StudyError as error:
            return error.code


def _numbered(change):
    def both(dataset, index):
        dataset.InstanceNumber = index + 1
        change(dataset, index)

    return both


def near(volume):
    """Whether a volume is the scan, corners within the documented tolerance."""
    corners = np.array([[*(np.array(series.SHAPE) * c), 1] for c in np.ndindex(2, 2, 2)]).T
    apart = np.abs((volume.affine - series.an_affine()) @ corners)[:3].max()
    return (volume.array == series.a_scan()).all() and apart <= 0.15


@FEW
@given(which=SLICES, axis=st.integers(0, 2), by_mm=st.floats(-40, 40))
def test_a_position_that_was_changed_is_noticed_or_within_tolerance(which, axis, by_mm):
    def change(dataset, index):
        if index == which:
            position = [float(x) for x in dataset.ImagePositionPatient]
            position[axis] = round(position[axis] + by_mm, 4)
            dataset.ImagePositionPatient = position

    found = tampered(change)
    assert isinstance(found, str) or (abs(by_mm) <= 0.13 and near(found))


@FEW
@given(which=SLICES, item=st.integers(0, 5), value=st.floats(-2, 2))
def test_an_orientation_that_was_changed_is_noticed_or_within_tolerance(which, item, value):
    value = round(value, 5)

    def change(dataset, index):
        if index == which:
            cosines = [float(x) for x in dataset.ImageOrientationPatient]
            cosines[item] = value
            dataset.ImageOrientationPatient = cosines

    found = tampered(change)
    usual = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)[item]
    assert isinstance(found, str) or (abs(value - usual) <= 1e-3 and near(found))


@FEW
@given(which=SLICES, item=st.integers(0, 1), factor=st.floats(0.01, 5))
def test_a_pixel_spacing_that_was_changed_is_noticed_or_within_tolerance(which, item, factor):
    def change(dataset, index):
        if index == which:
            spacing = [float(x) for x in dataset.PixelSpacing]
            spacing[item] = round(spacing[item] * factor, 6)
            dataset.PixelSpacing = spacing

    found = tampered(change)
    assert isinstance(found, str) or (abs(factor - 1) <= 1.1e-3 and near(found))


@FEW
@given(
    which=SLICES,
    slope=st.floats(-3, 3).map(lambda x: round(x, 4)),
    intercept=st.floats(-3000, 3000).map(lambda x: round(x, 1)),
    both=st.booleans(),
)
def test_a_rescale_that_was_changed_is_noticed(which, slope, intercept, both):
    def change(dataset, index):
        if index == which:
            dataset.RescaleSlope = slope
            if both:
                dataset.RescaleIntercept = intercept

    found = tampered(change)
    unchanged = slope == 1 and (not both or intercept == -1024)
    assert isinstance(found, str) or (unchanged and near(found))


@FEW
@given(one=SLICES, other=SLICES)
def test_two_slices_that_changed_places_are_noticed(one, other):
    height = {one: other, other: one}

    def change(dataset, index):
        z = series.ORIGIN[2] + series.SPACING[0] * height.get(index, index)
        dataset.ImagePositionPatient = [*series.ORIGIN[:2], z]

    found = tampered(change)
    assert isinstance(found, str) or (one == other and near(found))
