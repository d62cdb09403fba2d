"""Answers of two small untrained networks and of the shipped weights, and losses of training.

Everything goes through the public names and the command line, so that it outlives a new layout.
"""

import csv
import hashlib
import math
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch

from covidctnet import CovidCTNet, Volume, read_volume
from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.evidence import LesionVolume, Panels
from covidctnet.phantom import make_phantom
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.trust.appearance import FEATURES, VERSION
from covidctnet.trust.out_of_distribution import OutOfDistributionDetector
from covidctnet.weights import save_weights
from covidctnet.weights.shipped import weights_root
from tests.small import write_cohort

SHIPPED = "compact"
# The coarsest scans that still pass the chest gate with room to spare.
MATRIX, SPACING_MM = 64, 8.0
REAL = ("COVID-19", "CAP", "Control")
STEPS = 20
STAGES = ("lungs", "denoiser", "classifier")

# Two pairs that together run every setting of the residual and every variant of the networks.
PAIRS: Mapping[str, Mapping[str, Any]] = {
    "plain": {
        "denoiser": {"base": 2, "depth": 1, "bidirectional": True, "gates": "sigmoid"},
        "classifier": {"base": 2, "depth": 34, "size": 64},
        "residual": {},
        "lesion_threshold": 0.08,
        "seed": 12,
    },
    "both": {
        "denoiser": {"base": 2, "depth": 3, "bidirectional": False, "gates": "hard_sigmoid"},
        "classifier": {"base": 2, "depth": 34, "size": 64, "channels": 2},
        "residual": {
            "depth_resize": "antialiased",
            "signed": False,
            "classifier_input": "both",
        },
        "lesion_threshold": 0.08,
        "seed": 7,
    },
}
PREPROCESSING = {
    "spacing_mm": 3.0,
    "low_hu": -1000.0,
    "high_hu": 400.0,
    "size": 64,
    "pad_square": True,
}


def environment() -> dict[str, str]:
    """What the last bits of an answer depend on besides the code."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_model()}",
    }


def _model() -> str:
    """Maker, family and model of the processor; its kernels are chosen by them."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    return " ".join(fields.get(name, "") for name in ("vendor_id", "cpu family", "model")).strip()


def phantoms() -> Iterator[tuple[str, Volume]]:
    """Twelve synthetic chests, four of each class."""
    for label in CHEST_CT:
        for seed in range(4):
            phantom = make_phantom(label, seed, matrix=MATRIX, spacing_mm=SPACING_MM)
            yield f"phantom {label.key} {seed}", phantom.volume


def real_scans(data: Path) -> Iterator[tuple[str, Volume]]:
    """The three whole scans of COVID-CT-MD below `data`."""
    for name in REAL:
        (folder,) = (data / "covid_ct_md" / name).iterdir()
        yield f"real {name}", read_volume(folder)


def small_pair(folder: Path, name: str) -> Path:
    """Weights of a small pair whose numbers NumPy drew, with all that is fitted beside them."""
    pair = PAIRS[name]
    rng = np.random.default_rng(pair["seed"])
    denoiser = drawn(BCDUNet(**pair["denoiser"]), rng)
    with torch.no_grad():
        # Lungs are dark: an output as dark leaves a residual of both signs.
        denoiser.head[2].bias -= 2.0
    networks = {
        "denoiser": denoiser,
        "classifier": drawn(CNN3D(**pair["classifier"]), rng),
        "out_of_distribution": drawn(OutOfDistributionDetector(len(FEATURES), 3), rng),
    }
    card = {
        "architecture": {
            **{kind: dict(pair[kind]) for kind in ("denoiser", "classifier")},
            "out_of_distribution": {"features": len(FEATURES), "classes": 3},
        },
        "preprocessing": PREPROCESSING,
        "residual": {
            "depth_resize": "linear",
            "signed": True,
            "classifier_input": "residual",
            **pair["residual"],
        },
        "synthetic_only": True,
        "calibration": {
            "temperature": 0.2,
            "sets": {"coverage": 0.9, "threshold": 0.75, "n": 40},
        },
        "out_of_distribution": {"limit": 3150.0, "scans": 40, "version": VERSION},
        "lesion_volume": {"threshold": pair["lesion_threshold"], "patients": 10},
    }
    save_weights(folder, networks, card=card)
    return folder


def drawn(network: torch.nn.Module, rng: np.random.Generator) -> torch.nn.Module:
    """Fill a network with numbers that do not depend on the version of torch."""
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            shape, fan_in = tuple(tensor.shape), max(1, math.prod(tensor.shape[1:]))
            if key.endswith("num_batches_tracked"):
                continue
            if key.endswith("running_var"):
                values = rng.uniform(0.5, 1.5, shape)
            elif len(shape) == 1:
                values = rng.normal(0.0, 0.1, shape) + key.endswith("weight")
            else:
                values = rng.normal(0.0, (2.0 / fan_in) ** 0.5, shape)
            tensor.copy_(torch.from_numpy(values.astype(np.float32)))
    return network


def answer(network: CovidCTNet, volume: Volume) -> dict[str, Any]:
    """One prediction, as plain numbers and digests of its arrays."""
    prepared = network.prepare(volume)
    prediction = network(prepared, keep="volumes")
    lesions, panels = prediction.find(LesionVolume), prediction.find(Panels)
    assert lesions is not None and panels is not None
    return {
        "probabilities": {k.key: v for k, v in prediction.probabilities.items()},
        "set": [label.key for label in prediction.prediction_set],
        "status": prediction.status,
        "flags": list(prediction.flags),
        "ood_score": prediction.ood_score,
        "lung_ml": [region.lung_ml for region in lesions.regions],
        "lesion_ml": [region.lesion_ml for region in lesions.regions],
        "top_slices_mm": list(lesions.top_slices_mm),
        "bits": {
            "scan": sha(volume.array),
            "prepared": sha(prepared.unit.array),
            "lungs": sha(prepared.lungs),
            "residual": sha(panels["residual"]),
        },
    }


def sha(array: np.ndarray) -> str:
    """Twelve hexadecimal digits of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]


def shipped_digest() -> str:
    """Twelve hexadecimal digits of the shipped networks."""
    files = sorted((weights_root() / SHIPPED).glob("*.safetensors"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


def losses(folder: Path, stages: tuple[str, ...] = STAGES) -> dict[str, list[float]]:
    """Loss of the first steps of each stage with the preset ``demo``, on a small cohort.

    Args:
        folder: Empty; cohort and work folder go there.
        stages: In this order.
    """
    work = folder / "work"
    cohort = write_cohort(folder / "cohort")
    # A work folder of before ids were made with a key: its divisions and its ids stay.
    work.mkdir()
    shutil.copy(Path(__file__).with_name("splits.json"), work)
    run("preprocess", str(cohort), "-o", str(work), "--preset", "demo", "--workers", "1")
    by_stage = {}
    for stage in stages:
        run(
            f"train-{stage}",
            *("--work", str(work), "--preset", "demo", "--device", "cpu"),
            *("--trainer.max_steps", str(STEPS), "--trainer.max_epochs", "-1"),
            *("--trainer.limit_train_batches", str(STEPS), "--trainer.log_every_n_steps", "1"),
            *("--trainer.limit_val_batches", "1", "--trainer.num_sanity_val_steps", "0"),
            *("--trainer.precision", "32-true"),
        )
        (log,) = (work / stage / "log").glob("run*/metrics.csv")
        with log.open(newline="") as file:
            by_stage[stage] = [
                float(r["train_loss"]) for r in csv.DictReader(file) if r["train_loss"]
            ]
    return by_stage


def run(*arguments: str) -> None:
    """One command of the command line, in this process."""
    code = main(list(arguments))
    if code != 0:
        raise RuntimeError(f"expected covidctnet {arguments[0]} to end with 0, got {code}")
