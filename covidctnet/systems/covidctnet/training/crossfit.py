"""Networks for scans that they have never seen: a denoiser and a classifier for every fold.

The Controls of a work folder are divided by site into folds. For every fold a denoiser and a lung
network learn from the Controls of the other folds; examples drawn from a Control are then looked at
by the networks of its own fold, which never saw it; and the classifier of a fold learns from the
examples of the other folds. So every Control is answered by networks that it did not teach. One
more set of networks, ``all``, learns from everybody: the one to use.

What the examples of one fold look like depends on denoisers that have seen the Controls of others,
as always in cross-fitting: networks that answer a Control have not seen it, but the denoisers that
made their classifier's examples have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.members import EXTERNAL, Member
from covidctnet.cohort.splits import Splits
from covidctnet.cohort.store import Store, StoredStudy
from covidctnet.devices import pick_device
from covidctnet.errors import CohortError, UsageError
from covidctnet.files import claim_folder, make_folder
from covidctnet.registry import find_system
from covidctnet.slicewise.operating import OperatingPoints
from covidctnet.systems.covidctnet.lesion_volume import inner_lungs, lesion_threshold
from covidctnet.systems.covidctnet.segment import complete_lungs
from covidctnet.systems.covidctnet.training.bank import (
    Bank,
    BankedExample,
    ExampleJob,
    InputMaker,
    fill_bank,
    write_list,
)
from covidctnet.systems.covidctnet.training.calibrate import add_calibration, fit_over_scans
from covidctnet.systems.covidctnet.training.folds import (
    ALL,
    NO_PATIENT,
    CrossFitSettings,
    fold_splits,
)
from covidctnet.systems.covidctnet.weights import load_weights, save_weights
from covidctnet.training.operating import points_of_patients
from covidctnet.trust.appearance import describe_appearance
from covidctnet.trust.calibration import Calibration, soften
from covidctnet.volume import PAINTED_NOTE, SYNTHETIC_NOTE
from covidctnet.weights.shipped import presets_root
from covidctnet.weights.thresholds import OPERATING_POINTS

_LOG = logging.getLogger(__name__)


class CrossFit:
    """A work folder with networks for every fold.

    Args:
        work: Folder that `covidctnet preprocess` filled; receives ``folds/`` and ``examples/``.
        settings: How.
    """

    def __init__(self, work: Path, settings: CrossFitSettings) -> None:
        self.work = Path(work)
        self.settings = settings
        self.store = Store(self.work / "preprocessed")
        self.bank = Bank(
            self.work / "examples",
            settings.drawing,
            settings.residual,
            settings.seed,
            settings.precision,
        )
        self.studies = {study.id: study for study in self.store.index()}
        # Whom the cohort file holds back teaches nothing, and no site of theirs counts.
        self.kept_out = frozenset(
            m.study
            for m in Splits.load(self.work / "splits.json").members
            if m.is_requested and m.split in ("test", EXTERNAL)
        )
        self.root = self.work / "cross-fit"
        self.splits = self._divide()
        self._folds = {
            study: name
            for name, splits in self.splits.items()
            for study, split in splits.assignment.items()
            if name != ALL and split == "test" and self._is_host(study)
        }

    def folder(self, fold: str) -> Path:
        """The work folder of a fold."""
        return self.root / fold

    def fold_of(self, study: str) -> str:
        """The fold whose networks have not seen a study; ``all`` for those that none has seen."""
        return self._folds.get(study, ALL)

    @property
    def hosts(self) -> frozenset[str]:
        """Ids of the real Controls that teach, each in all folds but its own."""
        return frozenset(study for study in self.studies if self._is_host(study))

    def networks(self, fold: str) -> Path:
        """Folder of a fold's denoiser and lung network."""
        return self.folder(fold) / "networks"

    def train_networks(self, preset: str, more: Sequence[str] = ()) -> None:
        """Train the denoiser and the lung network of every fold; finished ones stay.

        Args:
            preset: Folder of settings, such as ``compact``.
            more: Further flags of training, such as ``--device cuda``.
        """
        from covidctnet.training.run import train

        # Asked of the registry: stages import this module.
        system = find_system("covidctnet")

        self._claim(preset)
        for fold in self.splits:
            if (self.networks(fold) / "card.json").is_file():
                continue
            _LOG.info("fold %s: denoiser", fold)
            train(
                system.stage("denoiser"),
                self._arguments(fold, preset, "train-denoiser", more),
                program=_PROGRAM,
            )
            _LOG.info("fold %s: lungs", fold)
            train(
                system.stage("lungs"),
                self._arguments(fold, preset, "train-lungs", more),
                program=_PROGRAM,
            )
            self._join(fold)

    def jobs(self) -> list[ExampleJob]:
        """Every example to draw, in the order in which classes and scans take turns."""
        jobs = []
        for study in sorted(self.studies.values(), key=lambda s: s.id):
            networks = self.networks(self.fold_of(study.id))
            if self._is_host(study.id):
                labels, count = tuple(CHEST_CT), self.settings.examples
            elif SYNTHETIC_NOTE in study.notes and self._teaches(study.id):
                assert study.label is not None
                labels, count = (study.label,), self.settings.copies
            else:
                continue
            jobs += [
                ExampleJob(study.id, label, number, networks)
                for number in range(count)
                for label in labels
            ]
        return sorted(jobs, key=lambda job: job.number)

    def draw_examples(
        self,
        *,
        workers: int = 1,
        device: str = "cpu",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Draw the examples that are missing, and list those of every fold.

        Args:
            workers: Processes, each on one core.
            device: Where the networks run that look at them.
            progress: Called with (done, total).
        """
        jobs = self.jobs()
        for done in fill_bank(self.bank, self.store, jobs, workers=workers, device=device):
            if progress:
                progress(done, len(jobs))
        drawn = [(job, example) for job in jobs if (example := self.bank.read(job))]
        for fold in self.splits:
            teaching: dict[str, list[BankedExample]] = {"train": [], "val": []}
            for job, example in drawn:
                if fold != ALL and self.fold_of(job.study) == fold:
                    continue
                # Evenly over the numbers: every scan and class gives its share.
                share = self.settings.validation
                is_val = int((job.number + 1) * share) > int(job.number * share)
                teaching["val" if is_val else "train"].append(example)
            write_list(self.folder(fold) / "examples.json", self.bank, teaching)

    def train_classifiers(self, preset: str, more: Sequence[str] = ()) -> None:
        """Train the classifier of every fold; finished ones stay.

        Args:
            preset: Folder of settings, such as ``compact``.
            more: Further flags of training.
        """
        from covidctnet.training.run import train

        # Asked of the registry: stages import this module.
        system = find_system("covidctnet")

        self._claim(preset)
        for fold in self.splits:
            if self._has_classifier(fold):
                continue
            _LOG.info("fold %s: classifier", fold)
            residual = self.settings.residual
            flags = [
                "--data.denoiser",
                str(self.networks(fold)),
                "--data.examples",
                str(self.folder(fold) / "examples.json"),
                f"--data.depth={residual.depth}",
                f"--data.shrink={residual.shrink}",
                f"--data.within={residual.within}",
                f"--data.depth_resize={residual.depth_resize}",
                f"--data.signed={str(residual.signed).lower()}",
                f"--data.classifier_input={residual.classifier_input}",
                f"--data.precision={self.settings.precision}",
            ]
            arguments = self._arguments(fold, preset, "train-classifier", [*flags, *more])
            train(system.stage("classifier"), arguments, program=_PROGRAM)

    def calibrate(self, *, device: str = "cpu") -> None:
        """Fit what is fitted once the classifiers are there, on scans that taught them nothing.

        Temperature, prediction sets and the limit of the out-of-distribution score of a fold come
        from examples of the other folds' Controls, each answered by the networks of its own fold;
        those of ``all`` from all Controls. The lesion threshold likewise, from the Controls as they
        are. Examples of one Control count together as one patient.

        The networks of other folds that answer these examples have learned from the Controls of the
        fold that is calibrated; its own networks have not.

        The operating points of the probability of Covid-19 are chosen on the same examples, each of
        which counts as one scan, and are written into the card.

        Args:
            device: Where the networks run.
        """
        answered = [
            (job, example)
            for job in self.jobs()
            if self._is_host(job.study) and (example := self.bank.read(job))
        ]
        probabilities = self._answer(answered, pick_device(device))
        residuals, plain = self._plain_controls(pick_device(device))
        for fold in self.splits:
            kept = [i for i, (job, _) in enumerate(answered) if self.fold_of(job.study) != fold]
            truth = np.array([int(answered[i][0].label) for i in kept])
            looks = np.array([answered[i][1].appearance for i in kept])
            scans = np.array([answered[i][0].study for i in kept])
            values = [v for study, v in residuals.items() if self.fold_of(study) != fold]
            calibration = Calibration.fit(truth, probabilities[kept], scans=scans)
            detector, limit = fit_over_scans(looks, truth, scans, plain)
            entries: dict[str, Mapping[str, Any]] = {
                "calibration": {**calibration.to_card(), "examples": len(kept)},
                "lesion_volume": {"threshold": lesion_threshold(values), "patients": len(values)},
            }
            names = [answered[i][0].name for i in kept]
            scores = soften(probabilities[kept], calibration.temperature)
            if points := _operating_points(names, truth, scores):
                entries[OPERATING_POINTS] = points.to_card()
            folder = self.folder(fold) / "weights"
            add_calibration(load_weights(folder), folder, entries, detector, limit)

    def _answer(
        self, answered: Sequence[tuple[ExampleJob, BankedExample]], device: torch.device
    ) -> np.ndarray:
        """Probabilities of examples, each by the classifier of its scan's fold, (n, label)."""
        out = np.full((len(answered), len(CHEST_CT)), np.nan)
        for fold in self.splits:
            own = [i for i, (job, _) in enumerate(answered) if self.fold_of(job.study) == fold]
            if not own:
                continue
            classifier = load_weights(self.folder(fold) / "weights").classifier().to(device)
            with torch.inference_mode():
                for i in own:
                    logits = classifier(answered[i][1].load()[None].to(device)).cpu()
                    out[i] = torch.softmax(logits[0].double(), dim=0).numpy()
        return out

    def _plain_controls(
        self, device: torch.device
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Every Control as it is, by the networks of its fold, which have not seen it.

        Returns:
            Residuals within the lungs, and what the scans look like, by study.
        """
        residuals, looks = {}, {}
        for fold in self.splits:
            own = [s for s in self.studies.values() if self._is_host(s.id)]
            own = [s for s in own if self.fold_of(s.id) == fold]
            if not own:
                continue
            maker = InputMaker(
                load_weights(self.networks(fold)),
                self.settings.residual,
                device=device,
                precision=self.settings.precision,
            )
            for study in own:
                volume = study.volume()
                lungs = np.array(study.lungs, dtype=bool)
                if maker.segmenter is not None:
                    lungs = complete_lungs(study, maker.segmenter)
                looks[study.id] = describe_appearance(volume, lungs)
                needed = self.settings.residual.plan(study.shape[0]).needed
                unit = volume.then("slices that the classifier reads", volume.array[needed])
                made = maker.residual_of(unit, lungs[needed])
                inner = inner_lungs(lungs[needed], unit.spacing)
                residuals[study.id] = made.volume.array[inner]
        return residuals, looks

    def _arguments(self, fold: str, preset: str, stage: str, more: Sequence[str]) -> list[str]:
        config = presets_root() / preset / f"{stage}.yaml"
        work = str(self.folder(fold))
        start = ["--config", str(config), "--data.work", work, "--ckpt_path", "last"]
        return [*start, *more]

    def _claim(self, preset: str) -> None:
        """Write who teaches what, in a folder of these very settings.

        Raises:
            UsageError: If the folder was cross-fitted with other settings, or the preset lacks one
                of the stages.
        """
        files = [presets_root() / preset / f"{stage}.yaml" for stage in _STAGES]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise UsageError(f"the preset {preset!r} has no {', '.join(missing)}")
        painted = yaml.safe_load(files[1].read_text(encoding="utf-8")).get("data", {})
        if not painted.get("painted"):
            raise UsageError(
                f"expected a preset whose train-lungs.yaml sets data.painted, {preset!r} does not: "
                "the lungs would not learn consolidation. Use compact or wide."
            )
        settings = asdict(self.settings)
        claim = {
            # Folders from before the depth was a setting of the residual have it here.
            "settings": {**settings, "depth": settings["residual"].pop("depth")},
            "networks": [file.read_text(encoding="utf-8") for file in files],
        }
        claim_folder(self.root, "cross-fit.json", claim, what="cross-fitted work folder")
        for name, splits in self.splits.items():
            folder = self.folder(name)
            make_folder(folder)
            link = folder / "preprocessed"
            if not link.is_symlink():
                link.symlink_to(Path("../../preprocessed"), target_is_directory=True)
            splits.save(folder / "splits.json")

    def _join(self, fold: str) -> None:
        """The denoiser and the lung network of a fold as one set of weights."""
        denoiser = load_weights(self.folder(fold) / "weights")
        lungs = load_weights(self.folder(fold) / "lungs" / "weights")
        card = {
            **denoiser.card,
            "architecture": {
                "denoiser": denoiser.card["architecture"]["denoiser"],
                "lungs": lungs.card["architecture"]["lungs"],
            },
            "segmentation": lungs.card["segmentation"],
            "training": {**denoiser.card["training"], **lungs.card["training"]},
            "metrics": {**denoiser.card["metrics"], **lungs.card["metrics"]},
        }
        networks = {"denoiser": denoiser.denoiser(), "lungs": lungs.lungs()}
        save_weights(self.networks(fold), networks, card=card)

    def _has_classifier(self, fold: str) -> bool:
        folder = self.folder(fold) / "weights"
        return (folder / "card.json").is_file() and "classifier" in load_weights(folder).card[
            "architecture"
        ]

    def _is_host(self, study: str) -> bool:
        held = self.studies[study]
        if study in self.kept_out:
            return False
        return held.label is CHEST_CT.CONTROL and not NO_PATIENT & set(held.notes)

    def _teaches(self, study: str) -> bool:
        return self.splits[ALL].assignment[study] == "train"

    def _divide(self) -> dict[str, Splits]:
        members = [_member(study) for study in self.studies.values()]
        if not members:
            raise UsageError(
                f"the work folder {self.work.name!r} has no studies; run covidctnet preprocess "
                "first"
            )
        if painted := [s.id for s in self.studies.values() if PAINTED_NOTE in s.notes]:
            raise CohortError(
                f"expected scans as they are, {len(painted)} have lesions painted in (study "
                f"{painted[0]} for one). Cross-fitting draws its own; preprocess without them."
            )
        synthetic = frozenset(s.id for s in self.studies.values() if SYNTHETIC_NOTE in s.notes)
        files = sorted(self.root.glob("*/splits.json"))
        earlier = {file.parent.name: Splits.load(file) for file in files}
        return fold_splits(
            members, synthetic, self.settings, kept_out=self.kept_out, earlier=earlier
        )


_PROGRAM = "covidctnet cross-fit"
_STAGES = ("train-denoiser", "train-lungs", "train-classifier")


# What operating points are chosen on here: no patients.
_EXAMPLES = "examples drawn from Controls, by networks that had not seen them"


def _operating_points(
    names: Sequence[str], truth: np.ndarray, probabilities: np.ndarray
) -> OperatingPoints | None:
    """Thresholds of the probability of Covid-19; an example is as one scan.

    The mean over all examples of a Control would vary less than the answer to one scan does.

    Args:
        names: Of the examples, each its own.
        truth: `Label` values, shape (n,).
        probabilities: As they are answered, shape (n, label).
    """
    target = int(CHEST_CT.target)
    points, _ = points_of_patients(names, truth.tolist(), probabilities[:, target], target)
    return replace(points, chosen_on=_EXAMPLES) if points else None


def _member(study: StoredStudy) -> Member:
    if study.label is None or not study.patient:
        raise CohortError(
            f"study {study.id} is stored without label or patient. Run preprocess again."
        )
    return Member(
        study.id,
        study.patient,
        study.label,
        site=study.site,
        content=study.source.digest,
        host=study.source.host,
    )
