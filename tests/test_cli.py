import json
import re
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from covidctnet.cli import main
from covidctnet.commands.complaints import in_plain_words
from covidctnet.phantom.scanner import SCANNERS, TRAINING_SCANNERS
from covidctnet.weights import list_weights
from covidctnet.writer import WRITER_FILES
from tests.io.series import a_slice, save, write
from tests.small import tiny_weights, write_chest, write_cohort
from tests.volumes import a_chest

COMMANDS = ("classify", "inspect", "phantom", "preprocess", "train-denoiser", "train-classifier")
COMMANDS += ("evaluate", "weights")
SMALL = ("--settings.size", "40", "--settings.spacing_mm", "4", "--workers", "1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture
def chest(tmp_path):
    return write_chest(tmp_path / "inbox" / "one", "Jane^Doe")


@pytest.fixture
def run(capsys):
    """Runs a command; returns its exit code, standard output and standard error."""

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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_options_and_defaults(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"covidctnet {command}" in out
    assert "--config" in out
    assert "--verbose" in out
    presets = {"preprocess", "train-denoiser", "train-classifier"}
    assert ("--preset NAME takes the settings of compact, demo, paper" in out) == (
        command in presets
    )


OWN = ("--settings", "--split", "--config", "--print_config", "-h")


@pytest.mark.parametrize("command", [v for v in COMMANDS if not v.startswith("train-")])
def test_every_option_says_what_it_is_and_its_default(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "2000")
    _, out, _ = run(command, "--help")
    lines = out.partition("\n\n")[2].splitlines()
    options = [line for line in lines if re.match(r"  (\S.*?)  +\S", line)]
    assert len(options) > 2
    for line in options:
        name, _, meaning = line.strip().partition("  ")
        if not name.startswith(OWN):
            assert re.search(r"\w.* \((required|type|default)", meaning), line
            assert "default: " in meaning or "required" in meaning, line


def test_without_a_command_the_commands_are_listed(run):
    code, out, _ = run()
    assert code == 2
    for command in COMMANDS:
        assert f"  {command} " in out
    assert run("--help")[0] == 0


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "covidctnet", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.fullmatch(r"covidctnet \d+\.\d+\S*\n", done.stdout)


def test_an_unknown_command_is_wrong_usage_and_the_commands_are_told(run):
    code, _, err = run("clasify", "x")
    assert code == 2
    assert "classify" in complaint(err)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("classify",), "paths"),
        (("classify", ".", "--colour", "red"), "--colour"),
        (
            ("preprocess", ".", "-o", "work", "--workers", "many"),
            "expected --workers as a whole number, got 'many'",
        ),
        (("preprocess",), "data, -o/--work"),
        (("weights", "burn"), "'list', 'verify'"),
        (("classify", ".", "--config", "nothing.yaml"), "does not exist"),
        (("classify", ".", "--preset", "paper"), "no presets for classify"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else None,
)
def test_wrong_arguments_are_one_line_that_says_where_help_is(
    run, tmp_path, monkeypatch, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert expected in err
    assert err == complaint(err) + "\n"
    assert f"covidctnet {arguments[0]} --help" in err or "--preset" in arguments
    assert not list(tmp_path.iterdir())


def test_every_study_classified_exits_0(run, chest, weights, tmp_path):
    code, out, _ = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 0
    assert "1 classified" in out or "1 flagged" in out
    assert "Research use only" in out


def test_some_refused_exits_3_and_names_study_and_code(run, chest, weights, tmp_path):
    write(tmp_path / "inbox" / "gap", study="gap", skip=(5,))
    code, _, err = run("classify", tmp_path / "inbox", "-o", tmp_path / "out", "--weights", weights)
    assert code == 3
    assert re.search(r"study s[0-9a-f]{12} refused: SLICE_GAP", err)
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
    for weights in list_weights():
        assert weights.name in complaint(err)
    assert not (tmp_path / "out").exists()


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
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_is_wrong_usage(run, chest, weights, tmp_path):
    code, _, err = run(
        "classify", chest, "-o", tmp_path / "out", "--weights", weights, "--device", "cuda:7"
    )
    assert code == 2
    assert "cuda:7" in complaint(err)
    assert not (tmp_path / "out").exists()


def test_somebody_elses_folder_is_no_place_for_results(run, chest, weights, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("It was a dark and stormy night")
    code, _, err = run("classify", chest, "-o", tmp_path / "thesis", "--weights", weights)
    assert code == 2
    assert "--output" in complaint(err)
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.txt"]


def test_weights_are_loaded_once_whatever_the_number_of_studies(
    run, chest, weights, tmp_path, monkeypatch
):
    from covidctnet.run import load as module

    loaded, real = [], module.load_weights
    monkeypatch.setattr(
        module,
        "load_weights",
        lambda name: loaded.append(name) or real(name),
    )
    for name in "ab":
        write_chest(tmp_path / "inbox" / name, name)
    run("classify", tmp_path / "inbox", "-o", tmp_path / "out", "--weights", weights)
    assert len(loaded) == 1


def test_a_second_run_continues_and_says_so(run, chest, weights, tmp_path):
    arguments = ("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    run(*arguments)
    before = (tmp_path / "out" / "results.csv").read_bytes()
    code, out, _ = run(*arguments)
    assert code == 0
    assert "(1 from an earlier run)" in out
    assert (tmp_path / "out" / "results.csv").read_bytes() == before


def test_a_nifti_phantom_goes_all_the_way_to_the_page(run, weights, tmp_path):
    volume, _ = a_chest((25, 50, 60), 6.0)
    affine = np.diag([-6.0, -6.0, 6.0, 1.0])
    image = nibabel.Nifti1Image(np.asarray(volume.array).T, affine)
    (tmp_path / "Doe_Jane").mkdir()
    nibabel.save(image, tmp_path / "Doe_Jane" / "scan.nii.gz")
    code, _, err = run(
        "classify", tmp_path / "Doe_Jane", "-o", tmp_path / "out", "--weights", weights
    )
    assert code == 0, err
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count('src="data:image/webp;base64,') == 1
    assert "synthetic patients (phantoms)" in page
    assert "Doe" not in page + err
    assert "Doe_Jane" in (tmp_path / "out" / "results.csv").read_text()


def configured(command, root, weights):
    """What a configuration file of a command may hold."""
    return {
        "classify": {"paths": [f"{root}/inbox"], "output": f"{root}/there", "weights": weights},
        "inspect": {"paths": [f"{root}/inbox"], "json": True},
        "phantom": {"output": f"{root}/there", "patients": 0, "controls": 1, "matrix": 32}
        | {"spacing_mm": 20.0, "workers": 1},
        "preprocess": {"data": [f"{root}/data"], "work": f"{root}/there", "workers": 1}
        | {"settings": {"size": 40, "spacing_mm": 4.0}, "split": {"seed": 3}},
        "evaluate": {"data": [f"{root}/data"], "output": f"{root}/there", "weights": weights},
        "weights": {"action": "verify", "names": [weights]},
    }[command]


@pytest.mark.parametrize(
    "command", ["classify", "inspect", "phantom", "preprocess", "evaluate", "weights"]
)
def test_a_config_file_holds_all_of_a_command_s_options(run, chest, weights, tmp_path, command):
    if command in ("preprocess", "evaluate"):
        write_cohort(tmp_path / "data", *((8, 4) if command == "preprocess" else (1, 1)))
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(configured(command, tmp_path, weights)))
    code, out, err = run(command, "--config", file)
    assert code == 0, err
    assert out
    assert (tmp_path / "there").is_dir() == (command not in ("inspect", "weights"))


def test_a_flag_wins_over_the_config_file(run, chest, weights, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(f"output: {tmp_path / 'there'}\nweights: {weights}\n")
    run("classify", chest, "--config", file, "-o", tmp_path / "here")
    assert (tmp_path / "here" / "results.csv").is_file()
    assert not (tmp_path / "there").exists()


def test_a_word_in_a_config_file_where_a_list_belongs_is_told(run, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("paths: /inbox\n")
    code, _, err = run("classify", "--config", file)
    assert code == 2
    assert "expected a list, as [one, two], got a single word" in err


@pytest.mark.parametrize("text", ["colour: red\n", "paths: [\n"], ids=["unknown", "no YAML"])
def test_a_config_file_that_cannot_be_followed_is_wrong_usage(run, chest, tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    code, _, err = run("classify", chest, "--config", file)
    assert code == 2
    assert err == complaint(err) + "\n"


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
    left = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert left <= WRITER_FILES


def test_a_bug_of_ours_is_one_line_and_exits_1(run, chest, weights, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("covidctnet.run.classify.find_studies", broken)
    code, _, err = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 1
    assert "ZeroDivisionError" in complaint(err)


def test_an_unexpected_error_names_no_path(run, chest, weights, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise ValueError("cannot use /inbox/Doe_Jane/scan.nii or C:\\inbox\\Doe\nand more")

    monkeypatch.setattr("covidctnet.run.classify.find_studies", broken)
    code, _, err = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 1
    assert "cannot use (path) or (path) and more" in complaint(err)
    assert "Doe" not in err


def test_verbose_shows_where_it_broke(chest, weights, tmp_path, monkeypatch, capsys):
    def broken(*arguments, **options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("covidctnet.run.classify.find_studies", broken)
    arguments = ["classify", str(chest), "-o", str(tmp_path / "out"), "--weights", weights]
    assert main([*arguments, "--verbose"]) == 1
    assert "in broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["preprocess", "--help"], ["inspect", "CHEST", "--json"]],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_reader_that_closes_early_is_no_error(chest, arguments):
    arguments = [str(chest) if argument == "CHEST" else argument for argument in arguments]
    command = [sys.executable, "-m", "covidctnet", *arguments]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    done.stdout.close()
    with done.stderr as err:
        # A busy machine may take long enough for a line of progress.
        assert [line for line in err if not line.startswith("inspecting: ")] == []
    assert done.wait() == 141


def test_an_interrupt_is_one_line_and_exits_130(run, chest, weights, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("covidctnet.run.classify.find_studies", interrupted)
    code, _, err = run("classify", chest, "-o", tmp_path / "out", "--weights", weights)
    assert code == 130
    assert "stopped by SIGINT; what was finished is kept" in complaint(err)


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "<&-", "<&- 1>&- 2>&-"])
def test_closed_standard_streams_change_no_exit_code(chest, closed):
    """Services and job wrappers start programs so."""
    command = f'exec "{sys.executable}" -m covidctnet inspect --quick "$1" {closed}'
    done = subprocess.run(["bash", "-c", command, "-", str(chest)], check=False)
    usual = main(["inspect", "--quick", str(chest)])
    assert done.returncode == usual


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    """What a library prints on a closed standard error must not go into a result."""
    code = (
        "import os, sys; from covidctnet.cli import main; main(['--version']); "
        "number = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); os.write(2, b'noise'); "
        "sys.exit(number <= 2)"
    )
    result = tmp_path / "result"
    command = f'exec "{sys.executable}" -c "$1" "$2" 2>&-'
    done = subprocess.run(
        ["bash", "-c", command, "-", code, str(result)], stdout=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0
    assert result.read_bytes() == b""


def test_an_option_of_training_is_read_by_its_former_name_too(monkeypatch):
    read = []
    monkeypatch.setattr(
        "covidctnet.training.run.train", lambda _, words, program: read.append(words)
    )
    for name in ("--checkpoint", "--keep"):
        assert main(["train", "resnet50_slices", "classifier", f"{name}=last", "--work", "x"]) == 0
    assert read == 2 * [["--checkpoint=last", "--data.work", "x"]]


@pytest.mark.parametrize(
    ("command", "former", "now", "value"),
    [
        (["classify", "."], "--readers", "workers", 3),
        (["split", "."], "--validation", "val", 0.2),
        (["paint", ".", "-o", "x"], "--validation", "val", 2),
    ],
)
@pytest.mark.parametrize("joint", ["=", " "])
def test_an_option_is_read_by_its_former_name_and_shown_by_its_own(
    monkeypatch, capsys, command, former, now, value, joint
):
    read = {}
    name = command[0]
    monkeypatch.setattr(
        "covidctnet.cli.run_command", lambda _, function, words: read.update(words=words) or 0
    )
    assert main([*command, *f"{former}{joint}{value}".split(" ")]) == 0
    assert f"--{now}{joint}{value}".split(" ") == read["words"][len(command) - 1 :]
    monkeypatch.undo()
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"--{now} " in shown and f"{former} " not in shown


@pytest.mark.parametrize("words", [["amber", "dune"], ["[amber, dune]"]])
def test_names_of_scanners_need_no_brackets(monkeypatch, tmp_path, words):
    drawn = []
    monkeypatch.setattr(
        "covidctnet.phantom.write_cohort", lambda folder, plan, **rest: drawn.append(plan)
    )
    assert main(["phantom", "-o", str(tmp_path), "--scanners", *words, "--patients", "1"]) == 0
    assert drawn[0].scanners == ("amber", "dune")


@pytest.mark.parametrize(
    ("complaint", "plain"),
    [
        (
            'Parser key "a.b":\n  Does not validate against any of the Union subtypes\n'
            "  Subtypes: [typing.Literal['x', 'y'], <class 'int'>, <class 'NoneType'>]\n"
            "  Errors:\n    - Expected a <class 'int'>\n  Given value type: <class 'str'>\n"
            "  Given value: q[",
            "expected --a.b as one of x, y or a whole number, got 'q['",
        ),
        (
            "Parser key \"data.work\":\n  Expected a <class 'float'>. Got value: red",
            "expected --work as a number, got 'red'",
        ),
        (
            'Parser key "trainer.logger":\n  Does not validate against any of the Union subtypes\n'
            "  Subtypes: [<class 'some.loggers.Logger'>, <class 'bool'>]\n  Given value: wandb",
            "expected --trainer.logger as a Logger or true or false, got 'wandb'",
        ),
        (
            'Parser key "config":\n  File does not exist',
            "--config: File does not exist",
        ),
        ("unrecognized arguments: --colour", "unrecognized arguments: --colour"),
    ],
)
def test_a_complaint_names_the_option_what_it_may_be_and_what_was_given(complaint, plain):
    assert in_plain_words(complaint) == plain


def test_help_is_a_word_too(capsys):
    assert main(["help"]) == 0
    overview = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == overview
    assert main(["help", "merge"]) == 0
    assert "covidctnet merge" in capsys.readouterr().out
    assert main(["help", "nonsense"]) == 2


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["preprocess", "data"], "required: -o/--work;"),
        (["phantom"], "required: -o/--output;"),
        (["split"], "required: work;"),
    ],
)
def test_missing_options_are_named_as_they_are_written(arguments, missing, capsys):
    assert main(arguments) == 2
    assert missing in capsys.readouterr().err


def test_the_help_of_phantom_names_every_scanner(capsys):
    assert main(["phantom", "--help"]) == 0
    printed = capsys.readouterr().out
    assert not [name for name in SCANNERS if name not in printed]
    described = printed.split("--scanners")[-1].split("these seven by default")[0]
    assert len(TRAINING_SCANNERS) == 7
    assert not [name for name in TRAINING_SCANNERS if name not in described]
