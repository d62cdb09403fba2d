import json
import re
import subprocess
import sys

import numpy as np
import pytest

from covidctnet.cli import main
from tests.io.series import a_slice, save, write
from tests.small import tiny_weights, write_chest, write_cohort

VERBS = ("classify", "inspect", "phantom", "preprocess", "train-denoiser", "train-classifier")
VERBS += ("evaluate", "weights", "benchmark")
SMALL = ("--settings.size", "40", "--settings.spacing_mm", "4", "--workers", "1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture
def chest(tmp_path):
    return write_chest(tmp_path / "inbox" / "one", "Jane^Doe")


@pytest.fixture
def run(capsys):
    """Runs a verb; returns its exit code, standard output and standard error."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def complaint(err):
    """The one line that tells what is wrong."""
    lines = [line for line in err.splitlines() if line.startswith("covidctnet: ")]
    assert len(lines) == 1, err
    return lines[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_tells_its_options_and_defaults(run, verb):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert f"covidctnet {verb}" in out
    assert "--config" in out
    assert "default: " in out or verb in {"inspect", "weights"}


def test_without_a_verb_the_verbs_are_listed(run):
    code, out, _ = run()
    assert code == 2
    for verb in VERBS:
        assert f"  {verb} " in out
    assert run("--help")[0] == 0


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "covidctnet", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.fullmatch(r"covidctnet \d+\.\d+\S*\n", done.stdout)


def test_an_unknown_verb_is_wrong_usage_and_the_verbs_are_told(run):
    code, _, err = run("clasify", "x")
    assert code == 2
    assert "classify" in complaint(err)


def test_an_unknown_option_is_wrong_usage(run):
    code, _, err = run("classify", ".", "--colour", "red")
    assert code == 2
    assert "colour" in err


def test_every_study_classified_exits_0(run, chest, weights, tmp_path):
    code, out, _ = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 0
    assert "1 classified" in out or "1 flagged" in out
    assert "Research use only" in out


def test_some_refused_exits_3_and_names_study_and_code(run, chest, weights, tmp_path):
    write(tmp_path / "inbox" / "gap", study="gap", skip=(5,))
    code, _, err = run("classify", tmp_path / "inbox", "-o", tmp_path / "out", "--weights", weights)
    assert code == 3
    assert re.search(r"study [0-9a-f]{12} refused: SLICE_GAP", err)
    assert "Doe" not in err


def test_none_classified_exits_4(run, weights, tmp_path):
    write(tmp_path / "inbox" / "gap", skip=(5,))
    arguments = ("-o", tmp_path / "out", "--weights", weights)
    assert run("classify", tmp_path / "inbox", *arguments)[0] == 4
    (tmp_path / "empty").mkdir()
    code, out, _ = run("classify", tmp_path / "empty", "-o", tmp_path / "o2", "--weights", weights)
    assert code == 4
    assert "no study found" in out


def test_files_that_are_no_scans_are_counted_and_stop_nothing(run, chest, weights, tmp_path):
    (tmp_path / "inbox" / "letter.dcm").write_text("dear colleague, no scan here")
    (tmp_path / "inbox" / "empty.dcm").touch()
    code, out, err = run(
        "classify", tmp_path / "inbox", "-o", tmp_path / "out", "--weights", weights
    )
    assert code in (0, 3), err
    assert "passed over" in out or "refused" in out


def test_a_truncated_scan_is_refused_by_code(run, chest, weights, tmp_path):
    for file in chest.glob("*.dcm"):
        file.write_bytes(file.read_bytes()[:-200])
    code, _, err = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 4
    assert re.search(r"refused: [A-Z_]+", err)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("classify", "nowhere"), "does not exist"),
        (("inspect", "nowhere"), "does not exist"),
        (("preprocess", "nowhere", "-o", "work"), "nowhere"),
        (("preprocess", ".", "-o", "work", "--preset", "papper"), "unknown preset 'papper'"),
        (("evaluate",), "--data"),
        (("evaluate", "--data", "nowhere"), "does not exist"),
        (("train-denoiser", "--work", "nowhere"), "covidctnet preprocess"),
        (("train-denoiser", "--work", "nowhere", "--preset", "papper"), "unknown preset"),
        (("train-classifier", "--work", "nowhere"), "nowhere"),
        (("weights", "verify", "nowhere"), "nowhere"),
        (("phantom", "-o", "work", "--scanners", "[mars]"), "cobalt"),
        (("phantom", "-o", "work", "--patients", "-1"), "patient"),
        (("phantom", "-o", "work", "--seed", "-1"), "seed"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else None,
)
def test_wrong_usage_is_one_clear_line_and_leaves_nothing(
    run, tmp_path, monkeypatch, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert expected in complaint(err)
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "work" / "preprocessed").exists()


def test_unknown_weights_are_wrong_usage_and_the_shipped_ones_are_told(run, chest, tmp_path):
    code, _, err = run("classify", chest, "-o", tmp_path / "out", "--weights", "kompakt")
    assert code == 2
    assert "compact" in complaint(err)


def test_weights_with_a_wrong_hash_are_refused(run, chest, tmp_path):
    folder = tiny_weights(tmp_path / "mine")
    file = folder / "classifier.safetensors"
    blob = bytearray(file.read_bytes())
    blob[-1] ^= 1
    file.write_bytes(blob)
    for arguments in (
        ("classify", chest, "-o", tmp_path / "out", "--weights", folder),
        ("weights", "verify", folder),
    ):
        code, _, err = run(*arguments)
        assert code == 2
        assert "not what its card vouches for" in complaint(err)


def test_a_device_that_is_not_there_is_wrong_usage(run, chest, weights, tmp_path):
    code, _, err = run(
        "classify", chest, "-o", tmp_path / "out", "--weights", weights, "--device", "cuda:7"
    )
    assert code == 2
    assert "cuda:7" in complaint(err)


def test_somebody_elses_folder_is_no_place_for_results(run, chest, weights, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("It was a dark and stormy night")
    code, _, err = run("classify", chest, "-o", tmp_path / "thesis", "--weights", weights)
    assert code == 2
    assert "--output" in complaint(err)
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.txt"]


def test_a_config_file_holds_any_option(run, chest, weights, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(f"output: {tmp_path / 'there'}\nweights: {weights}\n")
    assert run("classify", chest, "--config", file)[0] == 0
    assert (tmp_path / "there" / "results.csv").is_file()


def test_a_config_file_with_an_unknown_option_is_wrong_usage(run, chest, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("colour: red\n")
    code, _, err = run("classify", chest, "--config", file)
    assert code == 2
    assert "colour" in err


def test_inspect_tells_what_would_be_read_without_names(run, chest):
    code, out, _ = run("inspect", chest.parent, "--json")
    assert code == 0
    (study,) = json.loads(out)["studies"]
    assert study["outcome"] == "readable"
    assert study["geometry"]["shape"] == [25, 50, 60]
    assert "Doe" not in out
    assert run("inspect", chest.parent)[1].startswith("study ")


def test_a_label_nobody_knows_is_refused_with_its_line(run, tmp_path):
    write_chest(tmp_path / "data" / "a", "a")
    (tmp_path / "data" / "cohort.csv").write_text("study,patient,label\na,p1,flu\n")
    code, _, err = run("preprocess", tmp_path / "data", "-o", tmp_path / "work", *SMALL)
    assert code == 2
    assert "line 2" in complaint(err)
    assert "'flu'" in complaint(err)


def test_a_patient_in_two_splits_is_refused(run, tmp_path):
    for name in "ab":
        write_chest(tmp_path / "data" / name, name)
    (tmp_path / "data" / "cohort.csv").write_text(
        "study,patient,label,split\na,p1,CAP,train\nb,p1,CAP,test\n"
    )
    code, _, err = run("preprocess", tmp_path / "data", "-o", tmp_path / "work", *SMALL)
    assert code == 2
    assert "split test here and in train" in complaint(err)
    assert "p1" not in complaint(err)


def test_too_few_patients_are_refused_in_one_line(run, tmp_path):
    data = write_cohort(tmp_path / "data", controls=1, others=1)
    code, _, err = run("preprocess", data, "-o", tmp_path / "work", *SMALL)
    assert code == 2
    complaint(err)


def test_a_refused_study_is_left_out_and_told(run, tmp_path):
    data = write_cohort(tmp_path / "data")
    for index in range(12):
        save(
            a_slice(np.full((20, 20), 40), index, study="head", patient="head"),
            data / "CAP" / "head" / f"{index}.dcm",
        )
    code, out, _ = run("preprocess", data, "-o", tmp_path / "work", *SMALL)
    assert code == 3
    assert "1 refused" in out
    refused = (tmp_path / "work" / "refused.csv").read_text()
    assert "CAP/head,NOT_HU" in refused


def test_a_full_disk_exits_1_and_says_so(run, chest, weights, tmp_path, monkeypatch):
    import errno

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("covidctnet.files.os.replace", full)
    code, _, err = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 1
    assert "No space left" in complaint(err)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_a_bug_of_ours_is_one_line_and_exits_1(run, chest, weights, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("covidctnet.batch.find_studies", broken)
    code, _, err = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 1
    assert "ZeroDivisionError" in complaint(err)


def test_an_interrupt_is_one_line_and_exits_130(run, chest, weights, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("covidctnet.batch.find_studies", interrupted)
    code, _, err = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 130
    assert "interrupted" in complaint(err)


def test_a_bar_is_drawn_on_a_terminal_only(capsys):
    from covidctnet.progress import track

    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert capsys.readouterr().err == ""
