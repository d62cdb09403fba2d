"""A system of two classes that looks at slices one by one: how little a system needs."""

from dataclasses import dataclass

import numpy as np
import torch

from covidctnet.classes import Classes
from covidctnet.contract import PredictorInfo, Stage, System
from covidctnet.evidence import Heatmap, Mask, SliceScores
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

    def __call__(self, volume, *, keep="numbers"):
        with torch.inference_mode():
            logits = self.weights.network("net")(features(volume.array / 1000.0))
        p = torch.softmax(logits.mean(0).double(), 0)
        return Prediction(
            volume.source.study,
            dict(zip(CLASSES, p.tolist(), strict=True)),
            weights=self.weights.digest,
            classes=CLASSES,
            evidence=evidence(volume, torch.softmax(logits, 1)[:, 1].tolist(), keep),
        )


def evidence(volume, scores, keep):
    """A score for each slice; and where it is neither air nor bone, when voxels are kept."""
    where = {"slices": tuple(range(len(scores))), "affine": volume.affine}
    soft = np.clip((volume.array + 700.0) / 1000.0, 0.0, 1.0)
    where |= {"over": soft, "chosen": (int(np.argmax(scores)),)}
    heat = Heatmap(label="ill", values=soft * np.array(scores)[:, None, None], **where)
    told = (SliceScores(tuple(scores), heat.heights_mm, "ill", 0.5),)
    if keep == "slices":
        return (*told, heat.at(heat.chosen))
    dense = (volume.array > -600) & (volume.array < 100)
    return (*told, heat, Mask(found=dense, score=soft, **where)) if keep == "volumes" else told


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
