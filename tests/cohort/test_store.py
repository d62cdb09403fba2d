"""Preprocessed volumes: whole or not there, and the same when they come back."""

import errno
import json
import os
import pickle
import threading

import nibabel as nib
import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.store import STEPS_PER_UNIT, Store, content_key
from covidctnet.errors import StudyError, UsageError
from covidctnet.io import find_studies
from covidctnet.volume import Source, Volume
from tests.io import series

KEYS = {"content_key": "c" * 64, "settings": {"size": 16}, "settings_digest": "s" * 12}


def a_unit(seed=0, units="unit", study="0123456789ab", low=0.0):
    array = np.random.default_rng(seed).uniform(low, 1, series.SHAPE).astype(np.float32)
    source = Source(study, digest="d" * 64, reader="dicom", notes=("a note",), flags=("lossy",))
    window = None if units == "HU" else (-1000.0, 400.0)
    return Volume(array, series.an_affine(), units, source, ("clipped", "resized"), window)


def some_lungs(seed=0):
    return np.random.default_rng(seed).random(series.SHAPE) > 0.5


def test_what_was_put_comes_back_within_a_twentieth_of_a_hounsfield_unit(tmp_path):
    store, volume, lungs = Store(tmp_path / "new"), a_unit(), some_lungs()
    store.put(volume, lungs=lungs, label=CHEST_CT.CAP, site="here", patient="p", **KEYS)
    (stored,) = Store(tmp_path / "new").index()
    back = stored.volume()
    np.testing.assert_allclose(back.array, volume.array, atol=0.5001 / STEPS_PER_UNIT)
    assert 1400 * 0.5 / STEPS_PER_UNIT <= 0.05
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)
    assert (back.units, back.source, back.steps) == ("unit", volume.source, volume.steps)
    assert back.window_hu == volume.window_hu
    assert back.array.dtype == np.float32
    np.testing.assert_array_equal(stored.lungs, lungs)
    assert (stored.id, stored.label, stored.site, stored.patient) == (
        "0123456789ab",
        CHEST_CT.CAP,
        "here",
        "p",
    )
    assert (stored.content_key, dict(stored.settings)) == ("c" * 64, {"size": 16})
    assert stored.notes == ("a note",)


def test_a_record_of_before_the_window_tells_it_by_its_settings(tmp_path):
    settings = {"low_hu": -900.0, "high_hu": 300.0}
    Store(tmp_path).put(a_unit(), **{**KEYS, "settings": settings})
    (file,) = tmp_path.glob("*.json")
    data = json.loads(file.read_text())
    assert data.pop("window_hu") == [-1000.0, 400.0]
    file.write_text(json.dumps(data))
    assert Store(tmp_path).get(data["study"]).volume().window_hu == (-900.0, 300.0)


def test_one_slice_is_one_contiguous_block_of_the_file(tmp_path):
    stored = Store(tmp_path).put(a_unit(), lungs=some_lungs(), **KEYS)
    assert isinstance(stored.slices, np.memmap)
    assert stored.slices.dtype == np.int16
    assert stored.slices[3].flags.c_contiguous
    np.testing.assert_array_equal(stored.slice(3), stored.volume().array[3])
    assert stored.lungs_slice(3).dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        stored.slices[0, 0, 0] = 1


def test_any_viewer_sees_the_same_voxels_at_the_same_millimetres(tmp_path):
    volume = a_unit()
    stored = Store(tmp_path).put(volume, lungs=some_lungs(), **KEYS)
    image = nib.load(stored.path)
    np.testing.assert_allclose(image.get_fdata(), volume.array.T, atol=1e-4)
    lps = np.diag([-1, -1, 1, 1]) @ image.affine @ [4, 7, 2, 1]
    np.testing.assert_allclose(lps, volume.affine @ [2, 7, 4, 1], atol=1e-3)
    mask = nib.load(stored.lungs_path)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, image.affine)


def test_residuals_keep_their_sign_and_their_origin(tmp_path):
    stored = Store(tmp_path / "a").put(a_unit(), label=CHEST_CT.CAP, patient="p", **KEYS)
    residual = a_unit(units="residual", low=-1.0)
    again = Store(tmp_path / "b").put_like(stored, residual)
    back = Store(tmp_path / "b").get("0123456789ab").volume()
    assert back.units == "residual"
    np.testing.assert_allclose(back.array, residual.array, atol=1e-4)
    assert (again.label, again.patient, again.content_key) == (CHEST_CT.CAP, "p", "c" * 64)
    assert Store(tmp_path / "b").has("0123456789ab", "c" * 64, "s" * 12)


def test_a_study_is_known_by_content_and_settings(tmp_path):
    store = Store(tmp_path)
    assert not store.has("0123456789ab", "c" * 64, "s" * 12)
    store.put(a_unit(), **KEYS)
    assert store.has("0123456789ab", "c" * 64, "s" * 12)
    assert not store.has("0123456789ab", "c" * 64, "t" * 12)
    assert not store.has("0123456789ab", "x", "s" * 12)
    store.put(a_unit(), **{**KEYS, "settings_digest": "t" * 12})
    assert store.has("0123456789ab", "c" * 64, "t" * 12)
    assert not store.has("0123456789ab", "c" * 64, "s" * 12)


def test_the_index_is_sorted_and_a_missing_store_is_empty(tmp_path):
    store = Store(tmp_path / "none")
    assert store.index() == []
    for name in ("b", "a", "c"):
        store.put(a_unit(study=name * 12), **KEYS)
    assert [s.id[0] for s in store.index()] == ["a", "b", "c"]
    with pytest.raises(UsageError, match="not in the store"):
        store.get("d" * 12)


def test_lungs_that_were_not_stored_are_none(tmp_path):
    store = Store(tmp_path)
    store.put(a_unit(), lungs=some_lungs(), **KEYS)
    stored = store.put(a_unit(), **KEYS)
    assert stored.lungs is None
    assert not stored.lungs_path.exists()
    with pytest.raises(UsageError, match="without lungs"):
        stored.lungs_slice(0)


@pytest.mark.parametrize("damage", ["record", "cut", "gone", "other", "lungs"])
def test_a_damaged_study_counts_as_missing(tmp_path, damage, caplog):
    store = Store(tmp_path)
    stored = store.put(a_unit(), lungs=some_lungs(), **KEYS)
    if damage == "record":
        (tmp_path / f"{stored.id}.json").write_text("{")
    elif damage == "cut":
        stored.path.write_bytes(stored.path.read_bytes()[:-1])
    elif damage == "gone":
        stored.path.unlink()
    elif damage == "lungs":
        stored.lungs_path.unlink()
    else:
        content = stored.path.read_bytes()
        Store(tmp_path / "b").put(a_unit(1), **KEYS)
        other = (tmp_path / "b" / stored.path.name).read_bytes()
        assert len(other) == len(content)
        stored.path.write_bytes(other)
    assert store.index() == []
    assert not store.has("0123456789ab", "c" * 64, "s" * 12)


def test_a_full_disk_leaves_the_former_study_and_nothing_else(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put(a_unit(), lungs=some_lungs(), **KEYS)
    before = sorted(p.name for p in tmp_path.iterdir())
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr("covidctnet.cohort.store.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put(a_unit(1), lungs=some_lungs(1), **{**KEYS, "settings_digest": "t" * 12})
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    (stored,) = store.index()
    np.testing.assert_allclose(stored.volume().array, a_unit().array, atol=1e-4)


def test_two_writers_at_once_never_mix(tmp_path):
    def write(seed):
        for _ in range(8):
            Store(tmp_path).put(
                a_unit(seed), lungs=some_lungs(seed), **{**KEYS, "settings_digest": str(seed) * 12}
            )

    threads = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (stored,) = Store(tmp_path).index()
    seed = int(stored.settings_digest[0])
    np.testing.assert_allclose(stored.volume().array, a_unit(seed).array, atol=1e-4)
    np.testing.assert_array_equal(stored.lungs, some_lungs(seed))
    assert not list(tmp_path.glob("*.part"))


def test_hounsfield_units_and_values_that_do_not_fit_are_refused(tmp_path):
    store = Store(tmp_path / "s")
    with pytest.raises(StudyError, match="WRONG_UNITS"):
        store.put(a_unit(units="HU"), **KEYS)
    volume = a_unit().then("scaled", a_unit().array * 10)
    with pytest.raises(StudyError, match="OUT_OF_RANGE"):
        store.put(volume, **KEYS)
    with pytest.raises(ValueError, match="lungs have shape"):
        store.put(a_unit(), lungs=some_lungs()[:4], **KEYS)
    assert store.index() == []


def test_stores_and_studies_travel_to_other_processes(tmp_path):
    store = Store(tmp_path)
    stored = store.put(a_unit(), **KEYS)
    store.index()
    assert pickle.loads(pickle.dumps(store)).index() == [stored]


def test_records_hold_no_path(tmp_path):
    stored = Store(tmp_path).put(a_unit(), **KEYS)
    text = (tmp_path / f"{stored.id}.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["study"] == stored.id


def test_the_content_key_ignores_names_and_order_but_no_byte(tmp_path):
    series.write(tmp_path / "a")
    paths = series.write(tmp_path / "b", name="z{}.ima")
    (one,), (other,) = find_studies(tmp_path / "a"), find_studies(tmp_path / "b")
    assert content_key(one) == content_key(other)
    paths[0].write_bytes(paths[0].read_bytes()[:-1] + b"\x7f")
    assert content_key(one) != content_key(other)
    paths[0].unlink()
    with pytest.raises(StudyError, match="UNREADABLE"):
        content_key(other)
