"""Every preset of every system is complete: its run starts, but for the data."""

import pytest

from covidctnet.cli import main
from covidctnet.registry import find_system, system_names
from covidctnet.weights.shipped import presets_root

FILES = [
    file
    for name in system_names()
    for file in sorted((presets_root() / name).glob("*/*.yaml"))
    if (presets_root() / name).is_dir()
]


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(f.parts[-3:]))
def test_a_preset_belongs_to_a_stage_and_is_read_up_to_the_missing_data(file, tmp_path, capsys):
    system, preset = file.parts[-3], file.parts[-2]
    assert file.stem in {stage.name for stage in find_system(system).stages}
    flags = ["--preset", preset, "--work", str(tmp_path), "--device=cpu", "--model.pretrained="]
    flags += [f"--data.images={tmp_path / 'nowhere'}"]
    assert main(["train", system, file.stem, *flags]) == 2
    assert "expected a folder of pictures, 'nowhere' is none" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["resnet50_slices", "deeptek_unet", "deeppneumonia", "xray_vgg16"])
def test_a_system_of_slices_has_a_preset_of_the_paper_and_a_tiny_one(name):
    found = {file.parts[-2] for file in FILES if file.parts[-3] == name}
    assert {"paper", "tiny"} <= found


def test_an_unknown_preset_is_refused_with_those_that_there_are(capsys):
    assert main(["train", "resnet50_slices", "classifier", "--preset", "huge"]) == 2
    told = "expected a preset of resnet50_slices classifier, got 'huge'; presets: paper, tiny"
    assert told in capsys.readouterr().err


def test_presets_of_covidctnet_are_found_by_its_system_and_stage(tmp_path, capsys):
    flags = ["--preset", "demo", "--work", str(tmp_path / "nowhere")]
    assert main(["train", "covidctnet", "denoiser", *flags]) == 2
    assert "the work folder 'nowhere' does not exist" in capsys.readouterr().err


def test_the_help_of_a_stage_names_the_options_that_stand_for_others(capsys):
    assert main(["train", "covidctnet", "lungs", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--work FOLDER is short for --data.work FOLDER." in printed
    assert "--preset NAME takes the settings of a preset of the stage" in printed
