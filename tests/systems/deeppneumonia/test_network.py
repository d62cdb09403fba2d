import pytest
import torch

from covidctnet.cli import main
from covidctnet.errors import UsageError
from covidctnet.networks.backbones import BACKBONES
from covidctnet.systems.deeppneumonia.networks import DRENet
from covidctnet.systems.deeppneumonia.networks.drenet import _cut


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return DRENet("efficientnet_lite0", size=160).eval()


def pictures(count=2, size=192):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1))


def test_it_has_as_many_parameters_as_published():
    with torch.device("meta"):
        network = DRENet()
    assert sum(p.numel() for p in network.parameters()) == 26_203_977


@torch.inference_mode()
def test_two_calls_on_one_picture_agree_bit_for_bit(small):
    first, again = small(pictures()), small(pictures())
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@torch.inference_mode()
def test_each_slice_is_answered_by_three_small_details_and_three_large_ones(small):
    said = small(pictures())
    assert said.logits.shape == said.whole.shape == (2, 2)
    assert said.parts.shape == (2, 6, 2)
    sides = ((said.boxes[..., 2:] - said.boxes[..., :2]) * 160).round()
    assert set(sides[:, :3].flatten().tolist()) <= {48, 96}
    assert set(sides[:, 3:].flatten().tolist()) == {192}


@torch.inference_mode()
def test_a_slice_is_answered_alike_in_any_batch(small):
    both = small(pictures(2))
    alone = small(pictures(2)[1:])
    torch.testing.assert_close(both.logits[1:], alone.logits, rtol=0, atol=1e-5)
    assert torch.equal(both.boxes[1:], alone.boxes)


def test_the_proposals_do_not_teach_the_body(small):
    said = small(pictures(1))
    said.scores.sum().backward()
    assert all(p.grad is None for p in small.body.parameters())
    assert all(p.grad is not None for p in small.proposals.parameters())
    small.zero_grad(set_to_none=True)


@torch.inference_mode()
def test_the_copy_for_inference_answers_alike(small):
    fast = small.fast()
    torch.testing.assert_close(fast(pictures()).logits, small(pictures()).logits, rtol=0, atol=1e-4)


def test_a_cut_holds_the_pixels_of_its_box_and_zeros_beyond_the_picture():
    picture = torch.arange(36.0).reshape(1, 1, 6, 6).repeat(1, 3, 1, 1)
    boxes = torch.tensor([[[1.0, 2.0, 4.0, 5.0], [-3.0, -3.0, 0.0, 0.0], [4.0, 4.0, 7.0, 7.0]]])
    cut = _cut(picture, boxes, 3)
    assert cut.shape == (3, 3, 3, 3)
    torch.testing.assert_close(cut[0], picture[0, :, 1:4, 2:5])
    assert cut[1].abs().max() == 0
    torch.testing.assert_close(cut[2][:, :2, :2], picture[0, :, 4:, 4:])
    assert cut[2][:, 2].abs().max() == 0


def test_pictures_that_are_not_square_are_refused(small):
    with pytest.raises(
        ValueError, match=r"expected \(batch, 1, size, size\), got \(1, 1, 32, 64\)"
    ):
        small(torch.zeros(1, 1, 32, 64))
    with pytest.raises(ValueError, match="size must be a multiple of 32 from 160 on, got 100"):
        DRENet(size=100)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_is_taken_only_if_its_map_fits_the_boxes(backbone):
    with torch.device("meta"):
        if BACKBONES[backbone].has_cells:
            said = DRENet(backbone, size=160).body(torch.zeros(1, 3, 160, 160))
            assert said.shape[2:] == (5, 5)
        else:
            with pytest.raises(UsageError, match="resnet50, densenet121, efficientnet_lite0, got"):
                DRENet(backbone, size=160)


def test_training_refuses_a_backbone_that_does_not_fit_and_an_unknown_network(tmp_path, capsys):
    asked = ("train", "deeppneumonia", "classifier", "--work", str(tmp_path), "--data.images", "x")
    assert main([*asked, "--model.backbone=vgg16", "--model.pretrained="]) == 2
    said = capsys.readouterr().err
    assert "got vgg16: DRE-Net places its boxes on a feature map" in said
    assert "--model.network plain" in said and said.count("\n") == 1
    assert main([*asked, "--model.network=drenett", "--model.pretrained="]) == 2
    assert "expected a network out of drenet, plain, got 'drenett'" in capsys.readouterr().err
