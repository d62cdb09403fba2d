"""The trial of other ways to run the denoiser; what is not installed is said so."""

from pipelines.trials import run
from tests.small import tiny_weights


def test_ways_that_cannot_run_are_told_beside_those_that_do(tmp_path, monkeypatch, capsys):
    def broken(*arguments):
        raise RuntimeError("no compiler")

    # Kernels take a minute to compile; whether they are is not asked here.
    monkeypatch.setattr(run, "_compiled", broken)
    monkeypatch.setattr(run, "_aot", broken)
    page = tmp_path / "trials.md"
    weights = str(tiny_weights(tmp_path / "tiny"))
    arguments = ["--weights", weights, "--repeats", "1", "--matrix", "64", "--into", str(page)]
    assert run.main(arguments) == 0
    told = capsys.readouterr().out
    assert "| AOTInductor, bfloat16 | | | | does not run here: RuntimeError |" in told
    [ours] = [line for line in told.splitlines() if line.startswith("| covidctnet, float32")]
    assert float(ours.split("off by ")[1].split()[0]) < 1e-6
    assert "eager, float32" in page.read_text()


def test_weights_that_are_not_there_are_one_line(capsys):
    assert run.main(["--weights", "nowhere"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
