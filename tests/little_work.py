"""A work folder of random little lungs, made in no time: no file is read, no network runs."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.splits import Member, SplitSettings, make_splits
from covidctnet.cohort.store import Store
from covidctnet.preprocess import PreprocessSettings
from covidctnet.volume import SYNTHETIC_NOTE, Source, Volume

SHAPE = (20, 40, 40)
PATIENTS = {CHEST_CT.CONTROL: 9, CHEST_CT.COVID19: 4, CHEST_CT.CAP: 4}


def put_study(
    store: Store,
    name: str,
    label: Label,
    *,
    size: int = 40,
    notes=(),
    site: str | None = None,
    field: str = "scan",
) -> str:
    """A box of a body with two lungs of random texture, preprocessed; returns its id."""
    study = hashlib.sha256(name.encode()).hexdigest()[:12]
    rng = np.random.default_rng(list(name.encode()))
    lungs = np.zeros((SHAPE[0], size, size), dtype=bool)
    lungs[2:-2, 8:24, 5:14] = lungs[2:-2, 8:24, 18:27] = True
    array = np.zeros(lungs.shape, dtype=np.float32)
    array[:, 4:28, 2:30] = 0.7
    array[lungs] = 0.15
    array += rng.uniform(0, 0.08, array.shape).astype(np.float32)
    affine = np.array([[0, 0, 8.0, 0], [0, 8, 0, 0], [8, 0, 0, 0], [0, 0, 0, 1]])
    settings = PreprocessSettings(size=size, field=field)
    source = Source(study, digest=hashlib.sha256(array.tobytes()).hexdigest(), notes=notes)
    for part in (store, store.coarse) if field == "lungs" else (store,):
        part.put(
            Volume(array, affine, "unit", source, steps=("windowed",), window_hu=(-1000.0, 400.0)),
            lungs=lungs,
            content_key=hashlib.sha256(f"{name} {size}".encode()).hexdigest(),
            settings=asdict(settings),
            settings_digest=settings.digest,
            label=label,
            patient=name,
            site=site,
        )
    return study


def fill(
    work: Path, *, synthetic: bool = True, patients=MappingProxyType(PATIENTS), field: str = "scan"
) -> Path:
    """Studies of seventeen patients, or as many as wanted, with their splits."""
    store = Store(work / "preprocessed")
    notes = (SYNTHETIC_NOTE,) if synthetic else ()
    members = [
        Member(put_study(store, name, label, notes=notes, field=field), name, label)
        for label, count in patients.items()
        for name in (f"{label.key}{number}" for number in range(count))
    ]
    make_splits(members, SplitSettings()).save(work / "splits.json")
    return work


@pytest.fixture
def little_work(tmp_path):
    """A work folder of phantoms."""
    return fill(tmp_path / "little")


@pytest.fixture
def patients_work(tmp_path):
    """A work folder of patients that are no phantoms."""
    return fill(tmp_path / "patients", synthetic=False)
