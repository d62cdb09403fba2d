"""Synthetic chest CT and radiographs with known truth. Phantoms, every time they are spoken of."""

from covidctnet.phantom.cohort import CohortPlan, write_cohort
from covidctnet.phantom.detector import XRAY_UNITS, XRayUnit
from covidctnet.phantom.painted import PaintPlan, paint_cohort
from covidctnet.phantom.painter import Painted, paint_lesions
from covidctnet.phantom.patient import Phantom, make_phantom
from covidctnet.phantom.radiograph import PhantomRadiograph, make_radiograph
from covidctnet.phantom.scanner import SCANNERS, TRAINING_SCANNERS, UNSEEN_SCANNERS, Scanner

__all__ = [
    "SCANNERS",
    "TRAINING_SCANNERS",
    "UNSEEN_SCANNERS",
    "XRAY_UNITS",
    "CohortPlan",
    "PaintPlan",
    "Painted",
    "Phantom",
    "PhantomRadiograph",
    "Scanner",
    "XRayUnit",
    "make_phantom",
    "make_radiograph",
    "paint_cohort",
    "paint_lesions",
    "write_cohort",
]
