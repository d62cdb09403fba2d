"""Cases made up for the tests of evaluations: answers that are right more often than not."""

import numpy as np

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.cases import Case
from covidctnet.evidence import LesionVolume, Region
from covidctnet.results import Failure, Prediction

SITES = ("amber", "birch", "cobalt")
KERNELS = ("standard", "lung", "bone", "unknown")


def lesion_volume(share):
    """Lesions in this share of the lungs, all thirds alike."""
    thirds = [(lung, third) for lung in ("right", "left") for third in ("upper", "middle", "lower")]
    return LesionVolume(0.1, tuple(Region(*third, 700.0, 700.0 * share) for third in thirds))


def case(study, truth, probabilities, *, site="", traits=None, **rest):
    """One answer; probabilities in the order of the labels."""
    by_label = {label: float(p) for label, p in zip(CHEST_CT, probabilities, strict=True)}
    return Case(truth, Prediction(study, by_label, **rest), site, traits or {})


def refused(study, truth=CHEST_CT.CAP, message="3 gaps in 212 slices"):
    return Case(truth, Failure(study, "SLICE_GAP", message), "birch")


def simulated(n=30, *, labels=tuple(CHEST_CT), seed=0, lead=2.5, failures=3, rich=True):
    """`n` answers, the labels in turn, and refusals; all that weights may know of each if rich."""
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(n):
        truth = labels[number % len(labels)]
        probabilities = rng.dirichlet(1 + lead * (np.arange(len(CHEST_CT)) == truth))
        rest = {}
        if rich:
            left = tuple(label for label in CHEST_CT if probabilities[label] > 0.25)
            distance = float(rng.gamma(4.0, 0.12))
            ill = 0.0 if truth is CHEST_CT.CONTROL else float(rng.beta(1.5, 8))
            rest = {
                "prediction_set": left or (CHEST_CT[int(probabilities.argmax())],),
                "ood_score": distance,
                "flags": ("out_of_distribution",) if distance > 1 else (),
                "evidence": (lesion_volume(ill + float(rng.uniform(0.002, 0.02))),),
                "site": SITES[number % 7 % len(SITES)],
                "traits": {
                    "slice_mm": float(rng.choice([1.0, 1.25, 2.5, 5.0, 8.0])),
                    "noise_hu": float(rng.uniform(8, 45)),
                    "kernel": str(rng.choice(KERNELS)),
                    "kvp": float(rng.choice([100, 120])),
                },
            }
        cases.append(case(f"{number:012x}", truth, probabilities, **rest))
    cases += [refused(f"fa11ed{k:06x}", labels[k % len(labels)]) for k in range(failures)]
    return cases
