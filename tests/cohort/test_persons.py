"""Whether patients of a cohort are the persons that headers name."""

import pytest

from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.persons import (
    ToldApart,
    find_persons,
    in_words,
    in_words_shared,
    owners_of,
)
from tests.io.series import write


def cohort(root, *rows):
    """Scans of (patient, label, site, PatientID, name, birth)."""
    lines = ["study,patient,label,site"]
    for number, (patient, label, site, patient_id, name, birth) in enumerate(rows):

        def change(ds, _, patient_id=patient_id, name=name, birth=birth):
            ds.PatientID, ds.PatientName, ds.PatientBirthDate = patient_id, name, birth

        write(root / f"scan{number}", study=f"study {number}", change=change)
        lines.append(f"scan{number},{patient},{label},{site}")
    (root / "cohort.csv").write_text("\n".join(lines) + "\n")
    found = read_cohort(root)
    return find_persons(found, owners_of(found))


def others(count=3):
    return [(f"p{n}", "CAP", "", f"71{n}", f"Roe^{n}", "") for n in range(count)]


def test_one_person_under_two_patients_is_found_and_named_by_ids_alone(tmp_path):
    persons = cohort(
        tmp_path,
        ("one", "Control", "", "4711", "Doe^Jane", "19600101"),
        ("two", "CAP", "", "4711 ", "DOE^JANE^", ""),
        *others(),
    )
    (found,) = persons.shared
    assert {entry.patient for entry in found.studies} == {"one", "two"}
    text = in_words_shared(persons.shared)
    assert "(patient one" in text and "(patient two" in text
    assert "4711" not in text and "Doe" not in text
    assert persons.told_apart.shared == 1


@pytest.mark.parametrize("constant", ["ANON", "Anonymous", "", "0000", "XXXX", "^", "No_ID", "p"])
def test_what_anonymisers_write_is_nobody(tmp_path, constant):
    rows = [(f"p{n}", "CAP", "", constant, constant, "") for n in range(4)]
    persons = cohort(tmp_path, *rows)
    assert not persons.shared and not persons.mixed and not persons.unsure
    assert persons.told_apart.with_id == 0
    assert "No DICOM PatientID could confirm it" in persons.told_apart.words


def test_a_constant_of_one_site_is_nobody_and_the_other_site_is_checked(tmp_path):
    there = [(f"q{n}", "CAP", "there", "HOSPITAL", "HOSPITAL", "") for n in range(5)]
    here = [(p, label, "here", *rest) for p, label, _, *rest in others()]
    twice = [("a", "CAP", "here", "4711", "Doe", ""), ("b", "CAP", "here", "4711", "Doe", "")]
    persons = cohort(tmp_path, *there, *here, *twice)
    (found,) = persons.shared
    assert {entry.patient for entry in found.studies} == {"a", "b"}


@pytest.mark.parametrize(
    ("one", "two", "kind"),
    [
        # Hospitals count from 1, and anonymisers take the names.
        (("here", "1", "ANON", ""), ("there", "1", "ANON", ""), "unsure"),
        (("here", "1", "ANON", ""), ("here", "1", "ANON", ""), "shared"),
        (("", "1", "", ""), ("", "1", "", ""), "shared"),
        (("here", "1", "Doe^Jane", ""), ("there", "1", "Doe^Jane", ""), "shared"),
        (("here", "1", "Doe^Jane", ""), ("here", "1", "Poe^Edgar", ""), "unsure"),
        # She married.
        (("", "1", "Doe^Jane", "19600101"), ("", "1", "Poe^Jane", "19600101"), "shared"),
    ],
)
def test_one_number_is_one_person_unless_names_or_sites_differ(tmp_path, one, two, kind):
    rows = [(f"patient{n}", "CAP", *row) for n, row in enumerate((one, two))]
    persons = cohort(tmp_path, *rows, *others())
    assert [len(persons.shared), len(persons.unsure)] == [kind == "shared", kind == "unsure"]


def test_a_batch_that_became_one_patient_is_told_loudly(tmp_path):
    batch = [("batch", "CAP", "", f"8{n}", f"Roe^{n}", "") for n in range(7)]
    persons = cohort(tmp_path, *batch, *others())
    (found,) = persons.mixed
    assert found.what == "one patient with 7 PatientIDs"
    (line,) = in_words(persons)
    assert (
        "patient batch holds several PatientIDs: one patient with 7 PatientIDs, in 7 studies"
        in line
    )
    assert "1 patient holds several PatientIDs" in persons.told_apart.words
    assert ToldApart.from_dict(persons.told_apart.to_dict()) == persons.told_apart


def test_scans_without_headers_are_told_apart_by_their_folders(tmp_path):
    from tests.small import with_masks

    persons_of = read_cohort(with_masks(tmp_path, {}))
    assert find_persons(persons_of, owners_of(persons_of)).told_apart.with_id == 2
    (tmp_path / "cohort.csv").unlink()
    for folder in ("Control", "CAP"):
        for file in (tmp_path / folder).rglob("*.dcm"):
            file.write_bytes(b"")
    # A study of damaged files has no owner, and nothing breaks.
    damaged = read_cohort(tmp_path)
    told = find_persons(damaged, owners_of(damaged)).told_apart
    assert told.with_id == 0
    assert told.by == "the folders and files of the archive, one a patient"
