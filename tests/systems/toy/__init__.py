"""A system of two classes that looks at slices one by one: how little a system needs."""

from dataclasses import dataclass

import numpy as np
import torch

from covidctnet.classes import Classes
from covidctnet.contract import PredictorInfo, Stage, System
from covidctnet.results import Prediction
from covidctnet.weights import Weights

CLASSES = Classes(("Control", "Ill"), normal="Control", aliases={"Covid-19": "Ill", "CAP": "Ill"})


def features(slices):
    """Mean and spread of every slice, float32 (slice, 2)."""
    return torch.from_numpy(np.stack([slices.mean((1, 2)), slices.std((1, 2))], 1)).float()


@dataclass(frozen=True)
class Toy:
    weights: Weights

    @property
    def info(self):
        return PredictorInfo.of(self.weights, {"weights": self.weights.name})

    def prepare(self, volume):
        return volume

    def __call__(self, volume, *, images=False):
        with torch.inference_mode():
            logits = self.weights.network("net")(features(volume.array / 1000.0)).mean(0)
        p = torch.softmax(logits.double(), 0)
        probabilities = dict(zip(CLASSES, p.tolist(), strict=True))
        return Prediction(
            volume.source.study, probabilities, weights=self.weights.digest, classes=CLASSES
        )


def recipe():
    from tests.systems.toy.training import RECIPE

    return RECIPE


SYSTEM = System(
    name="toy",
    title="Toy",
    modality="ct",
    classes=CLASSES,
    networks=frozenset({"net"}),
    check=lambda name, card: None,
    deciding=lambda card: {"scale": card.get("scale", 1000)},
    build=lambda kind, architecture: torch.nn.Linear(architecture["inputs"], 2),
    weights=lambda: Weights,
    load=lambda weights, how: Toy(weights),
    stages=(Stage("net", "a line through two numbers", recipe),),
)
