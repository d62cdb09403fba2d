"""The commands: one function each. Its signature gives the options, its docstring their help."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from covidctnet.commands import (
    answers,
    cohorts,
    drafts,
    exports,
    papers,
    pictures,
    serving,
    training,
)

__all__ = ["COMMANDS"]

COMMANDS: Mapping[str, Callable[..., int | None]] = {
    "classify": answers.classify,
    "merge": answers.merge,
    "inspect": answers.inspect,
    "quality": pictures.quality,
    "phantom": cohorts.phantom,
    "paint": cohorts.paint,
    "cohort": drafts.cohort,
    "preprocess": cohorts.preprocess,
    "split": cohorts.split,
    "train": training.train,
    "train-lungs": training.train_lungs,
    "train-denoiser": training.train_denoiser,
    "train-classifier": training.train_classifier,
    "cross-fit": training.cross_fit,
    "evaluate": answers.evaluate,
    "compare": answers.compare,
    "paper": papers.paper,
    "weights": training.weights,
    "export onnx": exports.export_onnx,
    "serve pacs": serving.serve_pacs,
    "serve web": serving.serve_web,
}
