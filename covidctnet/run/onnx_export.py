"""Networks of weights as ONNX files, each compared with torch before it is kept."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covidctnet._version import __version__
from covidctnet.contract import NetworkSignature
from covidctnet.errors import UsageError, WeightsError
from covidctnet.files import make_folder, write_whole
from covidctnet.registry import find_system
from covidctnet.surroundings import expect_packages
from covidctnet.weights import Weights, load_weights

__all__ = ["DESCRIPTION", "TOLERANCE", "Exported", "export_weights"]

DESCRIPTION = "export.json"
# Largest difference between torch and ONNX Runtime that is accepted.
TOLERANCE = 1e-4
INPUT, BATCH = "input", "batch"
# Inputs that both are run on: so many of pure noise and so many of smooth patches.
_CHECKED = 2
# Patches a side.
_PATCHES = 6
# What the exporter needs, and the runtime that checks its work.
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """One network that was exported.

    Attributes:
        kind: In the card.
        file: Name of the ONNX file.
        difference: Largest difference between torch and ONNX Runtime, as `_difference` has it.
        signature: What it reads and gives.
        outputs: Names of its outputs, in their order.
        opset: Version of the ONNX operators.
    """

    kind: str
    file: str
    difference: float
    signature: NetworkSignature
    outputs: tuple[str, ...]
    opset: int

    def __str__(self) -> str:
        shape = " x ".join(map(str, (BATCH, *self.signature.shape)))
        return (
            f"{self.file}  input {shape}  outputs {', '.join(self.outputs)}  largest difference "
            f"from torch {self.difference:.1e}"
        )


def export_weights(
    name: str | Path, folder: Path, *, kinds: Sequence[str] = ()
) -> tuple[Exported, ...]:
    """Write the networks of weights as ONNX, each checked against torch with ONNX Runtime.

    The file of a network holds its numbers and, as metadata, what it reads and gives, the classes
    and the digest of the weights; ``export.json`` says the same of all of them. Preprocessing is no
    part of the files: the card of the weights describes it.

    Args:
        name: Shipped weights by name, or a folder.
        folder: Receives ``KIND.onnx`` and ``export.json``; made when needed.
        kinds: Of the networks; all of the card by default.

    Returns:
        What was written, in the order of the card.

    Raises:
        UsageError: If a package is missing, the weights have no such network, or the system says
            not what its networks read.
        WeightsError: If the weights are unusable, or ONNX Runtime gives other numbers than torch;
            that file is not written.
    """
    expect_packages(_PACKAGES, extra="export", purpose="covidctnet export onnx")
    weights = load_weights(name)
    held = tuple(weights.card["architecture"])
    if unknown := sorted(set(kinds) - set(held)):
        raise UsageError(
            f"expected networks of these weights, {', '.join(held)}, got {', '.join(unknown)}. "
            "Name one of them, or leave --networks out for all."
        )
    system = find_system(weights.card["system"])
    if system.signature is None:
        raise UsageError(
            f"expected a system that says what its networks read, {system.name} does not. Give its "
            "System a signature, see covidctnet.contract."
        )
    make_folder(folder)
    made = []
    for kind in held:
        if kinds and kind not in kinds:
            continue
        signature = system.signature(kind, weights.card)
        exported, content = _export(weights, kind, signature)
        write_whole(folder / exported.file, content)
        made.append(exported)
    _describe(weights, made, folder)
    return tuple(made)


class _Named(nn.Module):
    """A network in evaluation mode whose outputs are a tuple of tensors that are not empty."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(_named(self.network(x)).values())


def _named(output: Any) -> dict[str, Tensor]:
    """Outputs by name: the fields of a named tuple, or ``output``; empty tensors left out."""
    if isinstance(output, Tensor):
        return {"output": output}
    return {name: value for name, value in output._asdict().items() if value.numel()}


def _export(weights: Weights, kind: str, signature: NetworkSignature) -> tuple[Exported, bytes]:
    import onnx

    network = _Named(weights.network(kind))
    examples = _examples(signature.shape)
    with torch.inference_mode():
        names = tuple(_named(network.network(examples[0])))
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (examples[0],),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim(BATCH)},),
                input_names=[INPUT],
                output_names=list(names),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        line = " ".join(str(error.__cause__ or error).split())
        raise UsageError(
            f"expected a network that this torch can export, {kind} of weights {weights.name!r} "
            f"is none: {line:.200}. Use another version of torch and onnxscript."
        ) from None
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, _metadata(weights, kind, signature))
    content = model.SerializeToString()
    difference = _difference(network, content, examples)
    # Not `>`: NaN must not pass.
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"expected {kind} of weights {weights.name!r} to give the same numbers in ONNX Runtime "
            f"as in torch to {TOLERANCE:g}, got a difference of {difference:.1e}. The file is not "
            "written; use another version of onnxruntime, or run the weights with torch."
        )
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return Exported(kind, f"{kind}.onnx", difference, signature, names, opset), content


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and the exporter say to people who develop them."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _examples(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Inputs in [0, 1], of two batch sizes: noise, and smooth patches, as pictures are."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(_CHECKED, *shape, generator=generator)
    if len(shape) < 3:
        return noise, torch.rand(_CHECKED + 1, *shape, generator=generator)
    inner = shape[1:]
    coarse = torch.rand(_CHECKED + 1, shape[0], *(_PATCHES for _ in inner), generator=generator)
    how = "bilinear" if len(inner) == 2 else "trilinear"
    return noise, F.interpolate(coarse, size=inner, mode=how, align_corners=False)


def _difference(network: _Named, content: bytes, examples: Sequence[Tensor]) -> float:
    """The largest difference of an output between torch and ONNX Runtime.

    Absolute for values up to 1, relative to the value beyond; NaN where either gives NaN.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    largest = 0.0
    for example in examples:
        with torch.inference_mode():
            expected = [one.numpy() for one in network(example)]
        got = cast("list[np.ndarray]", session.run(None, {INPUT: example.numpy()}))
        for ours, theirs in zip(expected, got, strict=True):
            if ours.shape != theirs.shape:
                return float("inf")
            apart = np.abs(ours - theirs) / np.maximum(1.0, np.abs(ours))
            largest = float(np.maximum(largest, apart.max()))
    return largest


def _metadata(weights: Weights, kind: str, signature: NetworkSignature) -> dict[str, str]:
    return {
        "covidctnet": __version__,
        "system": weights.card["system"],
        "network": kind,
        "weights": weights.name,
        "weights_digest": weights.digest,
        "classes": json.dumps(list(weights.classes.titles)),
        "reads": signature.reads,
        "gives": signature.gives,
        "notice": "Research use only. Not a medical device.",
        "caveat": weights.caveat,
    }


def _describe(weights: Weights, made: Sequence[Exported], folder: Path) -> None:
    system = find_system(weights.card["system"])
    facts: Mapping[str, Any] = {
        "covidctnet": __version__,
        "torch": torch.__version__,
        "system": system.name,
        "weights": weights.name,
        "weights_digest": weights.digest,
        "classes": list(weights.classes.titles),
        "settings": system.deciding(weights.card),
        "tolerance": TOLERANCE,
        "caveat": weights.caveat,
        "networks": {one.kind: _entry(one) for one in made},
    }
    write_whole(folder / DESCRIPTION, json.dumps(facts, indent=1) + "\n")


def _entry(one: Exported) -> dict[str, Any]:
    entry = asdict(one)
    signature = entry.pop("signature")
    return {**entry, **signature, "input": INPUT}
