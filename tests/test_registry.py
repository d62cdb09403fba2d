"""Systems are found by folder and by entry point, and one that is broken stops no other."""

from importlib.metadata import EntryPoint

import pytest

from covidctnet import registry, systems
from covidctnet.classes import Classes
from covidctnet.contract import Stage, System
from covidctnet.errors import UsageError
from covidctnet.registry import find_system, system_names


def a_system(name="toy", **more):
    return System(
        name=name,
        title="Toy",
        modality="ct",
        classes=Classes(("Normal", "Ill"), normal="Normal"),
        networks=frozenset({"classifier"}),
        check=lambda name, card: None,
        deciding=dict,
        build=lambda kind, architecture: None,
        weights=lambda: None,
        load=lambda weights, how: None,
        **more,
    )


TOY = a_system()
OTHER_NAME = a_system("other")
NOT_A_SYSTEM = 3


@pytest.fixture
def announce(monkeypatch):
    """Entry points of other packages."""

    def put(**points):
        entries = [EntryPoint(n, v, registry.GROUP) for n, v in points.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: entries)

    return put


def test_the_shipped_systems_are_found_without_being_listed():
    assert "covidctnet" in system_names()
    assert find_system("covidctnet").title == "CovidCTNet"


def test_another_package_adds_a_system_by_an_entry_point(announce):
    announce(toy="tests.test_registry:TOY")
    assert {"toy", "covidctnet"} <= set(system_names())
    assert find_system("toy") is TOY


def test_an_unknown_system_is_named_with_those_that_there_are():
    with pytest.raises(UsageError, match=r"no system named 'toy'; the systems are .*covidctnet"):
        find_system("toy")


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("no_such_module:X", r"the system toy cannot be imported \(ModuleNotFoundError"),
        ("tests.test_registry:NOTHING", r"the system toy cannot be imported \(AttributeError"),
        ("tests.test_registry:NOT_A_SYSTEM", "expected a System named toy, got int"),
        ("tests.test_registry:OTHER_NAME", "expected a System named toy, got one named other"),
    ],
)
def test_a_broken_system_is_told_in_one_line_and_the_others_work(announce, point, said):
    announce(toy=point)
    with pytest.raises(UsageError, match=said) as caught:
        find_system("toy")
    assert "\n" not in str(caught.value)
    assert find_system("covidctnet").name == "covidctnet"


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("a_missing", "import no_such_module", "ModuleNotFoundError"),
        ("a_syntax", "SYSTEM = (", "SyntaxError"),
        ("an_empty", "", "AttributeError"),
        ("a_leaving", "raise SystemExit(3)", "SystemExit: 3"),
        ("a_long", "raise ImportError('one\\ntwo')", "ImportError: one two"),
    ],
)
def test_a_folder_that_cannot_be_imported_is_told_in_one_line_and_the_others_work(
    tmp_path, monkeypatch, name, code, reason
):
    (tmp_path / "covidctnet").symlink_to(registry._FOLDER / "covidctnet")
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(code)
    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])
    assert set(system_names()) == {"covidctnet", name}
    with pytest.raises(
        UsageError, match=f"the system {name} cannot be imported .{reason}"
    ) as caught:
        find_system(name)
    assert "\n" not in str(caught.value)
    assert find_system("covidctnet").name == "covidctnet"


def test_two_systems_of_one_name_are_refused_and_the_others_work(announce):
    announce(covidctnet="tests.test_registry:TOY")
    with pytest.raises(UsageError, match="there are 2 systems named covidctnet: expected one"):
        find_system("covidctnet")
    announce(toy="tests.test_registry:TOY")
    assert find_system("covidctnet").name == "covidctnet"


@pytest.mark.parametrize("name", ["Toy", "a-b", "", "../x", "9a"])
def test_names_that_make_no_folder_and_no_module_are_refused(name):
    with pytest.raises(UsageError, match="expected a system's name"):
        a_system(name)


def test_stages_have_names_of_their_own_and_are_found_by_them():
    stage = Stage("net", "a network", lambda: None)
    assert a_system(stages=(stage,)).stage("net") is stage
    with pytest.raises(UsageError, match="the system toy has no stage 'x'; its stages: net"):
        a_system(stages=(stage,)).stage("x")
    with pytest.raises(UsageError, match="stages with names of their own, got net, net"):
        a_system(stages=(stage, stage))
