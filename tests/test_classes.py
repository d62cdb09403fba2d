"""Classes: ordered, named, the same object wherever they come from."""

import copy
import json
import pickle

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.errors import CohortError, UsageError

TWO = Classes(("Normal", "Pneumonia"), normal="Normal", aliases={"healthy": "Normal"})


def test_labels_are_reached_by_name_by_key_and_by_place():
    assert TWO.PNEUMONIA is TWO["pneumonia"] is TWO[1] is list(TWO)[1]
    assert (TWO.PNEUMONIA.key, TWO.PNEUMONIA.title, int(TWO.PNEUMONIA)) == (
        "pneumonia",
        "Pneumonia",
        1,
    )
    with pytest.raises(AttributeError, match="no class 'CAP'; the classes are Normal, Pneumonia"):
        _ = TWO.CAP


def test_every_class_but_the_normal_one_is_positive():
    assert TWO.normal_label is TWO.NORMAL
    assert TWO.positive == (TWO.PNEUMONIA,)
    assert CHEST_CT.positive == (CHEST_CT.COVID19, CHEST_CT.CAP)


def test_labels_are_numbers_for_arrays_and_titles_for_people():
    assert np.eye(3)[CHEST_CT.CAP].tolist() == [0, 0, 1]
    assert str(CHEST_CT.COVID19) == f"{CHEST_CT.COVID19}" == "Covid-19"
    assert json.dumps([CHEST_CT.CAP]) == "[2]"


@pytest.mark.parametrize("classes", [TWO, CHEST_CT])
def test_copies_and_pickles_give_the_same_labels(classes):
    for again in (copy.deepcopy(classes), pickle.loads(pickle.dumps(classes))):
        assert again == classes
        assert all(one is other for one, other in zip(again, classes, strict=True))


@pytest.mark.parametrize("text", ["Covid-19", "covid19", "COVID 19", "covid", " Covid_19 "])
def test_names_are_read_whatever_their_case_and_punctuation(text):
    assert CHEST_CT.parse(text) is CHEST_CT.COVID19


def test_other_names_and_unknown_ones():
    assert TWO.parse("Healthy") is TWO.NORMAL
    with pytest.raises(CohortError, match="unknown label 'CAP'; known labels are Normal, Pn"):
        TWO.parse("CAP")


@pytest.mark.parametrize(
    ("titles", "normal"),
    [(("A",), "A"), (("A", "a"), "A"), (("A", "B"), "C"), (("A", "-"), "A")],
)
def test_impossible_classes_are_refused(titles, normal):
    with pytest.raises(UsageError, match="expected"):
        Classes(titles, normal=normal)


def test_classes_are_equal_by_titles_and_normal_class():
    assert Classes(("Normal", "Pneumonia"), normal="Normal") == TWO
    assert Classes(("Normal", "Pneumonia"), normal="Pneumonia") != TWO
    assert isinstance(TWO[0], Label)
