import csv
import json
import shutil
from dataclasses import replace

import pytest

from covidctnet.cli import main
from covidctnet.commands.common import Network
from covidctnet.errors import UsageError
from covidctnet.report import Results
from covidctnet.run.classify import classify_into
from covidctnet.run.parts import Part, merge_parts, parts_in
from covidctnet.writer import SoleWriter
from tests.io.series import write
from tests.run.test_classify import Oracle

NAMES = [f"patient{number}" for number in range(7)]


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts") / "inbox"
    for name in NAMES:
        write(root / name, study=name, patient=name)
    write(root / "gap", study="gap", patient="gap", skip=(5,))
    return root


def answer_part(inbox, output, number, count=3, model=None, **options):
    part = Part(number, count)
    results = Results(part.folder(output))
    return classify_into(results, [inbox], model or Oracle(), limits=None, part=part, **options)


@pytest.fixture(scope="module")
def answered(inbox, tmp_path_factory):
    output = tmp_path_factory.mktemp("answered") / "results"
    for number in (1, 2, 3):
        answer_part(inbox, output, number)
    return output


@pytest.fixture
def output(answered, tmp_path):
    return shutil.copytree(answered, tmp_path / "results")


def rows(folder):
    with (folder / "results.csv").open(newline="") as file:
        found = sorted(csv.DictReader(file), key=lambda row: row["study"])
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in found]


def test_merged_parts_are_the_answers_of_one_run_each_once(inbox, output, tmp_path):
    classify_into(Results(tmp_path / "one"), [inbox], Oracle(), limits=None)
    merged = merge_parts(output)
    assert rows(output) == rows(tmp_path / "one")
    assert len(rows(output)) == 8
    assert sum(merged.counts.values()) == 8
    whole = json.loads((tmp_path / "one" / "results.json").read_text())
    told = json.loads((output / "results.json").read_text())
    assert told["complete"] and told["merged"]
    assert told["runs"] == whole["runs"]
    assert sorted(s["order"] for s in told["studies"]) == list(range(1, 9))


def test_merging_again_changes_nothing_and_writes_no_record_again(output):
    merge_parts(output)
    before = {path.name: path.stat().st_mtime_ns for path in (output / "studies").iterdir()}
    table = (output / "results.csv").read_bytes()
    merge_parts(output)
    after = {path.name: path.stat().st_mtime_ns for path in (output / "studies").iterdir()}
    assert before == after
    assert (output / "results.csv").read_bytes() == table


def test_a_study_that_went_from_its_part_goes_from_the_merged_table(inbox, output, tmp_path):
    merge_parts(output)
    fewer = shutil.copytree(inbox, tmp_path / "inbox")
    shutil.rmtree(fewer / "gap")
    shutil.rmtree(output / "parts")
    for number in (1, 2, 3):
        answer_part(fewer, output, number)
    merge_parts(output)
    assert len(rows(output)) == len(list((output / "studies").glob("*.json"))) == 7


def test_a_study_is_in_one_part_and_stays_there_when_others_join():
    studies = [f"{number:012x}" for number in range(1000)]
    where = [[part for part in range(1, 21) if Part(part, 20).has(study)] for study in studies]
    assert all(len(parts) == 1 for parts in where)
    sizes = [sum(parts == [number] for parts in where) for number in range(1, 21)]
    assert min(sizes) > 25 and max(sizes) < 80


def test_a_missing_part_is_named_and_merged_without_only_when_asked(output):
    shutil.rmtree(output / "parts" / "2-of-3")
    with pytest.raises(UsageError, match=r"expected all of 3 parts.* 2\. Run"):
        merge_parts(output)
    assert not (output / "results.csv").exists()
    merge_parts(output, partial=True)
    assert json.loads((output / "results.json").read_text())["complete"] is False


def test_a_part_that_has_not_ended_is_named(inbox, output):
    part, folder = next(
        (part, folder)
        for part, folder in parts_in(output).items()
        if Results(folder).counts["classified"]
    )
    shutil.rmtree(folder)
    with pytest.raises(KeyboardInterrupt):
        answer_part(inbox, output, part.number, model=Oracle(lambda _: KeyboardInterrupt()))
    with pytest.raises(UsageError, match=rf"not all of, {part.number}\."):
        merge_parts(output)
    answer_part(inbox, output, part.number)
    merge_parts(output)
    assert len(rows(output)) == 8


def test_a_part_that_is_being_written_is_not_merged(output):
    folder = output / "parts" / "2-of-3"
    with SoleWriter(folder), pytest.raises(UsageError, match="another run writes"):
        merge_parts(output)


def test_parts_of_two_divisions_are_refused(inbox, output):
    answer_part(inbox, output, 1, count=2)
    with pytest.raises(UsageError, match="some of 2 and some of 3"):
        merge_parts(output)


def test_parts_by_two_weights_are_refused(inbox, output):
    shutil.rmtree(output / "parts" / "2-of-3")
    other = Oracle()
    other.info = replace(other.info, digest="ba9876543210")
    answer_part(inbox, output, 2, model=other)
    with pytest.raises(UsageError, match="same weights"):
        merge_parts(output)


def test_answers_of_no_part_are_never_merged_away(inbox, output):
    elsewhere = output.with_name("elsewhere")
    classify_into(Results(elsewhere), [inbox / NAMES[0]], Oracle(), limits=None)
    shutil.copytree(elsewhere, output, dirs_exist_ok=True)
    with pytest.raises(UsageError, match="one with 1 answers of its own"):
        merge_parts(output)
    assert len(rows(output)) == 1


def test_a_run_of_all_studies_into_a_merged_folder_is_refused(inbox, output):
    merge_parts(output)
    with pytest.raises(UsageError, match="merged answers of several parts"):
        classify_into(Results(output), [inbox], Oracle(), limits=None)


def test_a_folder_without_parts_is_told(tmp_path):
    with pytest.raises(UsageError, match="got no part"):
        parts_in(tmp_path)


def slurm(task, low=1, high=20, count=20, **more):
    names = {"ID": task, "MIN": low, "MAX": high, "COUNT": count, **more}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


@pytest.mark.parametrize(
    ("text", "environment", "part"),
    [
        ("3/20", {}, Part(3, 20)),
        ("3/20", slurm(7), Part(3, 20)),
        ("slurm", slurm(1), Part(1, 20)),
        ("slurm", slurm(20), Part(20, 20)),
        ("slurm", slurm(0, 0, 19), Part(1, 20)),
        ("slurm", slurm(7, 1, 9, 5, STEP=2), Part(4, 5)),
    ],
)
def test_a_part_is_read_from_the_argument_or_the_task_of_slurm(text, environment, part):
    assert Part.parse(text, environment) == part


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("0/20", {}),
        ("21/20", {}),
        ("3", {}),
        ("-1/3", {}),
        ("3/20/1", {}),
        ("slurm", {}),
        # One task again, or a list with gaps: the count is not that of the first array.
        ("slurm", slurm(3, 3, 3, 1)),
        ("slurm", slurm(7, 1, 7, 3)),
    ],
)
def test_what_names_no_part_is_refused_in_one_line(text, environment):
    with pytest.raises(UsageError, match="expected") as caught:
        Part.parse(text, environment)
    assert "\n" not in str(caught.value)


def test_an_array_of_jobs_on_the_command_line(inbox, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Network, "load", lambda self: Oracle())
    output = tmp_path / "out"
    codes = [
        main(["classify", str(inbox / NAMES[0]), "-o", str(output), "--part", f"{number}/2"])
        for number in (1, 2)
    ]
    # The study is in one of them; the other has nothing to do and has not failed.
    assert codes == [0, 0]
    assert "1 in other parts" in capsys.readouterr().out
    assert main(["merge", str(output)]) == 0
    assert "1 study: 1 classified" in capsys.readouterr().out
