"""Studies, models and answers made up for the report's tests."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covidctnet.classes import CHEST_CT
from covidctnet.contract import PredictorInfo
from covidctnet.evidence import Panels
from covidctnet.results import Failure, Prediction

DIGEST = "0123456789ab"


@dataclass(frozen=True)
class AStudy:
    id: str = "a75be42d5098"
    path: Path = Path("/inbox/DOE_JANE_1961")
    files: tuple[Path, ...] = ()


def an_info(**changes):
    provenance = {"weights": "compact", "device": "cpu"}
    made = PredictorInfo("covidctnet", "compact", DIGEST, CHEST_CT, provenance=provenance)
    return replace(made, **changes)


def images(slices=3, shape=(24, 24), **changes):
    """Slices with a bright square that the denoiser has taken away."""
    scan = np.zeros((slices, *shape), dtype=np.float32)
    scan[:, 4:12, 4:12] = 0.25
    affine = np.array([[0, 0, 2.0, 0], [0, 2.0, 0, 0], [10.0, 0, 0, -200.0], [0, 0, 0, 1]])
    made = Panels(
        names=("input", "denoised", "residual"),
        units=("unit", "unit", "residual"),
        images=(scan, np.zeros_like(scan), scan),
        window_hu=(-1000.0, 400.0),
        slices=tuple(range(slices)),
        affine=affine,
    )
    return (replace(made, **changes),)


def answer(study="a75be42d5098", control=0.2, covid19=0.7, cap=0.1, **rest):
    probabilities = {CHEST_CT.CONTROL: control, CHEST_CT.COVID19: covid19, CHEST_CT.CAP: cap}
    return Prediction(study, probabilities, weights=DIGEST, **rest)


def refusal(study="a75be42d5098", message="3 gaps in 212 slices", **rest):
    return Failure(study, "SLICE_GAP", message, **rest)
