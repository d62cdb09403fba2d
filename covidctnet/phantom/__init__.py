"""Synthetic chest CT with known truth. Phantoms, every time they are spoken of."""

from covidctnet.phantom.cohort import CohortPlan, write_cohort
from covidctnet.phantom.painted import PaintPlan, paint_cohort
from covidctnet.phantom.painter import Painted, paint_lesions
from covidctnet.phantom.patient import Phantom, make_phantom
from covidctnet.phantom.scanner import SCANNERS, TRAINING_SCANNERS, UNSEEN_SCANNERS, Scanner

__all__ = [
    "SCANNERS",
    "TRAINING_SCANNERS",
    "UNSEEN_SCANNERS",
    "CohortPlan",
    "PaintPlan",
    "Painted",
    "Phantom",
    "Scanner",
    "make_phantom",
    "paint_cohort",
    "paint_lesions",
    "write_cohort",
]
