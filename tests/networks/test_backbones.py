import sys

import pytest
import torch

from covidctnet.errors import UsageError
from covidctnet.networks.backbones import BACKBONES, library, make_body, normalised


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet50", 23508032), ("efficientnet_lite0", 3371008)]
)
def test_a_body_has_the_parameters_of_its_network_without_the_head(name, parameters):
    with torch.device("meta"):
        body = make_body(name)
        features = body(torch.zeros(1, 3, 64, 96))
    assert sum(p.numel() for p in body.parameters()) == parameters
    assert features.shape == (1, BACKBONES[name].channels, 2, 3)


def test_a_backbone_that_there_is_not_is_refused():
    with pytest.raises(UsageError, match="expected a backbone out of resnet50, vgg16, densenet121"):
        make_body("resnet49")


def test_a_missing_library_is_named_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"expected the package timm.*pip install") as caught:
        library("timm")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_are_normalised_as_the_weights_expect(channels):
    grey = torch.tensor([0.0, 127.0, 255.0]).view(1, 1, 1, 3).expand(1, channels, 1, 3) / 255
    (lite0,) = normalised(grey, BACKBONES["efficientnet_lite0"])
    expected = torch.tensor([-127 / 128, 0.0, 1.0])
    torch.testing.assert_close(lite0, expected.expand(3, 1, 3), rtol=0, atol=1e-6)
    (resnet,) = normalised(grey, BACKBONES["resnet50"])
    white = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(resnet[:, 0, 2], white)


def test_pictures_of_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"expected \(batch, 1 or 3, row, column\), got \(1, 2"):
        normalised(torch.zeros(1, 2, 4, 4), BACKBONES["resnet50"])


@pytest.mark.parametrize("name", BACKBONES)
def test_bodies_have_a_cell_for_every_32_pixels_or_say_that_they_have_fewer(name):
    with torch.device("meta"):
        features = make_body(name).eval()(torch.zeros(1, 3, 256, 256))
    assert (features.shape[2:] == (8, 8)) is BACKBONES[name].has_cells
