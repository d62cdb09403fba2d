"""What every system brings: its classes, its stages of training, and a predictor.

The command line, training, evaluation and reports know systems by this contract alone. A system is
a folder of code with a `System` in it (see `covidctnet.registry`) and a folder of presets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from covidctnet.classes import Classes
from covidctnet.errors import UsageError
from covidctnet.evidence import Keep
from covidctnet.published import PublishedFigures
from covidctnet.results import Prediction

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.training.recipe import Recipe
    from covidctnet.weights import Weights

__all__ = [
    "Modality",
    "NetworkSignature",
    "Predictor",
    "PredictorInfo",
    "RunSettings",
    "Stage",
    "System",
]

Modality = Literal["ct", "radiograph"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class PredictorInfo:
    """What a predictor is, as results have to say.

    Attributes:
        system: Name of its system.
        weights: Name of its weights.
        digest: Twelve hexadecimal digits that change with any weight or setting.
        classes: That it tells apart.
        preprocessing: Digest of the settings that a study in a work folder must be preprocessed
            with for `Predictor.prepare` to take it; empty where it takes none.
        published: What the paper of the system reports, to be shown next to other figures.
        modality: What its system reads.
        caveat: What must be said with every answer; empty where nothing must.
        trained_on: What the weights have learned from, in words.
        provenance: What a result must carry to be repeated.
        card: Of the weights.
    """

    system: str
    weights: str
    digest: str
    classes: Classes
    caveat: str = ""
    trained_on: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)
    preprocessing: str = ""
    published: tuple[PublishedFigures, ...] = ()
    modality: Modality = "ct"

    @classmethod
    def of(
        cls,
        weights: Weights,
        provenance: Mapping[str, Any],
        *,
        digest: str = "",
        preprocessing: str = "",
        published: tuple[PublishedFigures, ...] = (),
        modality: Modality = "ct",
    ) -> PredictorInfo:
        """What a predictor with these weights is.

        Args:
            weights: Loaded.
            provenance: See `PredictorInfo`.
            digest: Of a predictor that was changed since; that of the weights by default.
            preprocessing: See `PredictorInfo`.
            published: See `PredictorInfo`.
            modality: See `PredictorInfo`.
        """
        return cls(
            weights.card["system"],
            weights.name,
            digest or weights.digest,
            weights.classes,
            weights.caveat,
            weights.trained_on,
            provenance,
            weights.card,
            preprocessing,
            published,
            modality,
        )


class Predictor(Protocol):
    """Turns a scan into an answer, in two steps, so that scans can overlap."""

    @property
    def info(self) -> PredictorInfo:
        """What it is."""

    def prepare(self, scan: Any, /) -> Any:
        """What can be done while another study is answered, in any thread.

        Args:
            scan: As it was read: a `covidctnet.volume.Volume`, or a
                `covidctnet.radiograph.read.Radiograph` for a predictor of radiographs; or a
                `covidctnet.cohort.store.StoredStudy` of a work folder, for a predictor whose info
                names the preprocessing.

        Raises:
            StudyError: If the scan cannot be answered.
        """

    def __call__(self, prepared: Any, /, *, keep: Keep = "numbers") -> Prediction:
        """Answer what `prepare` gave.

        Args:
            prepared: From `prepare`.
            keep: Voxels that the evidence of the answer holds: none, those of a few slices for a
                picture, or all. What each system has of them is its own choice.

        Raises:
            StudyError: If the scan cannot be answered.
        """


@dataclass(frozen=True)
class RunSettings:
    """How the networks of a predictor run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto``, ``32`` or ``bf16``.
        compiled: Let `torch.compile` write kernels.
    """

    device: str = "auto"
    precision: str = "auto"
    compiled: bool = False


@dataclass(frozen=True)
class Stage:
    """One training run of a system.

    Attributes:
        name: Of the command (``covidctnet train SYSTEM STAGE``) and of the preset's file.
        summary: What it trains, in a line.
        recipe: Gives what trains it; called when it is needed, as it imports Lightning.
    """

    name: str
    summary: str
    recipe: Callable[[], Recipe]


@dataclass(frozen=True)
class NetworkSignature:
    """What a network reads and gives, for those who run it elsewhere.

    Attributes:
        shape: Of one input, without the batch.
        reads: What the input is, with its range, in words.
        gives: What the output is, in words.
    """

    shape: tuple[int, ...]
    reads: str
    gives: str


@dataclass(frozen=True)
class System:
    """One system of the source papers, or of somebody else.

    Attributes:
        name: Of its folder, of its presets and in cards: lower-case letters, digits and ``_``.
        title: Name that people read.
        modality: What it reads.
        classes: That its weights tell apart, unless their card says otherwise.
        networks: Kinds of networks that its cards may describe.
        check: Refuses a card whose settings it cannot use, with `WeightsError`; called with the
            name of the weights and the card.
        deciding: The settings of a card that decide an answer, by name: the digest is of these.
        build: A network by its kind and by what the card says of its architecture.
        weights: Gives the type of its weights; called when they are loaded, as it imports torch.
        load: Makes a predictor of weights.
        stages: Training runs, in their order.
        has_denoiser: Whether a stage learns from Controls alone, which `preprocess` sets aside.
        published: What its paper reports.
        variants: Other classes that its weights may tell apart, as their card says.
        former_names: What entries of its cards and networks were called in older cards, by what
            they are called now.
        signature: What a network reads and gives, by its kind and the card; None where it cannot
            be exported.
    """

    name: str
    title: str
    modality: Modality
    classes: Classes
    networks: frozenset[str]
    check: Callable[[str, Mapping[str, Any]], None]
    deciding: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    build: Callable[[str, Mapping[str, Any]], nn.Module]
    weights: Callable[[], type[Weights]]
    load: Callable[[Weights, RunSettings], Predictor]
    stages: tuple[Stage, ...] = ()
    has_denoiser: bool = False
    published: tuple[PublishedFigures, ...] = ()
    variants: tuple[Classes, ...] = ()
    former_names: Mapping[str, str] = field(default_factory=dict)
    signature: Callable[[str, Mapping[str, Any]], NetworkSignature] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                "expected a system's name of lower-case letters, digits and _, got "
                f"{self.name!r:.80}"
            )
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise UsageError(f"expected stages with names of their own, got {', '.join(names)}")

    def stage(self, name: str) -> Stage:
        """A stage by its name.

        Raises:
            UsageError: If it has no such stage.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(stage.name for stage in self.stages) or "none"
        raise UsageError(f"the system {self.name} has no stage {name!r:.80}; its stages: {known}")
