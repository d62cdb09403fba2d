"""Phantoms that several modules look at; each is made once."""

import pytest

from covidctnet.classes import CHEST_CT, Label
from covidctnet.phantom import Phantom, make_phantom
from covidctnet.phantom.thorax import Thorax
from tests.phantom.small import thorax_of

HEALTHY = (4, 6)
TYPICAL_COVID = (4, 6, 12)
LOBAR_CAP = (4, 9)


def several(label: Label, seeds: tuple[int, ...]) -> list[Phantom]:
    return [make_phantom(label, seed, matrix=96, spacing_mm=6.0) for seed in seeds]


@pytest.fixture(scope="session")
def thorax() -> Thorax:
    return thorax_of(0)


@pytest.fixture(scope="session")
def healthy() -> list[Phantom]:
    return several(CHEST_CT.CONTROL, HEALTHY)


@pytest.fixture(scope="session")
def typical_covid() -> list[Phantom]:
    return several(CHEST_CT.COVID19, TYPICAL_COVID)


@pytest.fixture(scope="session")
def lobar_cap() -> list[Phantom]:
    return several(CHEST_CT.CAP, LOBAR_CAP)


@pytest.fixture(scope="session")
def patients(healthy, typical_covid, lobar_cap) -> list[Phantom]:
    return healthy + typical_covid + lobar_cap
