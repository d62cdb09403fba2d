"""Ids of a results folder: keyed, agreed on by all parts, and as they were in old folders."""

import shutil

import pytest

from covidctnet.cohort.key_table import read_key_table
from covidctnet.cohort.pseudonyms import KEY_FILE, PRIVATE
from covidctnet.errors import UsageError
from covidctnet.io import find_studies
from covidctnet.report import Results
from covidctnet.run.classify import classify_into, ids_of_results
from covidctnet.run.parts import Part, merge_parts
from tests.io.series import uid, write
from tests.run.test_classify import Oracle

NAMES = [f"patient{number}" for number in range(5)]


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    root = tmp_path_factory.mktemp("ids") / "inbox"
    for name in NAMES:
        write(root / name, study=name, patient=name)
    return root


def answer(inbox, output, part=None, key=None):
    results = Results(part.folder(output) if part else output)
    counts = classify_into(
        results,
        [inbox],
        Oracle(),
        limits=None,
        part=part,
        ids=ids_of_results(output, key),
        ids_folder=output,
    )
    return results, counts


def test_ids_are_keyed_and_a_second_run_asks_nobody_again(inbox, tmp_path):
    first, _ = answer(inbox, tmp_path / "out")
    plain = {study.id for study in find_studies(inbox)}
    ids = {record.study for record in first.records}
    assert len(ids) == 5 and not {one[1:] for one in ids} & plain
    assert all(one[0] == "s" for one in ids)
    again, counts = answer(inbox, tmp_path / "out")
    assert counts.earlier == 5 and counts.gone == 0
    assert {record.study for record in again.records} == ids
    rows = read_key_table(tmp_path / "out")
    assert rows.keys() == ids
    assert {row.study_uid for row in rows.values()} == {uid(name) for name in NAMES}
    assert {row.patient_id for row in rows.values()} == set(NAMES)
    assert {row.given_id for row in rows.values()} == plain
    for file in ("index.html", "results.csv", "results.json", "ids.json"):
        text = (tmp_path / "out" / file).read_text()
        assert not any(one in text for one in plain)
    other, _ = answer(inbox, tmp_path / "other")
    assert not {record.study for record in other.records} & ids
    same, _ = answer(inbox, tmp_path / "same", key=tmp_path / "out")
    assert {record.study for record in same.records} == ids


def test_parts_agree_on_one_key_and_so_does_what_is_merged(inbox, tmp_path):
    output = tmp_path / "out"
    # Both have looked for a key before either has written one, as jobs of an array do.
    drafts = [ids_of_results(output) for _ in range(2)]
    for number, ids in enumerate(drafts, 1):
        part = Part(number, 2)
        classify_into(
            Results(part.folder(output)),
            [inbox],
            Oracle(),
            limits=None,
            part=part,
            ids=ids,
            ids_folder=output,
        )
    merged = merge_parts(output)
    kept = ids_of_results(output)
    assert {r.study for r in merged.records} == {kept.study(s.id) for s in find_studies(inbox)}
    assert read_key_table(output).keys() == {record.study for record in merged.records}
    # Nothing is asked twice.
    _, counts = answer(inbox, output, part=Part(1, 2))
    assert counts.earlier == sum(counts.by_status.values())


def test_a_results_folder_of_before_keys_keeps_its_ids_and_its_answers(inbox, tmp_path):
    output = tmp_path / "out"
    classify_into(Results(output), [inbox], Oracle(), limits=None)
    plain = {study.id for study in find_studies(inbox)}
    results, counts = answer(inbox, output)
    assert counts.earlier == 5
    assert {record.study for record in results.records} == plain
    assert not (output / PRIVATE).exists()
    parts = tmp_path / "parts"
    old, new = sorted((Part(1, 2), Part(2, 2)), key=lambda part: not any(map(part.has, plain)))
    classify_into(Results(old.folder(parts)), [inbox], Oracle(), limits=None, part=old)
    answer(inbox, parts, part=new)
    assert {record.study for record in merge_parts(parts).records} == plain


def test_a_results_folder_that_lost_its_key_is_not_continued_under_other_ids(inbox, tmp_path):
    output = tmp_path / "out"
    first, _ = answer(inbox, output)
    shutil.move(output / PRIVATE, tmp_path / "safe")
    with pytest.raises(UsageError, match=f"expected the key of the ids in {PRIVATE}/{KEY_FILE}"):
        answer(inbox, output)
    # What was shared is complete without it.
    assert Results(output).records == first.records
    _, counts = answer(inbox, output, key=tmp_path / "safe" / KEY_FILE)
    assert counts.earlier == 5
