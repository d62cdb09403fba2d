"""Chest CT to Covid-19, CAP or Control, the way of CovidCTNet.

Research software, no medical device.

The names below are loaded when they are first used: importing the package loads no torch.
"""

from __future__ import annotations

from importlib import import_module

from covidctnet._version import __version__

# As `typing` has it: `python -m covidctnet` imports no more than Python itself before it takes the
# working folder off its path.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from covidctnet.batch import classify_studies
    from covidctnet.classify import CovidCTNet
    from covidctnet.errors import (
        CohortError,
        CovidCTNetError,
        StorageError,
        StudyError,
        UsageError,
        WeightsError,
    )
    from covidctnet.evaluation.elsewhere import evaluate_predictions
    from covidctnet.io import Study, find_studies, read_study, read_volume
    from covidctnet.preprocess import PreprocessSettings
    from covidctnet.results import Burden, Failure, Label, Prediction, Region
    from covidctnet.volume import Source, Volume

__all__ = [
    "Burden",
    "CohortError",
    "CovidCTNet",
    "CovidCTNetError",
    "Failure",
    "Label",
    "Prediction",
    "PreprocessSettings",
    "Region",
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
    "read_study",
    "read_volume",
]

_HOMES = {
    "batch": ("classify_studies",),
    "classify": ("CovidCTNet",),
    "errors": (
        "CohortError",
        "CovidCTNetError",
        "StorageError",
        "StudyError",
        "UsageError",
        "WeightsError",
    ),
    "evaluation.elsewhere": ("evaluate_predictions",),
    "io": ("Study", "find_studies", "read_study", "read_volume"),
    "preprocess": ("PreprocessSettings",),
    "results": ("Burden", "Failure", "Label", "Prediction", "Region"),
    "volume": ("Source", "Volume"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "preprocess":  # a package that can be called like the function in it
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
