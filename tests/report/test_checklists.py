import csv
import io

import numpy as np
import pytest

from covidctnet.evaluation.assess import assess
from covidctnet.evaluation.output import as_plain
from covidctnet.report.checklist_fillers import FILLERS
from covidctnet.report.checklist_items import CHECKLISTS, REFERENCES
from covidctnet.report.checklists import as_csv, as_html, as_markdown, fill, share_filled
from covidctnet.report.model_card import model_card
from covidctnet.report.run_facts import RunFacts
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import simulated
from tests.report.test_model_card import CARD

pytestmark = pytest.mark.usefixtures(few_draws.__name__)
RUN = RunFacts("Run | one", "", "2026-01-02")


def told(cases=None):
    found = assess(cases or simulated(24), rng=np.random.default_rng(0))
    extra = {"weights": "mine", "weights_digest": "0" * 12, "modality": "ct"}
    _, card = model_card(
        found, CARD, name="mine", digest="0" * 12, trained_on="phantoms", caveat=""
    )
    return extra | as_plain(found), card


def test_the_checklists_have_as_many_items_as_their_papers():
    """TRIPOD+AI has 27 items in 52 parts, CLAIM 44, MI-CLAIM 19 with its tier of sharing."""
    assert {name: len(items) for name, items in CHECKLISTS.items()} == {
        "TRIPOD+AI": 52,
        "CLAIM 2024": 44,
        "MI-CLAIM": 19,
    }
    for items in CHECKLISTS.values():
        numbers = [item.number for item in items]
        assert len(set(numbers)) == len(numbers)
    assert {n.number.rstrip("abcdefg") for n in CHECKLISTS["TRIPOD+AI"]} == {
        str(k) for k in range(1, 28)
    }
    assert [i.number for i in CHECKLISTS["CLAIM 2024"]] == [str(k) for k in range(1, 45)]


def test_every_item_that_a_run_may_answer_has_one_who_answers_it_and_none_is_left_over():
    named = {i.known for items in CHECKLISTS.values() for i in items if i.known}
    assert named == set(FILLERS)


def test_an_item_is_filled_only_where_the_run_knows():
    plain, card = told()
    with_card, without = fill(plain, card, []), fill(plain, {}, [])
    for name in CHECKLISTS:
        count = [sum(o.status == "filled" for o in lists[name]) for lists in (with_card, without)]
        assert count[0] > count[1] > 0
    by_number = {one.item.number: one for one in with_card["TRIPOD+AI"]}
    assert by_number["17"].status == "author"
    assert by_number["20b"].status == "author"  # there is no table of characteristics
    table = {one.item.number: one for one in fill(plain, card, ["tables/table-1.csv"])["TRIPOD+AI"]}
    assert (table["20b"].status, table["20b"].where) == ("partly", "tables/table-1.csv")


def test_training_data_and_commands_are_those_of_the_card():
    plain, card = told()
    items = {one.item.number: one for one in fill(plain, card, [])["CLAIM 2024"]}
    assert "40 synthetic patients (phantoms)" in items["7"].answer
    assert "covidctnet train-denoiser --work work" in items["25"].answer
    assert "best epoch" in items["26"].answer


def test_parts_and_networks_are_told_in_words_and_what_two_stages_share_once():
    plain, card = told()
    patients = {"train": {"CAP": 2, "Control": 3}, "external": {"CAP": 0, "Control": 5}}
    card = card | {
        "training": [
            {"stage": stage, "patients": patients} for stage in ("denoiser", "classifier")
        ],
        "architecture": {"denoiser": {"base": 6, "gates": "sigmoid"}},
    }
    items = {one.item.number: one for one in fill(plain, card, [])["TRIPOD+AI"]}
    assert items["12a"].answer.endswith(
        "Patients of denoiser, classifier: train 2 CAP, 3 Control; external 5 Control."
    )
    assert items["12c"].answer == "Networks: denoiser (base 6, gates sigmoid)."
    assert not any("{" in one.answer for one in items.values())


def test_flow_and_comparison_with_the_training_data_are_where_they_are_shown():
    plain, card = told()
    flow = [{"studies": 90}, {"studies": 24}, {"studies": 24}]
    described = {"split": {"groups": ["train", "test"], "patients": [60, 24]}}
    plain |= {"flow": flow, "patients_described": described, "out_of_distribution": None}
    plain |= {"generalisation_gap": None}
    before = {one.item.number: one for one in fill(plain, card, [])["TRIPOD+AI"]}
    assert [before[n].status for n in ("16", "20c", "10")] == ["author"] * 3
    files = ["figures/flow.svg", "tables/patients-by-split.csv", "tables/precision.csv"]
    lists = fill(plain, card, files)
    items = {one.item.number: one for one in lists["TRIPOD+AI"]}
    assert (items["20a"].where, items["10"].where) == (files[0], files[2])
    assert items["20a"].answer.startswith("90 studies in the cohort; ")
    for one in (items["16"], items["20c"], lists["CLAIM 2024"][35]):
        assert (one.status, one.where) == ("partly", files[1])
        assert "train (60), test (24)" in one.answer


def test_hospitals_of_the_external_test_are_named_apart_also_where_it_is_one():
    plain, card = told()
    line = {"trait": "site", "value": "Hospital C", "cells": [{"n": 0}, {"n": 5}]}
    split = {"groups": ["test", "external"], "patients": [24, 5], "lines": [line]}
    plain |= {"external": dict(plain), "patients_described": {"split": split}}
    items = {one.item.number: one for one in fill(plain, card, [])["TRIPOD+AI"]}
    assert items["6a"].answer.count("Hospital C") == 1
    assert "External test: Hospital C." in items["6a"].answer


def test_the_share_counts_what_is_filled_in_part_apart():
    plain, card = told()
    items = fill(plain, card, [])["MI-CLAIM"]
    words = share_filled(items)
    numbers = [int(word) for word in words.replace(",", "").split() if word.isdigit()]
    filled, whole, partly, author = numbers
    assert whole == 19 == filled + partly + author


def test_markdown_html_and_csv_hold_every_item_and_name_the_empty_slots():
    plain, card = told()
    lists = fill(plain, card, [])
    rows = list(csv.DictReader(io.StringIO(as_csv(lists))))
    assert len(rows) == 52 + 44 + 19
    for name, items in lists.items():
        text = as_markdown(name, items, RUN)
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        assert len(lines) == 1 + len(items)
        empty = sum(one.status == "author" for one in items)
        assert sum("TO DO by the author |" in line for line in lines) == empty
        assert "Run \\| one" in text
    page = as_html(lists, RunFacts("<b>", "", "2026-01-02"))
    assert "<b>" not in page
    assert page.count('class="author"') == sum(
        one.status == "author" for items in lists.values() for one in items
    )


def test_one_patient_of_one_class_fills_what_it_can():
    plain, card = told(simulated(1, failures=0))
    for items in fill(plain, card, []).values():
        assert all("nan" not in one.answer.lower() for one in items)


def test_every_checklist_says_whose_words_its_items_are_and_where_it_is_published():
    plain, card = told()
    lists = fill(plain, card, [])
    assert REFERENCES.keys() == lists.keys()
    page = as_html(lists, RUN)
    for name, items in lists.items():
        for text in (page, as_markdown(name, items, RUN)):
            assert "The wording of the items is ours" in text
            assert REFERENCES[name] in text


def test_nothing_is_claimed_of_the_program_behind_answers_made_elsewhere():
    """Its code, licence, kind and way with unfit scans are known to its author alone."""
    plain, _ = told()
    plain |= {"leakage": {"made_elsewhere": True, "scans_known_from_training": 0}}
    filled = [one for items in fill(plain, {}, []).values() for one in items]
    assert not [one.item.number for one in filled if "Apache" in one.answer]
    for known in ("code", "software", "quality", "kind"):
        assert {one.status for one in filled if one.item.known == known} == {"author"}
