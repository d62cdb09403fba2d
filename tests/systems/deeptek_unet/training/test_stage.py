import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import covidctnet
from covidctnet.cli import main
from covidctnet.errors import CohortError, StudyError, UsageError, WeightsError
from covidctnet.evaluation.localise import localise
from covidctnet.evidence import Mask
from covidctnet.run.evaluate import evaluate_data
from covidctnet.slicewise.aggregate import RunRule, ScanScores, longest_run
from covidctnet.systems.deeptek_unet.rule import SliceRule
from covidctnet.systems.deeptek_unet.settings import MaskSettings, run_score, square
from covidctnet.systems.deeptek_unet.training.data import MaskData
from covidctnet.systems.deeptek_unet.training.task import MaskTask
from covidctnet.volume import Volume
from covidctnet.weights import load_weights, save_weights
from tests.picture_set import write_pictures
from tests.training.test_scans import archive

SMALL = [
    "--model.encoder=efficientnet_lite0",
    "--data.size=32",
    "--data.batch_size=4",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--device=cpu",
]


def train(work, *more):
    arguments = ["train", "deeptek_unet", "segmenter", "--work", str(work), *SMALL, *more]
    return main(arguments)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures") / "set", masks=True)


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    work = tmp_path_factory.mktemp("trained")
    assert train(work, f"--data.images={pictures}", "--model.augment=true") == 0
    return work / "weights"


def test_two_steps_write_weights_with_the_rule_and_the_pictures(trained):
    card = load_weights(trained).card
    settings = MaskSettings.from_card(card["settings"])
    assert settings.size == 32 and settings.run == RunRule(slices=15)
    assert settings.rule.probability == 0.5
    expected = {"encoder": "efficientnet_lite0", "upsample": "nearest", "kinds": 1}
    assert card["architecture"] == {"segmenter": expected}
    told = card["training"]["segmenter"]["data"]
    assert told["pictures"] == 16 and told["patients"] == 8
    figures, fitted = card["metrics"]["segmenter"], card["metrics"]["slice rule"]
    assert 0 <= fitted["val_dice_pooled"] <= 1 and figures["val_loss"] > 0
    assert fitted["val_dice_mean"] == pytest.approx(figures["val_dice"], abs=1e-5)


def chest(count=20):
    """Two lungs in a body, HU."""
    array = np.full((count, 96, 96), -1000, np.int16)
    array[:, 10:86, 6:90] = 40
    array[1:-1, 20:76, 14:42] = array[1:-1, 20:76, 54:82] = -850
    return Volume.from_array(array, spacing=(10.0, 3.5, 3.5))


def test_a_scan_is_answered_twice_alike_and_its_masks_lie_on_its_grid(trained):
    model = covidctnet.load(trained, device="cpu", precision="32")
    volume = chest()
    prepared = model.prepare(volume)
    one, two = model(prepared), model(prepared)
    assert one.probabilities == two.probabilities
    assert any("longest run of positive slices" in note for note in one.notes)
    masks = model.masks(prepared)
    assert masks.shape == volume.shape and set(np.unique(masks)) <= {0, 1}


class Always(torch.nn.Module):
    """Finds lesion in the first so many slices that it sees, whole slices each."""

    def __init__(self, count):
        super().__init__()
        self.left = count

    def forward(self, pictures):
        out = torch.full((len(pictures), 1, *pictures.shape[2:]), -9.0)
        found = min(self.left, len(pictures))
        out[:found] = 9.0
        self.left -= found
        return out


@pytest.mark.parametrize(("count", "positive"), [(0, False), (14, False), (15, True), (18, True)])
def test_a_run_of_15_slices_is_positive_and_14_are_not(count, positive, trained):
    model = covidctnet.load(trained, device="cpu", precision="32")
    prepared = model.prepare(chest())
    model.network = Always(count)
    answer = model(prepared)
    assert (answer.label.title == "Covid-19") == positive


def test_a_mask_of_the_whole_scan_has_every_slice_in_its_place(trained):
    model = covidctnet.load(trained, device="cpu", precision="32")
    volume = chest()
    prepared = model.prepare(volume)
    model.network = Always(15)
    mask = model(prepared, keep="volumes").find(Mask)
    lesions = np.zeros(volume.shape, bool)
    lesions[prepared.first : prepared.first + 15] = True
    assert prepared.first > 0 and mask.slices == tuple(range(20))
    assert np.array_equal(mask.found, lesions)
    assert localise(mask, lesions).dice == 1
    seen = mask.searched.all(axis=(1, 2))
    assert not seen[0] and seen.sum() == len(prepared.pictures)


def test_a_scan_of_fewer_slices_than_the_run_is_refused(trained):
    model = covidctnet.load(trained, device="cpu", precision="32")
    with pytest.raises(StudyError, match="TOO_FEW_SLICES"):
        model(model.prepare(chest(14)))


def test_the_score_of_a_scan_passes_one_half_where_the_rule_does():
    for rule in (RunRule(slices=15), RunRule(mm=15), RunRule(mm=22.5), RunRule(slices=1)):
        last = -1.0
        for count in range(31):
            positive = np.arange(40) < count
            scan = ScanScores(tuple(1.5 * np.arange(40)), tuple(positive.astype(float)))
            score = run_score(longest_run(scan, 0.5), rule)
            assert (score > 0.5) == rule(scan, 0.5)
            assert score > last or count == 0
            last = score


PLAN = """
stages:
  - {name: first, images: first, epochs: 1}
  - {name: second, images: second, epochs: 1, learning_rate: 0.001}
shares: {validation: 0.4, test: 0.1, seed: 2}
"""


def test_the_second_stage_starts_from_the_first_and_keeps_whom_it_saw(tmp_path):
    write_pictures(tmp_path / "first", masks=True)
    write_pictures(tmp_path / "second", masks=True, size=(44, 44))
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    work = tmp_path / "work"
    flags = [f"--data.plan={plan}", "--data.batch_size=4"]
    assert train(work, *flags, "--data.stage=first") == 0
    assert train(work, *flags, "--data.stage=second") == 0
    first, second = (load_weights(work / name / "weights") for name in ("first", "second"))
    seen = first.card["training"]["segmenter"]["data"]["seen"]
    assert second.card["training"]["start: segmenter"]["data"]["seen"] == seen
    assert second.digest != first.digest


def test_the_second_stage_without_the_first_is_refused(tmp_path, capsys):
    write_pictures(tmp_path / "second", masks=True)
    write_pictures(tmp_path / "first", masks=True)
    (tmp_path / "plan.yaml").write_text(PLAN)
    flags = [f"--data.plan={tmp_path / 'plan.yaml'}", "--data.stage=second"]
    assert train(tmp_path / "work", *flags) == 2
    assert "no weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "expected either --data.images, --data.scans or --data.plan"),
        (["--data.images=a", "--data.scans=b"], "expected either --data.images, --data.scans"),
        (["--data.scans=a", "--data.outlines=b"], "which are for pictures"),
        (["--data.scans=nowhere"], "expected the folder of a labelled archive"),
        (["--data.images=a", "--data.kinds=0"], "expected one kind of lesion or more"),
        (["--data.images=nowhere"], "expected a folder of pictures"),
        (["--data.plan=nowhere.yaml"], "expected --data.stage with --data.plan"),
        (["--data.plan=nowhere.yaml", "--data.stage=a"], "cannot be read"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(flags, said, tmp_path, capsys):
    assert train(tmp_path / "work", *flags) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told


def test_pictures_without_a_lesion_to_choose_by_are_refused(tmp_path, capsys):
    folder = write_pictures(tmp_path / "set")
    assert train(tmp_path / "work", f"--data.images={folder}") == 2
    assert "expected a validation slice with a lesion" in capsys.readouterr().err


def test_a_card_with_impossible_settings_is_refused(trained, tmp_path):
    weights = load_weights(trained)
    networks = {"segmenter": weights.network("segmenter")}
    good = weights.card["settings"]
    for bad in (
        {},
        {**good, "size": 3},
        {**good, "rule": {"probability": 2, "pixels": 3}},
        {**good, "run": {"slices": 15, "mm": 15}},
        {**good, "colour": 1},
    ):
        with pytest.raises(WeightsError, match="impossible settings"):
            save_weights(tmp_path / "w", networks, card={**weights.card, "settings": bad})


def test_three_classes_are_two_kinds_with_a_mask_each():
    task = MaskTask("efficientnet_lite0", kinds=2)
    masks = task._kinds_of(torch.tensor([[[0, 1], [2, 1]]]))
    assert masks.tolist() == [[[[0, 1], [0, 1]], [[0, 0], [1, 0]]]]


def test_a_square_mask_keeps_its_numbers():
    mask = np.zeros((50, 70), np.uint8)
    mask[10:30, 20:50] = 2
    assert set(np.unique(square(mask, 64, is_mask=True))) == {0, 2}
    assert square(mask, 64).shape == (64, 64)


def test_the_rule_of_the_card_may_be_changed_on_the_command_line(pictures, tmp_path):
    data = MaskData(
        str(tmp_path), images=str(pictures), rule=SliceRule(0.3, 50), run=RunRule(mm=15)
    )
    assert MaskSettings.from_card(data.settings.to_card()) == data.settings
    with pytest.raises(UsageError, match="expected a window"):
        MaskSettings(width=0)


def outlines_of(folder, names=None):
    """The lesions of `write_pictures` as rectangles, exported from VIA."""
    told = {}
    with (folder / "images.csv").open() as file:
        for row in csv.DictReader(file):
            mask = np.array(Image.open(folder / row["mask"]))
            regions = []
            if mask.any():
                top, left = (int(n.min()) for n in np.nonzero(mask))
                shape = {"name": "rect", "x": left, "y": top, "width": 12, "height": 12}
                regions = [{"shape_attributes": shape, "region_attributes": {}}]
            told[row["file"]] = {"filename": row["file"], "size": 1, "regions": regions}
    return {name: entry for name, entry in told.items() if names is None or name in names}


def test_outlines_of_via_teach_as_masks_do(tmp_path):
    folder = write_pictures(tmp_path / "set", masks=True)
    (tmp_path / "via.json").write_text(json.dumps(outlines_of(folder)))
    found = []
    for outlines in ("", str(tmp_path / "via.json")):
        data = MaskData(str(tmp_path / "work"), images=str(folder), outlines=outlines)
        data.setup("fit")
        found.append([one.labels().copy() for one in data.taught()])
    assert sum(labels.sum() for labels in found[0]) > 0
    assert all(np.array_equal(one, two) for one, two in zip(*found, strict=True))


def test_pictures_that_via_does_not_name_are_refused(tmp_path):
    folder = write_pictures(tmp_path / "set", masks=True)
    (tmp_path / "via.json").write_text(json.dumps(outlines_of(folder, {"p0_0.png"})))
    data = MaskData(str(tmp_path / "w"), images=str(folder), outlines=str(tmp_path / "via.json"))
    with pytest.raises(CohortError, match="expected the picture among those with outlines"):
        data.setup("fit")
    with pytest.raises(UsageError, match="expected masks for several kinds of lesion"):
        MaskData(str(tmp_path / "w"), images=str(folder), outlines="via.json", kinds=2)


def test_scans_with_masks_teach_and_are_refused_in_an_evaluation(tmp_path):
    root = archive(tmp_path / "archive", 10)
    work = tmp_path / "work"
    assert train(work, f"--data.scans={root}", "--data.every=4") == 0
    weights = load_weights(work / "weights")
    told = weights.card["training"]["segmenter"]["data"]
    assert told["patients"] == 8 and len(told["seen"].split()) == 8
    assert not weights.card["synthetic_only"]
    model = covidctnet.load(work / "weights", device="cpu")
    with pytest.raises(CohortError, match="is one that the segmenter of these weights learned"):
        evaluate_data(root, model, tmp_path / "out", limits=None)
