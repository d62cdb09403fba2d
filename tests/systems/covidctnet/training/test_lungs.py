"""Lung segmentation: the layouts it reads, what it learns, and what the denoiser takes over."""

import json

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from covidctnet.cli import main
from covidctnet.cohort.store import Store
from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.io.lung_pairs import find_lung_pairs
from covidctnet.systems.covidctnet.networks import BCDUNet
from covidctnet.systems.covidctnet.training.lungs import LungData, fill_bases
from covidctnet.systems.covidctnet.training.tasks import DenoiserTask
from covidctnet.training.command import start_from
from covidctnet.volume import Source, Volume
from covidctnet.weights import load_weights
from covidctnet.weights.shipped import presets_root
from tests.little_work import fill
from tests.volumes import a_chest

LUNGS = ("--model.base=2", "--model.depth=1", "--data.batch_size=2", "--data.validation_slices=4")
LUNGS += ("--trainer.max_epochs=1", "--trainer.limit_train_batches=2")


def write_slices(folder, patients=3, slices=4):
    """The 2D layout: HU as 32-bit TIFF, masks of 0 and 255."""
    volume, lungs = a_chest((slices + 20, 48, 56), 6.0)
    for kind in ("2d_images", "2d_masks"):
        (folder / kind).mkdir(parents=True)
    for patient in range(patients):
        for number in range(slices):
            name = f"ID_{patient:04d}_Z_{number:04d}.tif"
            hu = volume.array[10 + number].astype(np.int32) + patient
            Image.fromarray(hu).save(folder / "2d_images" / name)
            mask = lungs[10 + number].astype(np.uint8) * 255
            Image.fromarray(mask).save(folder / "2d_masks" / name)
    return folder


def write_volumes(folder, affine, patients=3):
    """The 3D layout: a NIfTI pair a patient."""
    volume, lungs = a_chest((24, 48, 56), 6.0)
    (folder / "3d_images").mkdir(parents=True)
    # Unlike on the two sides, so that a flip shows.
    lungs = lungs.copy()
    lungs[:, :, 40:] &= np.arange(48)[None, :, None] > 20
    for patient in range(patients):
        for kind, array in (("IMG", volume.array + np.int16(patient)), ("MASK", lungs)):
            image = nib.Nifti1Image(array.transpose(2, 1, 0).astype(np.int16), affine)
            image.header.set_xyzt_units("mm")
            nib.save(image, folder / "3d_images" / f"{kind}_{patient:04d}.nii.gz")
    return folder, lungs


def test_slices_of_one_patient_stay_together(tmp_path):
    pairs = find_lung_pairs(write_slices(tmp_path))
    assert [len(p.images) for p in pairs] == [4, 4, 4]
    assert len({p.patient for p in pairs}) == 3
    slices, lungs, is_hu = pairs[0].read()
    assert is_hu
    assert slices.shape == lungs.shape == (4, 48, 56)
    assert slices[lungs].mean() < -800 < slices[~lungs].mean()


@pytest.mark.parametrize(
    "affine",
    [np.diag([-6.0, -6.0, 6.0, 1.0]), np.diag([6.0, 6.0, 6.0, 1.0]), np.diag([6.0, -6, -6, 1.0])],
    ids=["as we turn it", "from the left and the back", "head first"],
)
def test_a_drawn_volume_lies_on_its_lungs_however_the_file_is_turned(tmp_path, affine):
    folder, drawn = write_volumes(tmp_path, affine)
    slices, lungs, is_hu = find_lung_pairs(folder)[0].read()
    assert is_hu
    assert lungs.sum() == drawn.sum()
    assert slices[lungs].max() < -800


def test_slices_kept_as_bytes_are_taken_for_the_window(tmp_path):
    write_slices(tmp_path)
    for path in (tmp_path / "2d_images").iterdir():
        Image.fromarray(np.full((48, 56), 51, np.uint8)).save(path)
    slices, _, is_hu = find_lung_pairs(tmp_path)[0].read()
    assert not is_hu
    assert np.allclose(slices, 0.2)


def test_the_pairs_beside_the_project_are_read(shared_data):
    pairs = find_lung_pairs(shared_data / "finding_lungs_2d")
    assert sum(len(p.images) for p in pairs) == 10
    for pair in pairs:
        slices, lungs, _ = pair.read()
        assert slices.shape == lungs.shape
        assert 0.02 < lungs.mean() < 0.6


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(CohortError, match="expected drawn lungs"):
        find_lung_pairs(tmp_path)
    with pytest.raises(UsageError, match="is none"):
        find_lung_pairs(tmp_path / "nowhere")


@pytest.mark.parametrize("layout", ["2d", "3d"])
def test_an_image_without_its_mask_is_refused(tmp_path, layout):
    if layout == "2d":
        write_slices(tmp_path)
        next((tmp_path / "2d_masks").iterdir()).unlink()
    else:
        write_volumes(tmp_path, np.diag([6.0, 6, 6, 1]))
        (tmp_path / "3d_images" / "MASK_0001.nii.gz").unlink()
    with pytest.raises(CohortError, match="has no"):
        find_lung_pairs(tmp_path)


@pytest.mark.parametrize("layout", ["2d", "3d"])
def test_a_mask_of_another_shape_is_refused(tmp_path, layout):
    if layout == "2d":
        write_slices(tmp_path)
        path = sorted((tmp_path / "2d_masks").iterdir())[0]
        Image.fromarray(np.zeros((10, 10), np.uint8)).save(path)
    else:
        write_volumes(tmp_path, np.diag([6.0, 6, 6, 1]))
        path = tmp_path / "3d_images" / "MASK_0000.nii.gz"
        nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), path)
    with pytest.raises(StudyError, match="image and mask of one shape"):
        find_lung_pairs(tmp_path)[0].read()


def test_a_broken_slice_leaves_its_patient_out_by_name(tmp_path, caplog):
    write_slices(tmp_path, patients=7)
    sorted((tmp_path / "2d_images").iterdir())[0].write_bytes(b"no picture")
    data = LungData(tmp_path / "work", pairs=tmp_path, size=40)
    data.setup("fit")
    assert "can be read as TIFF" in caplog.text
    assert sum(data.patients.values()) == 6


def test_patients_of_drawn_lungs_are_held_back_whole(tmp_path):
    data = LungData(tmp_path / "work", pairs=write_slices(tmp_path, patients=6), size=40)
    data.setup("fit")
    assert data.patients == {"train": 4, "val": 2}
    slices, lungs = data.train[0]
    assert slices.shape == lungs.shape == (1, 40, 40)
    assert 0 <= slices.min() <= slices.max() <= 1
    assert set(lungs.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("source", ["the work folder", "drawn lungs"])
def test_lungs_are_trained_and_a_denoiser_starts_from_them(little_work, tmp_path, source, capsys):
    more = () if source == "the work folder" else ("--data.size=40", "--data.pairs")
    if more:
        more = (*more, str(write_slices(tmp_path / "pairs")))
    weights = tmp_path / "lungs"
    lungs = ["train-lungs", "--work", str(little_work), "--output", str(weights)]
    assert main([*lungs, *LUNGS, *more]) == 0
    told = load_weights(weights).card
    assert told["architecture"].keys() == {"lungs"}
    assert 0 <= told["metrics"]["lungs"]["val_dice"] <= 1
    assert str(tmp_path) not in json.dumps(dict(told))
    denoiser = ["train-denoiser", "--work", str(little_work), "--init", str(weights)]
    assert main([*denoiser, *LUNGS]) == 0
    assert "started from 71 of 71 tensors" in capsys.readouterr().err
    before, after = (load_weights(w).card["training"] for w in (weights, little_work / "weights"))
    assert after["start: lungs"] == before["lungs"]
    assert after.keys() == {"start: lungs", "denoiser"}
    resumed = [*denoiser[:3], "--ckpt_path", "last", *LUNGS, "--trainer.max_epochs=3"]
    assert main(resumed) == 0
    again = load_weights(little_work / "weights").card["training"]
    assert again["start: lungs"] == before["lungs"]


@pytest.mark.parametrize("started", [{}, {"training": {"lungs": {}}}])
def test_a_run_is_not_resumed_as_one_that_started_elsewhere(started):
    task = DenoiserTask(base=2, depth=1)
    task.start = {"training": {"denoiser": {}}}
    with pytest.raises(UsageError, match="Leave --init out"):
        task.on_load_checkpoint({"start": started})
    task.start = {}
    task.on_load_checkpoint({"start": started})
    assert dict(task.start) == started


@pytest.mark.parametrize("preset", ["compact", "demo", "paper", "upstream"])
def test_every_preset_trains_lungs(tmp_path, preset):
    weights = tmp_path / "lungs"
    # Painted lungs are learned on whole scans, which are kept of scans cropped to the lungs.
    work = fill(tmp_path / "work", field="lungs" if preset == "compact" else "scan")
    arguments = ["train-lungs", "--work", str(work), "--output", str(weights)]
    assert main([*arguments, "--preset", preset, *LUNGS, "--trainer.max_epochs=1"]) == 0
    card = load_weights(weights).card
    told = yaml.safe_load((presets_root() / preset / "train-lungs.yaml").read_text())["model"]
    architecture = card["architecture"]["lungs"]
    assert architecture["bidirectional"] == told["bidirectional"]
    assert architecture["gates"] == told.get("gates", "sigmoid")


def test_what_fits_is_taken_over_and_the_rest_is_told(caplog):
    small, large = BCDUNet(base=2, depth=1), BCDUNet(base=2, depth=3)
    before = {k: v.clone() for k, v in large.state_dict().items()}
    left = start_from(large, small)
    assert all(k.startswith(("dense2", "dense3")) for k in left)
    assert "not taken over, missing there or of another shape: dense2.0 (2)" in caplog.text
    for name, values in large.state_dict().items():
        source = before if name in left else small.state_dict()
        assert (values == source[name]).all()


def test_weights_of_which_nothing_fits_are_refused():
    with pytest.raises(UsageError, match="nothing of the weights to start from fits"):
        start_from(BCDUNet(base=4, depth=1), BCDUNet(base=2, depth=1))


def test_weights_of_lungs_classify_nothing(little_work, tmp_path, capsys):
    lungs = ["train-lungs", "--work", str(little_work), "--output", str(tmp_path / "l")]
    assert main([*lungs, *LUNGS]) == 0
    assert main(["classify", str(tmp_path), "--weights", str(tmp_path / "l")]) == 2
    assert "hold lungs, expected a network named denoiser" in capsys.readouterr().err


def two_lungs():
    lungs = np.zeros((30, 24, 32), dtype=bool)
    lungs[3:27, 4:20, 3:13] = lungs[3:27, 4:20, 19:29] = True
    return np.where(lungs, 0.1, 0.75).astype(np.float32), lungs


@pytest.mark.parametrize("seed", range(8))
def test_filled_bases_are_dense_low_or_hind_lung_and_nothing_else_changes(seed):
    unit, lungs = two_lungs()
    scan = Volume(unit, np.eye(4), "unit", Source("s"), (), (-1000.0, 400.0))
    filled = fill_bases(scan, lungs, np.random.default_rng(seed)).array
    changed = filled != unit
    assert changed.any() and not changed[~lungs].any()
    share = (filled[lungs] > 0.5).mean()
    assert 0.01 < share < 0.45
    z, y, _ = np.nonzero(changed)
    all_z, all_y, _ = np.nonzero(lungs)
    assert z.mean() < all_z.mean() or y.mean() > all_y.mean()


def test_painted_lungs_need_whole_scans(little_work, tmp_path, capsys):
    arguments = ["train-lungs", "--work", str(little_work), "--output", str(tmp_path / "l")]
    assert main([*arguments, *LUNGS, "--data.painted=1"]) == 2
    assert "Run preprocess again with field: lungs." in capsys.readouterr().err


def test_whole_scans_of_different_sizes_are_learned_together(tmp_path):
    work = fill(tmp_path / "work", field="lungs")
    coarse = Store(work / "preprocessed").coarse
    first = coarse.index()[0]
    for number, study in enumerate(coarse.index()):
        volume = study.volume()
        wide = 3 * (number % 4)
        pad = ((0, 0), (0, wide), (0, 2 * wide))
        coarse.put(
            volume.then("wider", np.pad(volume.array, pad)),
            lungs=np.pad(np.asarray(study.lungs, dtype=bool), pad),
            content_key=study.content_key,
            settings=study.settings,
            settings_digest=study.settings_digest,
            label=study.label,
            patient=study.patient,
        )
    assert coarse.get(first.id).shape == first.shape
    data = LungData(work, painted=1, batch_size=4)
    data.setup("fit")
    shapes = {tuple(batch.shape[2:]) for batch, _ in data.train_dataloader()}
    (shape,) = shapes
    assert all(n % 8 == 0 for n in shape)
    lungs = sum(float(mask.sum()) for _, mask in data.train_dataloader())
    assert lungs > 0
