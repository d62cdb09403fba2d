"""Tables and sheets of radiographs."""

import numpy as np
import torch
from PIL import Image

from covidctnet.systems.xray_vgg16.networks import RadiographNet
from covidctnet.weights import save_weights
from pipelines.experiments.radiographs import look, sheets
from tests.radiograph.pictures import radiograph, write_png
from tests.volumes import a_chest


def test_what_passes_and_what_is_refused_is_counted_by_kind(tmp_path, capsys):
    for number in range(3):
        write_png(tmp_path / "chests" / f"{number}.png", radiograph(seed=number))
    write_png(tmp_path / "others" / "a.png", 255 - radiograph())
    (tmp_path / "others" / "b.png").write_text("no picture")
    page = tmp_path / "page.md"
    arguments = ["--radiographs", f"chests={tmp_path / 'chests'}", "--output", str(page)]
    assert look.main([*arguments, "--others", f"inverted={tmp_path / 'others'}"]) == 0
    lines = page.read_text().splitlines()
    assert lines[2:] == ["| chests | 3 | 0 | 0 | 0 | 3 |", "| inverted | 1 | 0 | 1 | 0 | 0 |"]


def test_a_scan_is_projected_with_its_head_up():
    volume, _ = a_chest()
    hu = np.array(volume.array)
    hu[-1] = 1000
    front = look.projected(volume.then("marked", hu), 1)
    assert front.shape == (volume.shape[0], volume.shape[2])
    assert front[0].mean() > 250 > front[-1].mean()


def test_a_sheet_is_written_for_every_layer(tmp_path, capsys):
    torch.manual_seed(0)
    architecture = {"network": "vgg16_block2", "size": 96}
    card = {
        "system": "xray_vgg16",
        "classes": ["Normal", "Pneumonia"],
        "normal": "Normal",
        "architecture": {"classifier": architecture},
        "settings": {"size": 96},
        "synthetic_only": True,
    }
    save_weights(tmp_path / "w", {"classifier": RadiographNet(**architecture)}, card=card)
    write_png(tmp_path / "a.png", radiograph())
    arguments = [str(tmp_path / "w"), str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
    assert sheets.main(arguments) == 0
    files = sorted((tmp_path / "out").glob("*.png"))
    assert len(files) == 12 and files[0].name == "00-bodies.0.features.0.png"
    with Image.open(files[0]) as sheet:
        assert sheet.size == (16 * 96, 4 * 96)
    for number in range(2):
        write_png(tmp_path / "two" / f"{number}.png", radiograph(seed=number))
    assert sheets.main([arguments[0], str(tmp_path / "two"), *arguments[2:]]) == 2
    assert "expected one radiograph, got 2" in capsys.readouterr().err
