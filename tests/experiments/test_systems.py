"""The benchmark of all systems, with stand-ins for the commands that draw, train and answer."""

import csv
import json
import math
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.pseudonyms import FORMER
from covidctnet.errors import UsageError
from covidctnet.slicewise.table import read_images
from tests.evaluation.few_draws import few_draws
from tests.io import series
from tests.radiograph.pictures import radiograph, write_png

run = pytest.importorskip("pipelines.experiments.systems.run", reason="the pipelines are not here")
from pipelines.experiments.systems import archives, page  # noqa: E402
from pipelines.experiments.systems.answers import COVID_OR_REST, Answers  # noqa: E402
from pipelines.experiments.systems.plan import Division, read_plan  # noqa: E402

pytestmark = pytest.mark.usefixtures(few_draws.__name__)
SITES = ("amber", "birch", "unseen-a")
PLAN = """
cohort:
  patients: 9
  seed: 0
  scanners: [amber, birch, unseen-a]
  unseen: [unseen-a]
  matrix: 32
  spacing_mm: 8
  radiograph_size: 64
division: {validation: 0.2, test: 0.3, denoiser_controls: 0.5, seed: 0}
timed: 1
entrants:
  covidctnet:
    system: covidctnet
    steps: ["preprocess {scans_denoiser} -o {work}", "train-denoiser --work {work}"]
  deeppneumonia:
    system: deeppneumonia
    steps: ["preprocess {scans} -o {work}", "train deeppneumonia classifier --work {work}"]
  deeppneumonia_plain:
    system: deeppneumonia
    sister_of: deeppneumonia
    steps: ["train deeppneumonia classifier --model.network plain --work {work}"]
  xray_vgg16:
    system: xray_vgg16
    steps: ["train xray_vgg16 classifier --work {work} --data.images {radiographs}"]
"""


def phantoms(root, count):
    """What `covidctnet phantom --radiographs` leaves, of small boxes."""
    scans = [("study", "patient", "label", "site", "lesions")]
    pictures = [("file", "patient", "label", "source")]
    for label in CHEST_CT:
        for number in range(count):
            name, site = f"{label.key}-0-{number:04d}", SITES[number % 3]
            home = root / label.title / name

            def change(ds, index, site=site):
                ds.SpacingBetweenSlices = {"amber": 5, "birch": 2}.get(site, 8)
                ds.ConvolutionKernel = site[0].upper()

            rng = np.random.default_rng([int(label), number])
            scan = rng.integers(-900, 100, (3, 40, 40)).astype(np.int16)
            affine = series.an_affine((5.0, 2.0, 2.0))
            series.write(home, scan, affine=affine, study=name, patient=name, change=change)
            truth = root / "truth" / name
            truth.mkdir(parents=True)
            (truth / "lesions.nii.gz").write_bytes(b"mask")
            share = 0.0 if label is CHEST_CT.CONTROL else 2.0 * number
            found = {"ground_glass_percent": share, "consolidation_percent": share / 2}
            (truth / "phantom.json").write_text(json.dumps({"findings": found}))
            file = f"{label.title}/{name}.png"
            write_png(root / "radiographs" / file, radiograph(80, seed=100 * int(label) + number))
            pictures.append((file, name, label.title, site))
            scans.append(
                (f"{label.title}/{name}", name, label.title, site, f"truth/{name}/lesions.nii.gz")
            )
    for file, rows in ((root / "cohort.csv", scans), (root / "radiographs/images.csv", pictures)):
        with file.open("w", newline="") as out:
            csv.writer(out).writerows(rows)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "phantoms"
    phantoms(root, 9)
    return root


class Commands:
    """Stands in for the command line: does what each command leaves, and remembers it."""

    def __init__(self, drawn):
        self.drawn = drawn
        self.called, self.fails_at, self.code = [], "", 143

    def __call__(self, words):
        self.called.append(words)
        if self.fails_at and self.fails_at in " ".join(words):
            return self.code
        options = dict(pairwise(words))
        if words[0] == "phantom":
            shutil.copytree(self.drawn, options["-o"])
        elif words[0] == "preprocess":
            work = Path(options["-o"])
            (work / "preprocessed").mkdir(parents=True, exist_ok=True)
            (work / "splits.json").write_text(work.name)
        elif words[0].startswith("train"):
            work = Path(options["--work"])
            is_two = "xray" in work.name
            titles = ["Non-Covid", "Covid-19"] if is_two else list(CHEST_CT.titles)
            (work / "weights").mkdir(parents=True, exist_ok=True)
            card = {"classes": {"titles": titles, "normal": titles[0]}}
            (work / "weights" / "card.json").write_text(json.dumps(card))
        else:
            self.answer(Path(options["--data"]), Path(options["-o"]))
        return 0

    def answer(self, data, output):
        """Some patients right, some wrong, one without an answer."""
        is_two = data.name.startswith("radio")
        table = data / ("images.csv" if is_two else "cohort.csv")
        keys = ["noncovid", "covid19"] if is_two else [label.key for label in CHEST_CT]
        output.mkdir(parents=True, exist_ok=True)
        with table.open() as file, (output / "predictions.csv").open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["patient", "code", *(f"p_{key}" for key in keys)])
            for place, row in enumerate(csv.DictReader(file)):
                label = CHEST_CT.parse(row["label"])
                right = int(label is CHEST_CT.COVID19) if is_two else int(label)
                p = np.full(len(keys), 0.2 / (len(keys) - 1))
                p[(right + (place % 5 == 4)) % len(keys)] = 0.8
                gone = place == 0 and is_two
                writer.writerow(
                    [FORMER.patient(row["patient"]), "NOT_CHEST" if gone else ""]
                    + ([""] * len(keys) if gone else [f"{value:.6f}" for value in p])
                )


@pytest.fixture
def commands(monkeypatch, drawn):
    made = Commands(drawn)
    monkeypatch.setattr(run, "covidctnet", made)

    def cost(self, entrant):
        told = {"parameters": 1234567, "patients": 1, "seconds": 2.5, "peak_mib": 700.0}
        file = self.folder / "cost" / f"{entrant.name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({**told, "threads": 1}))

    monkeypatch.setattr(run.Benchmark, "_cost", cost)
    return made


@pytest.fixture
def plan(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    return file


def run_it(folder, plan, *more):
    return run.main([str(folder), "--plan", str(plan), "--output", str(folder) + ".md", *more])


def test_from_nothing_to_one_page(commands, plan, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run_it(folder, plan) == 0, capsys.readouterr().err
    said = (tmp_path / "run.md").read_text()
    # What was not reached is said first, in the first lines.
    first = said.partition("# One benchmark")[0]
    assert "deeppneumonia (AUC" in first and "its sister deeppneumonia_plain" in first
    assert "chance" in first and "shortcut baseline of radiographs" in first
    is_missed = [line.startswith("- **Not reached:**") for line in first.strip().splitlines()]
    assert is_missed == sorted(is_missed, reverse=True)
    for heading in (
        "## Three classes",
        "## Covid-19 against the rest",
        "## Paired tests",
        "## By lesion volume",
        "## By slice distance, kernel and site",
        "## Time, memory, parameters",
        "## What the papers claim",
    ):
        assert heading in said
    assert "1,234,567" in said and "2.50 (n=1, 1 threads)" in said
    assert "xray_vgg16 gave no answer to 1 patients (NOT_CHEST)" in said
    assert "corrected for 10 tests (Holm)" in said  # six pairs, and four with a baseline
    assert "n=57" in said and "CovidCTNet paper, hold-out" in said and "n=16" in said
    assert "| site | amber: A, 5 mm |" in said
    assert "| site seen in training | no |" in said and "nan" not in said.replace("entrant", "")


def test_a_run_that_was_killed_goes_on_where_it_was(commands, plan, tmp_path, capsys):
    folder = tmp_path / "run"
    commands.fails_at = "train deeppneumonia classifier --work"
    assert run_it(folder, plan) == 143
    done = len(commands.called)
    commands.fails_at = ""
    assert run_it(folder, plan) == 0
    again = [words[0] for words in commands.called[done:]]
    # Neither phantoms nor what was trained before; the training that broke off comes first.
    assert again == ["train", "evaluate", "train", "evaluate", "train", "evaluate"]
    done = len(commands.called)
    page_before = (tmp_path / "run.md").read_text()
    assert run_it(folder, plan) == 0
    assert len(commands.called) == done
    assert (tmp_path / "run.md").read_text() == page_before


def test_a_command_that_fails_ends_the_run_in_one_line(commands, plan, tmp_path, capsys):
    commands.fails_at, commands.code = "train-denoiser", 2
    assert run_it(tmp_path / "run", plan) == 2
    assert "covidctnet train-denoiser ended with 2" in capsys.readouterr().err
    assert not (tmp_path / "run.md").exists()


def test_an_entrant_that_is_trained_otherwise_begins_again_and_the_others_stay(
    commands, plan, tmp_path
):
    folder = tmp_path / "run"
    assert run_it(folder, plan) == 0
    (folder / "work" / "xray_vgg16" / "old.ckpt").write_text("of another training")
    plan.write_text(PLAN.replace("--data.images", "--model.network x --data.images"))
    done = len(commands.called)
    assert run_it(folder, plan) == 0
    assert [words[0] for words in commands.called[done:]] == ["train", "evaluate"]
    assert not (folder / "work" / "xray_vgg16" / "old.ckpt").exists()


def test_another_cohort_is_refused_in_the_same_folder(commands, plan, tmp_path, capsys):
    assert run_it(tmp_path / "run", plan) == 0
    assert run_it(tmp_path / "run", plan, "--patients", "12") == 2
    assert "another benchmark of systems" in capsys.readouterr().err


def test_all_entrants_learn_from_the_same_patients_and_none_from_those_held_back(
    commands, plan, tmp_path
):
    folder = tmp_path / "run"
    assert run_it(folder, plan) == 0
    people = archives.read_patients(folder / "archives")
    tested = {p.name for p in people.values() if p.split == "test"}
    assert {p.name for p in people.values() if p.site == "unseen-a"} < tested
    scans = read_cohort(folder / "archives" / "scans")
    apart = read_cohort(folder / "archives" / "scans_denoiser")
    pictures = read_images(folder / "archives" / "radiographs", CHEST_CT)
    learning = {e.patient: e.split for e in scans}
    assert learning == {i.patient: i.split for i in pictures} and not tested & set(learning)
    for entry in apart:
        is_apart = str(entry.split).startswith("denoiser")
        assert entry.split == learning[entry.patient] or (
            is_apart and entry.label is CHEST_CT.CONTROL and learning[entry.patient] == "train"
        )
    assert {e.split for e in apart} == {"train", "val", "denoiser_train", "denoiser_val"}
    for name, read in (("scans_test", read_cohort), ("radiographs_test", None)):
        there = folder / "archives" / name
        held = read(there) if read else read_images(there, CHEST_CT)
        assert {one.patient for one in held} == tested
    # Links to the same bytes: the cohort takes no room twice.
    (first,) = [e for e in scans if e.patient == scans[0].patient]
    assert first.study.files[0].stat().st_nlink == 3
    assert dcmread(first.study.files[0]).PatientID == first.patient


def test_the_division_depends_on_names_and_seed_alone():
    division = Division(0.2, 0.3, 0.5, 0)
    names = [f"p{number}" for number in range(20)]
    assert division.splits(names) == division.splits(names[::-1])
    assert Division(0.2, 0.3, 0.5, 1).splits(names) != division.splits(names)
    counts = list(division.splits(names).values())
    assert (counts.count("test"), counts.count("val"), counts.count("train")) == (6, 4, 10)


def answers(name, scores, labels):
    patients = {
        f"{place:012d}": archives.Patient(
            f"p{place}",
            label,
            "amber",
            "test",
            "test",
            1.0 + place,
            {"slice_mm": 5.0, "kernel": "K"},
        )
        for place, label in enumerate(labels)
    }
    rows = np.column_stack([1 - scores, scores])
    return Answers(name, COVID_OR_REST, patients, rows, {})


def test_a_sister_that_is_better_is_said_in_the_first_line(plan):
    labels = [CHEST_CT.COVID19, CHEST_CT.CAP] * 20
    good = np.array([0.9, 0.1] * 20)
    rng = np.random.default_rng(0)
    weak = np.clip(good + rng.normal(0, 0.9, 40), 0, 1)
    of = read_plan(plan, {}).only(["deeppneumonia", "deeppneumonia_plain"])
    for network, sister, is_good in ((weak, good, False), (good, weak, True)):
        both = {
            "deeppneumonia": answers("deeppneumonia", network, labels),
            "deeppneumonia_plain": answers("deeppneumonia_plain", sister, labels),
        }
        first, *rest = page.verdicts(of, both, {})
        line = next(x for x in (first, *rest) if "as good as its sister" in x)
        assert ("**Not reached:**" in line) is not is_good
        assert is_good or line is first


def test_three_classes_become_covid_19_against_the_sum_of_the_others():
    patients = answers("x", np.zeros(2), [CHEST_CT.COVID19, CHEST_CT.CONTROL]).patients
    three = Answers("x", CHEST_CT, patients, np.array([[0.3, 0.4, 0.3], [0.6, 0.3, 0.1]]), {})
    found = three.predicted()
    np.testing.assert_allclose(found.probabilities, [[0.6, 0.4], [0.7, 0.3]])
    assert found.truth.tolist() == [1, 0] and three.has_three
    truths = [case.truth.title for case in three.cases(COVID_OR_REST)]
    assert truths == ["Covid-19", "Rest"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("unseen: [unseen-a]", "unseen: [mars]", "expected unseen scanners out of amber, birch"),
        ("validation: 0.2", "validation: 0.8", "expected shares between 0 and 1"),
        ("sister_of: deeppneumonia", "sister_of: nobody", "expected nobody before its sister"),
        ("timed: 1", "timed: 0", "a patient or more to time, got 4 and 0"),
        ("cohort:", "people:", r"'plan.yaml' is none \(KeyError: 'cohort'\)"),
        ("seed: 0\n  scanners", "sed: 0\n  scanners", r"is none \(TypeError"),
        ("entrants:", "entrants: [", "is none"),
    ],
)
def test_a_plan_that_is_none_is_refused_in_one_line(plan, tmp_path, capsys, old, new, said):
    plan.write_text(PLAN.replace(old, new, 1))
    with pytest.raises(UsageError, match=said) as caught:
        read_plan(plan, {})
    assert "\n" not in str(caught.value)
    assert run_it(tmp_path / "run", plan) == 2


def test_too_few_patients_are_refused_before_anything_is_trained(plan):
    with pytest.raises(UsageError, match=r"got 2 of one class at known scanners\. Draw more"):
        read_plan(plan, {}).division.splits(["a", "b"])
    with pytest.raises(UsageError, match="expected three Controls to learn from"):
        read_plan(plan, {}).division.denoisers(["a", "b"])


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_the_presets_name_commands_and_stages_that_there_are(preset):
    of = read_plan(Path(run.__file__).parent / f"{preset}.yaml", {})
    assert of.cohort.patients >= 60 and len(of.cohort.scanners) >= 6 and of.cohort.unseen
    assert {e.system for e in of.entrants} == {
        "covidctnet",
        "resnet50_slices",
        "deeptek_unet",
        "deeppneumonia",
        "xray_vgg16",
    }
    for entrant in of.entrants:
        for step in entrant.steps:
            words = step.split()
            if words[0] == "train":
                assert words[1] == entrant.system and entrant.known.stage(words[2])
            if words[0].startswith("train"):
                assert "--ckpt_path last" in step  # or a killed run would begin again
    assert not math.isnan(of.division.test)


def test_the_memory_of_an_answer_is_that_of_its_own_process():
    code = "from pipelines.experiments.systems.memory import peak_mib; print(peak_mib())"
    large = np.ones(2**26)  # half a GiB, which a child starts from
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert large[0] and 3 < float(done.stdout) < 100
