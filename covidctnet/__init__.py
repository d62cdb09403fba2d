"""Chest CT to Covid-19, CAP or Control, the way of CovidCTNet.

Research software, no medical device.

The names below are loaded when they are first used: importing the package loads no torch.
"""

from importlib import import_module

from covidctnet._version import __version__

# As `typing` has it: `python -m covidctnet` imports no more than Python itself, not even
# `__future__`, before it takes the working folder off its path.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from covidctnet.classes import CHEST_CT, Classes, Label
    from covidctnet.errors import (
        CohortError,
        CovidCTNetError,
        StorageError,
        StudyError,
        UsageError,
        WeightsError,
    )
    from covidctnet.evidence import (
        Evidence,
        Heatmap,
        LesionVolume,
        Mask,
        Panels,
        QualityFindings,
        Regions,
        SliceScores,
    )
    from covidctnet.io import Study, find_studies, read_study, read_volume
    from covidctnet.preprocess import PreprocessSettings
    from covidctnet.results import Failure, Prediction
    from covidctnet.run.classify import classify_studies
    from covidctnet.run.elsewhere import evaluate_predictions
    from covidctnet.run.load import load
    from covidctnet.systems.covidctnet.predictor import CovidCTNet
    from covidctnet.volume import Source, Volume

__all__ = [
    "CHEST_CT",
    "Classes",
    "CohortError",
    "CovidCTNet",
    "CovidCTNetError",
    "Evidence",
    "Failure",
    "Heatmap",
    "Label",
    "LesionVolume",
    "Mask",
    "Panels",
    "Prediction",
    "PreprocessSettings",
    "QualityFindings",
    "Regions",
    "SliceScores",
    "Source",
    "StorageError",
    "Study",
    "StudyError",
    "UsageError",
    "Volume",
    "WeightsError",
    "__version__",
    "classify_studies",
    "evaluate_predictions",
    "find_studies",
    "load",
    "read_study",
    "read_volume",
]

_NAMES_OF_MODULES = {
    "errors": (
        "CohortError",
        "CovidCTNetError",
        "StorageError",
        "StudyError",
        "UsageError",
        "WeightsError",
    ),
    "run.elsewhere": ("evaluate_predictions",),
    "io": ("Study", "find_studies", "read_study", "read_volume"),
    "preprocess": ("PreprocessSettings",),
    "classes": ("CHEST_CT", "Classes", "Label"),
    "evidence": (
        "Evidence",
        "Heatmap",
        "LesionVolume",
        "Mask",
        "Panels",
        "QualityFindings",
        "Regions",
        "SliceScores",
    ),
    "results": ("Failure", "Prediction"),
    "run.classify": ("classify_studies",),
    "run.load": ("load",),
    "systems.covidctnet.predictor": ("CovidCTNet",),
    "volume": ("Source", "Volume"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF_MODULES.items() for name in names}


def __getattr__(name: str) -> "Any":
    if name == "preprocess":  # a package that can be called like the function in it
        return import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
