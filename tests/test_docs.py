"""The pages tell what the source does: codes, flags, columns, options, presets, links."""

import ast
import re
import sys
from pathlib import Path

import pytest

import covidctnet
from covidctnet.classes import CHEST_CT
from covidctnet.commands import COMMANDS
from covidctnet.report.record import columns
from covidctnet.report.words import STATUS_WORDS

TREE = Path(__file__).resolve().parents[1]
DOCS = TREE / "docs"
CODE = re.compile(r"[A-Z]+(_[A-Z]+)*")
SOURCES = sorted((TREE / "covidctnet").rglob("*.py"))
PAGES = [
    page
    for page in [TREE / "README.md", TREE / "pipelines/README.md", *sorted(DOCS.rglob("*.md"))]
    if not {"_build", "measured"} & set(page.relative_to(TREE).parts)
]

if not DOCS.is_dir():
    pytest.skip("the pages are not here", allow_module_level=True)


@pytest.fixture(scope="module")
def generated():
    sys.path.insert(0, str(DOCS))
    try:
        import generated as module
    finally:
        sys.path.remove(str(DOCS))
    return module


def first_cells(page):
    """What stands in backticks in the first cell of every row of a page's tables."""
    return set(re.findall(r"^\| `([^`]+)`", (DOCS / page).read_text(), re.MULTILINE))


def constants(node):
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}


def codes_of(module):
    """Codes given to an error or a failure, and class attributes called `code`."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", "")
            place = {"StudyError": 0, "ChildError": 0, "Failure": 1}.get(name)
            if place is not None and len(node.args) > place:
                yield from constants(node.args[place])
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
            yield from constants(node.value)


def test_every_error_code_of_the_source_is_told_and_no_other():
    raised = {c for m in SOURCES for c in codes_of(m) if isinstance(c, str) and CODE.fullmatch(c)}
    documented = {cell for cell in first_cells("reference/errors.md") if CODE.fullmatch(cell)}
    assert "SLICE_GAP" in raised
    assert documented == raised


def test_every_error_that_stops_everything_is_told():
    names = {n for n in covidctnet.__all__ if n.endswith("Error")} - {"CovidCTNetError"}
    assert names - {"StudyError"} <= first_cells("reference/errors.md")


def test_every_flag_is_told_and_no_other():
    raised = set()
    package = TREE / "covidctnet"
    others = (
        package / "chest/gate.py",
        package / "radiograph/chest.py",
        package / "systems/covidctnet/predictor.py",
    )
    for module in [*(package / "io").rglob("*.py"), *others]:
        text = module.read_text()
        raised |= set(re.findall(r"(?:flags|names)\.add\(\"([a-z_]+)\"\)", text))
        raised |= set(re.findall(r"(?:return|=) \(\"([a-z_]+)\",\) if", text))
    page = (DOCS / "reference/results.md").read_text()
    table = page[page.index("## Flags") : page.index("## results.json")]
    documented = set(re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE))
    assert "lungs_cut" in raised
    assert documented == raised


def test_every_column_and_status_of_the_results_is_told():
    documented = first_cells("reference/results.md")
    assert set(columns(CHEST_CT)) <= documented
    assert set(STATUS_WORDS) <= documented


def test_every_public_name_is_told():
    page = (DOCS / "reference/api.md").read_text()
    documented = set(re.findall(r"auto\w+:: covidctnet\.(\w+)$", page, re.MULTILINE))
    assert documented == set(covidctnet.__all__) - {"__version__"}


def test_every_command_has_a_summary(generated):
    assert set(generated.commands()) == set(COMMANDS)


def test_options_are_told_with_their_defaults(generated):
    options = {option.name: option for option in generated.options("preprocess")}
    assert options["data"].default == "required"
    assert options["--settings.size SIZE"].default == "`240`"
    assert not any(name.startswith(("-h", "--config")) for name in options)


def test_the_table_of_presets_in_the_pipelines_tells_what_their_files_say(generated):
    text = (TREE / "pipelines/README.md").read_text()
    rows = re.findall(r"^\| ([a-z-]+) `([\w.]+)` \| (.*) \|$", text, re.MULTILINE)
    assert rows
    for command, name, cells in rows:
        files = [generated.preset_settings(preset, command)[name] for preset in generated.PRESETS]
        assert cells.split(" | ") == files, f"{command} {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(TREE).as_posix())
def test_every_command_on_the_page_is_there(page):
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    words = re.findall(r"(?:^    |`)covidctnet ([a-z][a-z-]*)(?: ([a-z]+))?", text, re.MULTILINE)
    shown = {f"{one} {two}" if f"{one} {two}" in COMMANDS else one for one, two in words}
    assert shown <= set(COMMANDS)
    made = re.findall(r"(?:^    |`)make ((?:[a-z][a-z-]*(?: +|`|$))+)", text, re.MULTILINE)
    assert {name.strip("`") for names in made for name in names.split()} <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(TREE).as_posix())
def test_every_link_on_the_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_every_generated_part_has_its_place_and_every_place_its_part(generated):
    marks = {name for page in PAGES for name in generated.MARK.findall(page.read_text())}
    assert marks == generated.MAKERS.keys()
