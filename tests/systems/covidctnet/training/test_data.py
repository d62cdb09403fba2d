from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.splits import Splits
from covidctnet.cohort.store import Store
from covidctnet.errors import CohortError, UsageError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.networks import BCDUNet
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.systems.covidctnet.training import data as training_data
from covidctnet.systems.covidctnet.training.data import ResidualData, SliceData
from covidctnet.systems.covidctnet.training.tasks import ClassifierTask
from covidctnet.training.work import WorkFolder, is_synthetic
from covidctnet.volume import SYNTHETIC_NOTE
from covidctnet.weights import save_weights
from tests.little_work import SHAPE, put_study
from tests.small import DEPTH, flat_card, put_card, tiny_weights


@pytest.fixture
def denoised(little_work):
    """A work folder with a denoiser that has learned nothing."""
    torch.manual_seed(0)
    network = BCDUNet(base=2, depth=1)
    card = {
        "architecture": {
            "denoiser": {"base": 2, "depth": 1, "bidirectional": True, "gates": "sigmoid"}
        },
        "preprocessing": vars(PreprocessSettings(size=40)),
        "synthetic_only": True,
    }
    save_weights(little_work / "weights", {"denoiser": network}, card=card)
    return little_work


def residuals(work, **options):
    data = ResidualData(work, depth=DEPTH, device="cpu", **options)
    data.prepare_data()
    data.setup("fit")
    return data


def order(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader.sampler)


def test_the_denoiser_sees_its_own_patients_only(little_work):
    splits = Splits.load(little_work / "splits.json")
    data = SliceData(little_work, validation_slices=6)
    data.setup("fit")
    seen = {
        split: {part.study.id for part in getattr(data, split).datasets}
        for split in ("train", "val")
    }
    assert seen["train"] == set(splits.studies("denoiser_train"))
    assert seen["val"] == set(splits.studies("denoiser_val"))
    for member in splits.members:
        if member.study in seen["train"] | seen["val"]:
            assert member.label is CHEST_CT.CONTROL
            assert member.split not in {"train", "val", "test"}


def test_the_classifier_sees_none_of_the_denoisers_patients_and_none_held_back(denoised):
    splits = Splits.load(denoised / "splits.json")
    data = residuals(denoised)
    seen = {s.id for split in data.splits.values() for s in split.studies}
    assert seen == {*splits.studies("train"), *splits.studies("val")}
    home = {m.patient: m.split for m in splits.members}
    assert {home[s.patient] for split in data.splits.values() for s in split.studies} == {
        "train",
        "val",
    }


def test_training_reads_every_slice_and_validation_evenly_spaced_ones(little_work):
    data = SliceData(little_work, validation_slices=6)
    data.setup("fit")
    assert len(data.train) == SHAPE[0] * len(data.train.datasets)
    assert len(data.val) == 6 * len(data.val.datasets)
    assert data.val.datasets[0].indices.tolist() == [0, 4, 8, 11, 15, 19]


def test_slices_come_with_the_lungs_of_the_same_slice(little_work):
    data = SliceData(little_work, batch_size=4)
    data.setup("fit")
    clean, lungs = next(iter(data.val_dataloader()))
    assert clean.shape == lungs.shape == (4, 1, *SHAPE[1:])
    assert clean.dtype == lungs.dtype == torch.float32
    study = data.val.datasets[0].study
    wanted = data.val.datasets[0].indices[:4]
    assert np.array_equal(clean[:, 0], study.volume().array[wanted])
    assert np.array_equal(lungs[:, 0], study.lungs[wanted])


def test_every_epoch_is_shuffled_afresh_and_the_same_epoch_alike(little_work):
    data = SliceData(little_work)
    data.setup("fit")
    loader = data.train_dataloader()
    first = order(loader, 0)
    assert sorted(first) == list(range(len(data.train)))
    assert first != order(loader, 1)
    assert first == order(loader, 0)
    other = SliceData(little_work, seed=1)
    other.setup("fit")
    assert first != order(other.train_dataloader(), 0)


def test_residuals_carry_the_label_of_their_study(denoised):
    data = residuals(denoised, batch_size=2)
    residual, label = next(iter(data.val_dataloader()))
    assert residual.shape == (2, 1, DEPTH, *SHAPE[1:])
    assert (residual.dtype, label.dtype) == (torch.float32, torch.int64)
    truth = {m.study: int(m.label) for m in Splits.load(denoised / "splits.json").members}
    assert label.tolist() == [truth[s.id] for s in data.splits["val"].studies[:2]]


def test_residuals_are_made_once(denoised, monkeypatch):
    first = residuals(denoised)

    def never(*_, **__):
        raise AssertionError("a residual was made again")

    monkeypatch.setattr(training_data, "residual_volume", never)
    again = residuals(denoised)
    assert len(again.splits["train"]) == len(first.splits["train"])


def test_another_depth_has_residuals_of_its_own(denoised):
    made = {ResidualData(denoised, depth=depth).store.folder for depth in (34, 50)}
    assert len(made) == 2


def test_a_study_that_went_missing_is_told(little_work):
    (study, *_) = Splits.load(little_work / "splits.json").studies("denoiser_train")
    (little_work / "preprocessed" / f"{study}.json").unlink()
    with pytest.raises(UsageError, match=f"1 of .* {study}.*Run preprocess again"):
        SliceData(little_work).setup("fit")


def test_a_folder_that_was_never_preprocessed_is_told(tmp_path):
    with pytest.raises(UsageError, match="run preprocess first"):
        WorkFolder(tmp_path).studies("train")


def test_studies_preprocessed_in_two_ways_are_refused_before_training(little_work):
    splits = Splits.load(little_work / "splits.json")
    chosen = splits.studies("denoiser_train")[0]
    (member,) = (m for m in splits.members if m.study == chosen)
    store = Store(little_work / "preprocessed")
    put_study(store, member.patient, member.label, size=48)
    with pytest.raises(CohortError, match="preprocessed in 2 different ways"):
        SliceData(little_work).setup("fit")


def test_a_denoiser_of_other_preprocessing_is_refused_before_residuals_are_made(denoised):
    splits = Splits.load(denoised / "splits.json")
    for member in splits.members:
        put_study(Store(denoised / "preprocessed"), member.patient, member.label, size=48)
    with pytest.raises(CohortError, match="trained with other preprocessing"):
        residuals(denoised)
    assert not (denoised / "residuals").exists()


def test_no_more_loader_processes_than_cores(little_work, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    data = SliceData(Path(little_work), workers=64)
    data.setup("fit")
    assert data.train_dataloader().num_workers == 1


@pytest.fixture
def mixed_work(little_work):
    """Phantoms, and one real patient among the denoiser's Controls."""
    splits = Splits.load(little_work / "splits.json")
    store = Store(little_work / "preprocessed")
    study = splits.studies("denoiser_train")[0]
    record = little_work / "preprocessed" / f"{study}.json"
    record.write_text(record.read_text().replace(SYNTHETIC_NOTE, "a scanner's note"))
    assert [s.id for s in store.index() if not is_synthetic(s)] == [study]
    return little_work, study


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_real_patients_give_their_share_of_the_slices(mixed_work, share):
    work, study = mixed_work
    data = SliceData(work, real_share=share)
    data.setup("fit")
    bounds = np.cumsum([0] + [len(part) for part in data.train.datasets])
    where = [part.study.id for part in data.train.datasets].index(study)
    loader, drawn = data.train_dataloader(), []
    for epoch in range(30):
        drawn += order(loader, epoch)
    real = np.mean([bounds[where] <= i < bounds[where + 1] for i in drawn])
    assert real == pytest.approx(share, abs=0.06)
    assert order(loader, 3) == order(loader, 3) != order(loader, 4)


def test_a_cohort_of_one_kind_has_no_share_to_keep(little_work):
    data = SliceData(little_work, real_share=0.5)
    data.setup("fit")
    loader = data.train_dataloader()
    assert sorted(order(loader, 0)) == list(range(len(data.train)))


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_that_cannot_be_is_refused(little_work, share):
    with pytest.raises(UsageError, match="real_share must lie between 0 and 1"):
        SliceData(little_work, real_share=share)


def test_slices_without_lungs_can_be_left_out(little_work):
    every, some = SliceData(little_work), SliceData(little_work, lungs_only=True)
    for data in (every, some):
        data.setup("fit")
    assert all((lungs > 0).any() for _, lungs in some.train)
    assert len(some.train) == len(every.train) * (SHAPE[0] - 4) // SHAPE[0]


def test_residuals_of_every_kind_lie_apart_and_differ(denoised):
    kinds = [{}, {"signed": False}, {"depth_resize": "antialiased"}]
    made = [residuals(denoised, **kind) for kind in kinds]
    assert len({data.store.folder for data in made}) == 3
    first, absolute, blurred = (data.splits["train"][0][0] for data in made)
    assert absolute.min() >= 0
    assert first.min() < 0
    assert not torch.equal(first, blurred)


INPUTS = ("residual", "ct", "both")


@pytest.fixture
def classified(denoised, tmp_path):
    """How to make a model that eats what a data module gives, untrained."""

    def model(data):
        torch.manual_seed(0)
        base = data.weights
        task = ClassifierTask(base=1, depth=DEPTH, size=data.size, channels=data.channels)
        architecture = {**base.card["architecture"], "classifier": task.architecture}
        card = {
            **base.card,
            "architecture": architecture,
            "residual": data.settings.deciding(),
        }
        folder = tmp_path / "classified"
        save_weights(folder, {"denoiser": base.denoiser(), "classifier": task.network}, card=card)
        return CovidCTNet.load(folder, device="cpu", precision="32")

    return model


@pytest.mark.parametrize("way", ["linear", "antialiased"])
@pytest.mark.parametrize("which", INPUTS)
def test_training_and_inference_give_the_classifier_the_same(
    denoised, classified, monkeypatch, which, way
):
    # Boxes of noise are no chest, which is beside the point.
    monkeypatch.setattr("covidctnet.systems.covidctnet.predictor.check_chest", lambda *_, **__: ())
    data = residuals(denoised, classifier_input=which, depth_resize=way)
    model = classified(data)
    seen = []
    model.classifier.features.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    for split in data.splits.values():
        study = split.studies[0]
        model(study.volume())
        # The store keeps 14000 steps for the window; half of one is lost.
        torch.testing.assert_close(split[0][0], seen.pop(), atol=0.51 / 14000, rtol=0)
        assert split[0][0].shape == (data.channels, DEPTH, *SHAPE[1:])


def test_both_holds_what_each_holds_alone(denoised):
    residual, ct, both = (
        residuals(denoised, classifier_input=which).splits["train"][0][0] for which in INPUTS
    )
    assert torch.equal(both, torch.cat([residual, ct]))
    assert ct.min() >= 0
    assert not torch.equal(residual, ct)


def test_a_classifier_of_cts_denoises_nothing(denoised, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a denoiser was expected")

    monkeypatch.setattr(training_data, "residual_volume", never)
    monkeypatch.setattr("covidctnet.systems.covidctnet.weights.CovidWeights.denoiser", never)
    data = residuals(denoised, classifier_input="ct")
    assert not data.store.folder.exists()
    assert {study.units for study in data.ct_store.index()} == {"unit"}
    # The same CTs serve whatever denoiser, sign and precision.
    other = ResidualData(denoised, depth=DEPTH, signed=False, precision="bf16")
    assert other.ct_store == data.ct_store


def test_residuals_of_eight_bits_lie_apart_and_are_nearly_the_same(denoised):
    exact, rounded = (residuals(denoised, precision=precision) for precision in ("32", "bf16"))
    assert rounded.store.folder.name == f"{exact.store.folder.name}-bf16"
    first, second = (data.splits["train"][0][0] for data in (exact, rounded))
    assert 0 < (first - second).abs().max() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "16"}, "precision must be 32 or bf16, got '16'"),
        ({"classifier_input": "lungs"}, "classifier_input must be residual, ct or both"),
    ],
)
def test_an_unknown_input_or_precision_is_refused(denoised, options, message):
    with pytest.raises(UsageError, match=message):
        ResidualData(denoised, **options)


def test_a_classifier_is_not_taught_by_what_its_denoiser_started_from(little_work):
    folder = tiny_weights(little_work / "weights")
    card = flat_card(folder)
    card["preprocessing"] |= {"spacing_mm": 1.0}
    study = ResidualData(little_work, depth=DEPTH, device="cpu").work.studies("train")[0]
    told = {"data": {"seen": f"ab {study.source.mark} cd"}}
    # Lungs may be learned from any patient, whatever else has seen them.
    card["training"] = {"start: denoiser": told, "start: start: lungs": told}
    put_card(folder, card)
    with pytest.raises(CohortError, match=f"{study.id} for one"):
        ResidualData(little_work, depth=DEPTH, device="cpu").prepare_data()
    card["training"] = {"start: lungs": told}
    put_card(folder, card)
    ResidualData(little_work, depth=DEPTH, device="cpu").prepare_data()


@pytest.mark.parametrize(("count", "processes"), [(3, 2), (7, 3), (8, 4), (2, 3)])
def test_every_validation_case_counts_once_whatever_the_processes(monkeypatch, count, processes):
    cases = TensorDataset(torch.arange(count))
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(training_data, "processes_of_run", lambda rank=rank: (processes, rank))
        found = training_data.loader(cases, 1, 0)
        shares.append([int(batch[0]) for batch in found])
        assert len(found) == len(shares[-1])
    if count < processes:  # nobody is left without a figure
        assert all(share == list(range(count)) for share in shares)
    else:
        assert sorted(case for share in shares for case in share) == list(range(count))


def test_one_process_validates_in_order():
    cases = TensorDataset(torch.arange(5))
    assert [int(batch[0]) for batch in training_data.loader(cases, 1, 0)] == list(range(5))
