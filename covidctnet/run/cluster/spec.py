"""What a worker needs to become the predictor that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from covidctnet._version import __version__
from covidctnet.contract import Predictor, RunSettings
from covidctnet.report.provenance import library_versions
from covidctnet.run.cluster.errors import ClusterError

__all__ = ["PredictorSpec"]


@dataclass(frozen=True)
class PredictorSpec:
    """What a worker needs to become the predictor that was asked for.

    Attributes:
        weights: Name of shipped weights, or an absolute path, the same on every node.
        digest: Of the weights.
        settings: How the networks run.
        threads: Of the networks on a CPU: sums in another order may differ in the last bits.
        versions: Of this package and of the libraries that answers depend on.
    """

    weights: str
    digest: str
    settings: RunSettings = field(default_factory=RunSettings)
    threads: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, weights: str | Path, settings: RunSettings) -> Self:
        """The spec of weights that lie here.

        Args:
            weights: Shipped name, or a folder.
            settings: How the networks run.

        Raises:
            WeightsError: If they are missing or damaged.
        """
        import torch

        from covidctnet.weights import load_weights
        from covidctnet.weights.shipped import weights_root

        loaded = load_weights(weights)
        is_shipped = str(weights) == loaded.name and (weights_root() / loaded.name).is_dir()
        name = loaded.name if is_shipped else str(Path(weights).absolute())
        return cls(name, loaded.digest, settings, torch.get_num_threads(), _versions())

    def load(self) -> Predictor:
        """The predictor, on a worker.

        Raises:
            ClusterError: If the versions or the weights are others than where the run was started.
            WeightsError: If the weights are missing or damaged.
        """
        ours = _versions()
        for name in sorted({*self.versions, *ours}):
            here, there = ours.get(name, "none"), self.versions.get(name, "none")
            if here != there:
                raise ClusterError(
                    f"expected {name} {there} on every node, as where the run was started, got "
                    f"{here}. Install the same versions everywhere."
                )
        import torch

        from covidctnet.run.load import load

        torch.set_num_threads(self.threads)
        how = self.settings
        model = load(
            self.weights, device=how.device, precision=how.precision, compiled=how.compiled
        )
        if model.info.digest != self.digest:
            raise ClusterError(
                f"expected the weights {Path(self.weights).name} ({self.digest}) on every node, "
                f"got {model.info.digest}. Copy the same folder to every node."
            )
        return model


def _versions() -> dict[str, str]:
    return {"covidctnet": __version__, **library_versions()}
