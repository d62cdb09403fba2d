"""Which learning rate to start with: Lightning's finder, with its curve in the work folder.

Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017: the rate rises
from step to step, and the one where the loss falls most steeply is suggested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.tuner import Tuner

from covidctnet.errors import UsageError
from covidctnet.files import make_folder, number_text, table_text, write_whole

__all__ = ["CURVE", "LEAST_STEPS", "find_learning_rate"]

CURVE = "learning-rate.csv"
# Losses that are left out at either end of the curve: the first steps see random weights.
_SKIPPED = 10
# With fewer there is no curve.
LEAST_STEPS = 5


def find_learning_rate(
    trainer: pl.Trainer, task: pl.LightningModule, data: Any, steps: int
) -> float:
    """Try rising learning rates on the first batches; the network is as before afterwards.

    Args:
        trainer: Whose folder receives the curve, ``learning-rate.csv``.
        task: With ``learning_rate``.
        data: That it learns from.
        steps: Rates to try, `LEAST_STEPS` or more.

    Returns:
        The suggestion.

    Raises:
        UsageError: If too few losses were finite.
    """
    found = Tuner(trainer).lr_find(task, datamodule=data, num_training=steps, update_attr=False)
    assert found is not None
    folder = Path(trainer.default_root_dir)
    make_folder(folder)
    pairs = zip(found.results["lr"], found.results["loss"], strict=True)
    rows = [("learning_rate", "loss"), *((number_text(r), number_text(x)) for r, x in pairs)]
    write_whole(folder / CURVE, table_text(rows))
    suggested = found.suggestion(skip_begin=min(_SKIPPED, steps // 4))
    if suggested is None:
        raise UsageError(
            f"expected losses of several rates, got {len(rows) - 1} of {steps}: no rate can be "
            f"suggested. Try more steps, as --find-lr {4 * steps}."
        )
    return float(suggested)
