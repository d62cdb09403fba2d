import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidctnet import surroundings
from covidctnet.cli import main
from covidctnet.errors import UsageError
from covidctnet.evaluation import calibration, intervals
from covidctnet.report.paper_figures import draw_all, files_of
from covidctnet.report.paper_tables import latex, read_rows
from covidctnet.run import paper
from covidctnet.run.paper import write_paper
from covidctnet.weights import load_weights
from tests.small import tiny_weights

SURE = {"Control": (0.8, 0.1, 0.1), "Covid-19": (0.1, 0.7, 0.2), "CAP": (0.2, 0.1, 0.7)}


def table(path, n=30, classes=tuple(SURE)):
    """Answers that were made elsewhere, right in most."""
    rng = np.random.default_rng(0)
    rows = ["study,patient,truth,p_control,p_covid19,p_cap,site"]
    for k in range(n):
        truth = classes[k % len(classes)]
        p = np.array(SURE[truth]) * rng.uniform(0.3, 1, 3)
        p = (p / p.sum()).round(4)
        p[0] = 1 - p[1] - p[2]
        told = ",".join(f"{v:.4f}" for v in p)
        rows.append(f"{k:012x},{k + 4096:012x},{truth},{told},site {k % 2} & co_1")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "BOOTSTRAP_DRAWS", 40)
        patch.setattr(calibration.error_by_chance, "__kwdefaults__", {"draws": 40})
        yield


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """An evaluation, the paper of it, and what the terminal said."""
    root = tmp_path_factory.mktemp("road")
    answers = table(root / "answers.csv")
    out, folder = root / "evaluation", root / "paper"
    flags = ["--name", "Three hospitals", "--contact", "a@example.org", "--paper", str(folder)]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = main(["evaluate", "--predictions", str(answers), "-o", str(out), *flags])
    assert code == 0
    return out, folder, told.getvalue()


@pytest.fixture
def evaluation(evaluated):
    return evaluated[0]


@pytest.fixture
def folder(evaluated):
    return evaluated[1]


def test_one_command_makes_figures_tables_and_checklists(evaluated):
    out, folder, told = evaluated
    assert re.search(r"TRIPOD\+AI: \d+ of 52 items filled", told)
    assert f"The page is {out / 'index.html'}." in told
    figures = {p.name for p in (folder / "figures").iterdir()}
    for name in ("roc", "precision-recall", "calibration", "decision", "confusion"):
        assert {f"{name}.svg", f"{name}.pdf", f"{name}.png"} <= figures
    tables = {p.stem for p in (out / "tables").glob("*.csv")}
    made = {p.name for p in (folder / "tables").iterdir()}
    assert {f"{n}.{kind}" for n in tables for kind in ("csv", "tex")} | {"tables.xlsx"} == made
    for page in (folder / "README.md", folder / "checklists.html", out / "index.html"):
        assert "Three hospitals" in page.read_text()
        assert "a@example.org" in page.read_text()
    assert json.loads((out / "evaluation.json").read_text())["run"]["name"] == "Three hospitals"


def test_pictures_have_300_dots_an_inch_and_fonts_travel_along(folder):
    with Image.open(folder / "figures" / "roc.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.5)
        assert picture.width > 900
    assert b"/FontFile2" in (folder / "figures" / "roc.pdf").read_bytes()
    svg = (folder / "figures" / "roc.svg").read_text()
    assert "<text" not in svg
    assert "font-family" not in svg


def test_the_same_figure_has_the_same_bytes(evaluation, folder):
    plain = json.loads((evaluation / "evaluation.json").read_text())
    curves = {"curves": {"risk_coverage": plain["curves"]["risk_coverage"]}}
    for kind, content in files_of(draw_all(curves)["risk-coverage"]).items():
        assert (folder / "figures" / f"risk-coverage.{kind}").read_bytes() == content


def test_a_paper_is_made_again_under_another_name(evaluation, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "draw_all", lambda *_: {})
    write_paper(evaluation, tmp_path / "again", name="Later")
    assert (tmp_path / "again" / "README.md").read_text().startswith("# Later\n")
    assert "a@example.org" in (tmp_path / "again" / "README.md").read_text()


def links_that_lead_nowhere(folder):
    found = []
    for page in folder.rglob("*.html"):
        for link in re.findall(r'href="([^"#]+)(?:#([\w-]+))?"', page.read_text()):
            target = page.parent / link[0]
            if not target.is_file() or (link[1] and f'id="{link[1]}"' not in target.read_text()):
                found.append((page.relative_to(folder).as_posix(), link))
    return found


def test_an_external_test_goes_into_the_paper_and_out_of_it_again(
    tmp_path, evaluation, monkeypatch
):
    """A folder that was made of another evaluation keeps none of its figures, tables and pages."""
    monkeypatch.setattr(paper, "files_of", lambda _: {"svg": b"<svg/>"})
    answers = table(tmp_path / "answers.csv", 36)
    head, *rows = answers.read_text().splitlines()
    split = [f"{row},{'external' if k >= 18 else 'test'}" for k, row in enumerate(rows)]
    answers.write_text("\n".join([f"{head},split", *split]) + "\n")
    out, folder = tmp_path / "evaluation", tmp_path / "paper"
    assert main(["evaluate", "--predictions", str(answers), "-o", str(out)]) == 0
    folder.mkdir()
    (folder / "notes.txt").write_text("of the author")
    write_paper(out, folder)
    assert not links_that_lead_nowhere(folder)
    made = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {
        "evaluation/external/index.html",
        "external-predictions.csv",
        "figures/external-roc.svg",
        "tables/external-figures.tex",
    } <= made
    assert "`tables/external-figures`: External test. Figures" in (folder / "README.md").read_text()
    write_paper(evaluation, folder)
    left = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert not [name for name in left if "external" in name]
    assert "notes.txt" in left and "tables/figures.tex" in left


def test_answers_in_the_paper_tell_no_traits_of_single_patients(evaluation, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "draw_all", lambda *_: {})
    own = tmp_path / "evaluation"
    shutil.copytree(evaluation, own)
    head, *rows = (own / "predictions.csv").read_text().splitlines()
    rows = [f"{row},{20 + k},F" for k, row in enumerate(rows)]
    (own / "predictions.csv").write_text("\n".join([f"{head},trait_age,trait_sex", *rows]) + "\n")
    write_paper(own, tmp_path / "paper")
    before, made = ((f / "predictions.csv").read_text() for f in (evaluation, tmp_path / "paper"))
    assert "trait_" not in made
    kept = [n for n in before.splitlines()[0].split(",") if not n.startswith("trait_")]
    assert made.splitlines()[0].split(",") == kept
    assert len(made.splitlines()) == len(before.splitlines())
    assert "without age, sex" in (tmp_path / "paper" / "README.md").read_text()


def test_no_file_outside_of_the_paper_folder_is_removed(evaluation, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "draw_all", lambda *_: {})
    folder, other = tmp_path / "paper", tmp_path / "other.txt"
    other.write_text("kept")
    folder.mkdir()
    names = ["../other.txt", str(other), "old.txt"]
    (folder / "files.json").write_text(json.dumps({"files": names}))
    (folder / "old.txt").write_text("of before")
    write_paper(evaluation, folder)
    assert other.read_text() == "kept"
    assert not (folder / "old.txt").exists()


def test_every_link_of_the_paper_folder_leads_somewhere(folder):
    assert not links_that_lead_nowhere(folder)


@pytest.mark.parametrize(("n", "classes"), [(12, ("Control", "CAP")), (1, ("CAP",))])
def test_two_classes_and_a_single_patient_still_make_figures(tmp_path, n, classes):
    answers = table(tmp_path / "answers.csv", n, classes)
    out = tmp_path / "evaluation"
    assert main(["evaluate", "--predictions", str(answers), "-o", str(out)]) == 0
    plain = json.loads((out / "evaluation.json").read_text())
    for figure in draw_all(plain).values():
        figure.canvas.draw()
    for file in (out / "tables").glob("*.csv"):
        assert latex(read_rows(file.read_text()), caption="c", label="l")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "has no evaluation.json", id="another-folder"),
        pytest.param("{", "cannot be read", id="damaged"),
        pytest.param("[1]", "cannot be read", id="another-json"),
    ],
)
def test_what_is_no_evaluation_is_refused(tmp_path, content, words, capsys):
    if content is not None:
        (tmp_path / "evaluation.json").write_text(content)
    assert main(["paper", str(tmp_path), "-o", str(tmp_path / "paper")]) == 2
    assert words in capsys.readouterr().err


def test_the_evaluation_itself_is_no_folder_for_the_paper(evaluation):
    with pytest.raises(UsageError, match="a folder of its own"):
        write_paper(evaluation, evaluation)


def test_a_missing_package_is_named_before_anything_is_evaluated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(surroundings, "find_spec", lambda name: None)
    answers = table(tmp_path / "answers.csv")
    flags = ["--predictions", str(answers), "-o", str(tmp_path / "e"), "--paper", "paper"]
    assert main(["evaluate", *flags]) == 2
    assert "pip install 'covidctnet[paper]'" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_a_name_of_two_lines_is_refused(tmp_path, capsys):
    answers = table(tmp_path / "answers.csv")
    flags = ["--predictions", str(answers), "-o", str(tmp_path / "e"), "--name", "a\nb"]
    assert main(["evaluate", *flags]) == 2
    assert "expected --name of one line" in capsys.readouterr().err


def test_no_figure_is_loaded_before_one_is_drawn():
    code = (
        "import sys, covidctnet.run.paper, covidctnet.commands.papers;"
        "sys.exit(bool({'matplotlib', 'openpyxl'} & sys.modules.keys()))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_the_weights_that_were_evaluated_travel_with_their_model_card(
    evaluation, tmp_path, monkeypatch
):
    monkeypatch.setattr(paper, "draw_all", lambda *_: {})
    weights = tiny_weights(tmp_path / "tiny")
    with pytest.raises(UsageError, match="expected the weights that were evaluated"):
        write_paper(evaluation, tmp_path / "paper", weights=weights)
    own = tmp_path / "evaluation"
    shutil.copytree(evaluation, own)
    plain = json.loads((own / "evaluation.json").read_text())
    plain["weights_digest"] = load_weights(weights).digest
    (own / "evaluation.json").write_text(json.dumps(plain))
    write_paper(own, tmp_path / "paper", weights=weights)
    copied = tmp_path / "paper" / "weights"
    assert load_weights(copied).digest == plain["weights_digest"]
    assert plain["weights_digest"] in (copied / "model-card.md").read_text()


def test_an_external_test_has_figures_of_its_own(evaluation, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "FORMATS", ("svg",))
    monkeypatch.setattr(paper, "files_of", lambda figure: {"svg": b"<svg/>"})
    own = tmp_path / "evaluation"
    shutil.copytree(evaluation, own)
    plain = json.loads((own / "evaluation.json").read_text())
    (own / "evaluation.json").write_text(json.dumps(plain | {"external": plain}))
    made = write_paper(own, tmp_path / "paper")
    assert {"roc", "external-roc"} <= set(made.figures)
    assert "External test. ROC curves" in (tmp_path / "paper" / "README.md").read_text()


def test_classes_stand_in_their_order_whoever_came_first():
    plain = {"classes": ["Control", "Covid-19", "CAP"]}
    affected = {"CAP": [3.0, 4.0], "Control": [1.0]}
    axes = draw_all(plain, affected)["affected-lung"].axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "Control\n(n = 1)",
        "CAP\n(n = 2)",
    ]


def test_the_flow_of_studies_is_a_figure_in_which_no_word_leaves_its_box():
    step = {"studies": 36, "patients": 35, "by_label": {"Control": 16, "Covid-19": 10, "CAP": 10}}
    why = "refused: the images are not what is wanted, as those of another part of the body are"
    flow = [
        {"step": "Cohort", **step, "left_out": {"to train": 7, why: 1}},
        {"step": "With an answer", **step, "left_out": {}},
    ]
    figure = draw_all({"flow": flow})["flow"]
    figure.canvas.draw()
    axes = figure.axes[0]
    words = [text for text in axes.texts if text.get_text()]
    assert {"Cohort", "36 studies of 35 patients", "8 studies left out", "7 to train"} <= {
        text.get_text() for text in words
    }
    boxes = [box.get_window_extent() for box in axes.patches if box.get_width() > 1]
    assert len(boxes) == 3
    for text in words:
        own = text.get_window_extent()
        assert any(b.x0 <= own.x0 and own.x1 <= b.x1 and b.y0 <= own.y0 and own.y1 <= b.y1
                   for b in boxes), text.get_text()  # fmt: skip
    assert all(a.y0 >= b.y1 or b.y0 >= a.y1 or a.x0 >= b.x1 or b.x0 >= a.x1
               for a in boxes for b in boxes if a is not b)  # fmt: skip
