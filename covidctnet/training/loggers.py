"""Loggers of a training besides the files of its work folder: Weights & Biases, MLflow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import loggers

from covidctnet.surroundings import expect_packages

__all__ = ["LoggerName", "check_logger", "more_loggers"]

LoggerName = Literal["files", "wandb", "mlflow"]
PROJECT = "covidctnet"


def check_logger(name: LoggerName) -> None:
    """Say that a package is missing before anything is read.

    Raises:
        UsageError: If what `name` needs is not installed.
    """
    if name != "files":
        expect_packages([name], extra=name, purpose=f"--logger {name}")


def more_loggers(name: LoggerName, folder: Path, run: str) -> list[Any]:
    """Loggers besides those that write CSV and TensorBoard files.

    Nothing leaves this machine unless the environment says so: W&B writes into the folder, as with
    ``WANDB_MODE=offline``, unless that variable says ``online``; MLflow writes a SQLite file into
    the folder (its plain files are no longer supported) unless ``MLFLOW_TRACKING_URI`` names a
    server.

    Args:
        name: Of the flag.
        folder: Of the stage in the work folder.
        run: Name of the run, the same as that of the CSV files.
    """
    if name == "wandb":
        (target := folder / "wandb").mkdir(parents=True, exist_ok=True)
        is_offline = os.environ.get("WANDB_MODE", "offline") != "online"
        title = f"{folder.name} {run}"
        return [
            loggers.WandbLogger(
                project=PROJECT, name=title, save_dir=str(target), offline=is_offline
            )
        ]
    if name == "mlflow":
        server = os.environ.get("MLFLOW_TRACKING_URI")
        target = (folder / "mlflow").absolute()
        if not server:
            target.mkdir(parents=True, exist_ok=True)
        return [
            loggers.MLFlowLogger(
                experiment_name=PROJECT,
                run_name=f"{folder.name} {run}",
                tracking_uri=server or f"sqlite:///{target.as_posix()}/mlflow.db",
                artifact_location=None if server else (target / "artifacts").as_uri(),
            )
        ]
    return []
