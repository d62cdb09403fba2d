import pytest

from covidctnet.errors import CohortError, UsageError
from covidctnet.systems.deeptek_unet.transfer import (
    Shares,
    TransferPlan,
    TransferStage,
    divide_stages,
    read_plan,
)

PLAN = """
stages:
  - {name: radiographs, images: cxr/images.csv, epochs: 20}
  - {name: covid, images: ct/images.csv, learning_rate: 0.00005}
shares: {validation: 0.2, test: 0.1, seed: 3}
"""


def test_a_plan_is_read_from_one_file(tmp_path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    assert read_plan(tmp_path / "plan.yaml") == TransferPlan(
        (
            TransferStage("radiographs", "cxr/images.csv", epochs=20),
            TransferStage("covid", "ct/images.csv", learning_rate=5e-5),
        ),
        Shares(0.2, 0.1, 3),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: []", "got none"),
        ("stages: [{name: a, images: b}, {name: a, images: c}]", "got a, a"),
        ("stages: [{name: a}]", "got: TypeError"),
        ("stages: [{name: a, images: b, batch: 3}]", "got: TypeError"),
        ("stages: [a]", "a str where names with values"),
        ("- a", "a list where names with values"),
        ("", "a NoneType where names with values"),
        ("stages: [{name: a, images: b}]\nstage: []", "KeyError 'stage'"),
        ("stages: [{name: a, images: b, epochs: 0}]", "at least one epoch"),
        ("stages: [{name: a, images: b}]\nshares: {test: 1}", "expected a validation share"),
        ("a: [", "got: ParserError"),
        ("a: !!python/object/apply:os.getcwd []", "got: ConstructorError"),
    ],
)
def test_a_plan_that_says_something_else_is_refused_in_one_line(text, said, tmp_path):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_plan(tmp_path / "plan.yaml")
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_plan_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"the plan 'plan.yaml' cannot be read"):
        read_plan(tmp_path / "plan.yaml")


def test_a_patient_of_two_stages_is_on_one_side_in_both():
    patients = [f"patient {n}" for n in range(300)]
    shares = Shares(0.1, 0.2, seed=1)
    alone = divide_stages({"one": [(p, "") for p in patients[:200]]}, shares)
    both = divide_stages(
        {"one": [(p, "") for p in patients[:200]], "two": [(p, "") for p in patients[100:]]},
        shares,
    )
    assert all(both[p] == side for p, side in alone.items())
    counts = {side: list(both.values()).count(side) for side in ("train", "val", "test")}
    assert 180 < counts["train"] < 240 and 15 < counts["val"] < 45 and 40 < counts["test"] < 80


def test_a_side_given_in_one_stage_holds_in_all():
    sides = divide_stages({"one": [("a", "")], "two": [("a", "test"), ("b", "val")]}, Shares())
    assert sides == {"a": "test", "b": "val"}


def test_a_patient_who_changes_sides_between_stages_is_refused_without_being_named():
    stages = {"cxr": [("Smith", "train")], "ct": [("Smith", "test"), ("Jones", "test")]}
    with pytest.raises(CohortError, match="got 1 who change sides between cxr and ct") as caught:
        divide_stages(stages, Shares())
    assert "Smith" not in str(caught.value)
    with pytest.raises(CohortError, match="change sides within ct"):
        divide_stages({"ct": [("a", "train"), ("a", "val")]}, Shares())


def test_a_picture_without_patient_or_with_an_unknown_side_is_refused():
    with pytest.raises(CohortError, match="expected a patient for every picture"):
        divide_stages({"ct": [("", "train")]}, Shares())
    with pytest.raises(CohortError, match="expected train, val or test as split"):
        divide_stages({"ct": [("a", "training")]}, Shares())
