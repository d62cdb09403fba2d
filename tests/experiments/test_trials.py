"""The trial of other ways to run the denoiser; what is not installed is said so."""

import torch

from pipelines.experiments.benchmark import machine
from pipelines.experiments.trials import run
from pipelines.experiments.trials.winograd import Winograd, with_winograd
from tests.small import tiny_weights


def test_ways_that_cannot_run_are_told_beside_those_that_do(tmp_path, monkeypatch, capsys):
    def broken(*arguments):
        raise RuntimeError("no compiler")

    # Kernels take a minute to compile; whether they are is not asked here.
    monkeypatch.setattr(run, "_compiled", broken)
    monkeypatch.setattr(run, "_aot", broken)
    # Nor how fast large matrix products are.
    monkeypatch.setitem(machine._SIDE, "cpu", 256)
    page = tmp_path / "trials.md"
    weights = str(tiny_weights(tmp_path / "tiny"))
    arguments = ["--weights", weights, "--repeats", "1", "--matrix", "64", "--into", str(page)]
    assert run.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "| AOTInductor, bfloat16 | | | | does not run here: RuntimeError |" in printed
    [ours] = [line for line in printed.splitlines() if line.startswith("| covidctnet, float32")]
    assert float(ours.split("off by ")[1].split()[0]) < 1e-6
    assert "eager, float32" in page.read_text()


def test_weights_that_are_not_there_are_one_line(capsys):
    assert run.main(["--weights", "nowhere"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_winograds_convolution_is_the_plain_one():
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(17, 5, 3, padding=1)
    slices = torch.randn(2, 17, 7, 12)
    torch.testing.assert_close(Winograd(plain)(slices), plain(slices), rtol=0, atol=1e-5)


def test_a_network_keeps_its_answer_and_its_narrow_convolutions_with_winograd():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.Conv2d(16, 16, 3, padding=1),
        torch.nn.Conv2d(16, 16, 3, padding=1, groups=2),
        torch.nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        torch.nn.Conv2d(16, 2, 3, padding=1, bias=False),
    )
    turned = with_winograd(network)
    assert [isinstance(part, Winograd) for part in turned] == [False, True, False, False, False]
    assert isinstance(network[1], torch.nn.Conv2d)
    slices = torch.rand(1, 1, 6, 6)
    torch.testing.assert_close(turned(slices), network(slices), rtol=0, atol=1e-5)
