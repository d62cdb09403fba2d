"""A cohort drafted from an export and a table, and every way in which the two can disagree."""

import csv
import datetime
import zipfile

import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.cohort import label_table, sheet
from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.draft import draft_cohort
from covidctnet.cohort.label_table import read_sheet
from covidctnet.errors import CohortError, UsageError
from tests.cohort.exported import export, good_rows, one_study, write_csv, write_xlsx


@pytest.fixture
def archive(tmp_path):
    return export(tmp_path / "export")


def drafted(archive, table=None, **options):
    return draft_cohort(archive, archive.parent / "cohort.csv", table=table, **options)


def rows_of(draft):
    head, *rows = draft.rows
    return [dict(zip(head, row, strict=True)) for row in rows]


def said(draft, kind="mistake"):
    return [str(one) for one in draft.mistakes if one.kind == kind]


@pytest.mark.parametrize("flat", [True, False])
def test_an_export_becomes_rows_of_what_its_headers_say(tmp_path, flat):
    draft = drafted(export(tmp_path / "export", flat=flat))
    rows = {row["patient"]: row for row in rows_of(draft)}
    first = rows["0070"]
    assert len(rows) == draft.studies == 6
    assert first["study"] == ("export" if flat else "export/p0/ct")
    assert (first["accession"], first["site"], first["sex"]) == ("0900", "Klinik A", "F")
    assert (first["age"], first["scanner"], first["kernel"]) == ("70", "GE Revolution", "B30f")
    assert first["label"] == ""
    assert not draft.mistakes


def test_a_draft_holds_no_name_and_no_date(archive):
    text = "\n".join(",".join(row) for row in drafted(archive).rows)
    for secret in ("Canary", "Eve", "2020031", "1950", "101500"):
        assert secret not in text


def test_studies_of_a_patient_are_in_the_order_of_their_dates(tmp_path):
    for n, day in enumerate(["20200305", "20200101", "20200210"]):
        one_study(tmp_path / "export", n, PatientID="0001", StudyDate=day, PatientName="A^B",
                  PatientBirthDate="19500101", PatientSex="F")  # fmt: skip
    rows = {row["accession"]: row["visit"] for row in rows_of(drafted(tmp_path / "export"))}
    assert rows == {"0900": "3", "0901": "1", "0902": "2"}


@pytest.mark.parametrize("suffix", ["xlsx", "csv", "semicolons"])
def test_what_is_drafted_is_read_as_it_is(archive, tmp_path, suffix):
    if suffix == "xlsx":
        table = write_xlsx(tmp_path / "labels.xlsx", good_rows())
    else:
        table = write_csv(tmp_path / "labels.csv", good_rows(), ";" if suffix != "csv" else ",")
    draft = drafted(archive, table)
    assert not said(draft) + said(draft, "gap")
    draft.write(tmp_path / "cohort.csv")
    cohort = read_cohort(tmp_path)
    assert len(cohort) == 6
    labels = {entry.patient: entry.label for entry in cohort}
    assert labels["0070"] is CHEST_CT.CONTROL
    assert labels["0071"] is CHEST_CT.COVID19
    assert all(len(entry.study.files) == 3 for entry in cohort)
    (first,) = [entry for entry in cohort if entry.patient == "0071"]
    assert dict(first.traits) == {
        "age": "69",
        "sex": "M",
        "scanner": "GE Revolution",
        "kernel": "B30f",
        "smoker": "n",
        "crp": "1.5",
    }


def test_a_table_may_lie_elsewhere_and_is_named_itself(archive, tmp_path):
    file = tmp_path / "elsewhere" / "mine.csv"
    table = write_csv(tmp_path / "labels.csv", good_rows())
    draft_cohort(archive, file, table=table).write(file)
    assert len(read_cohort(file)) == 6
    file.rename(file.with_name("cohort.csv"))
    with pytest.raises(CohortError, match="the path leaves the archive"):
        read_cohort(file.parent)


def test_files_that_changed_since_are_told(archive, tmp_path):
    drafted(archive, write_csv(tmp_path / "l.csv", good_rows())).write(tmp_path / "cohort.csv")
    for file in archive.glob("I00*"):
        file.unlink()
    with pytest.raises(CohortError, match=r"no study under its path has this id.*Draft it again"):
        read_cohort(tmp_path)


def test_all_mistakes_are_in_one_list_with_line_and_column(archive, tmp_path):
    rows = good_rows()
    rows[1][1] = "Pneumonie"
    rows[2][0] = datetime.datetime(2021, 3, 12)
    rows[3][1] = ""
    rows[4][0] = "0999"
    rows[5][0] = rows[6][0] = "0905"
    table = write_xlsx(tmp_path / "labels.xlsx", rows)
    draft = drafted(archive, table)
    assert not draft.rows
    mistakes, gaps = said(draft), said(draft, "gap")
    assert len(mistakes) == 3
    assert mistakes[0].startswith(
        "labels.xlsx, sheet Labels, line 2, column B (Diagnosis): expected one of Control, "
        "Covid-19, CAP, got 'Pneumonie'. Correct it, or add --map"
    )
    assert "line 3, column A (Accession): expected an accession, got a date" in mistakes[1]
    assert "line 7, column A (Accession): expected an accession once, line 6 has it" in mistakes[2]
    assert sum("no line of labels.xlsx" in text for text in gaps) == 3
    assert any("line 4, column B (Diagnosis): expected a label" in text for text in gaps)
    assert any("line 5, column A (Accession): no study of the export" in text for text in gaps)


def test_a_word_that_many_lines_have_is_told_once_with_its_lines(archive, tmp_path):
    rows = good_rows()
    rows[2][1], rows[4][1], rows[5][1] = "Pneumonie", "pneumonie", "flu"
    draft = drafted(archive, write_csv(tmp_path / "labels.csv", rows))
    first, second = said(draft)
    assert first.startswith("labels.csv, line 3")
    assert "got 'Pneumonie' in 2 lines (lines 3, 5). Correct it, or add --map" in first
    assert "line 6" in second and "got 'flu'. Correct it" in second


def test_a_study_without_a_label_in_a_flat_export_is_told_by_its_first_file(tmp_path):
    flat = export(tmp_path / "export", flat=True)
    draft = drafted(flat, write_csv(tmp_path / "labels.csv", good_rows(5)))
    (gap,) = said(draft, "gap")
    name = gap.partition(" and ")[0].partition(":")[0]
    assert (flat / name).is_file()


def test_what_is_missing_on_one_side_can_be_left_out_and_what_is_wrong_not(archive, tmp_path):
    rows = good_rows()
    rows[4][0] = "0999"
    draft = drafted(archive, write_csv(tmp_path / "labels.csv", rows), partial=True)
    assert len(draft.rows) == 1 + 5
    assert len(said(draft, "gap")) == 2
    rows[1][1] = "flu"
    assert not drafted(archive, write_csv(tmp_path / "labels.csv", rows), partial=True).rows


def test_merged_cells_are_told_by_their_place(archive, tmp_path):
    table = write_xlsx(tmp_path / "labels.xlsx", good_rows(), merge=["B3:B4"], sheets=["Other"])
    draft = drafted(archive, table, sheet="Labels")
    assert "labels.xlsx, sheet Labels, cells B3:B4: expected one value" in said(draft)[0]
    assert not drafted(
        archive, write_xlsx(tmp_path / "l.xlsx", good_rows(), sheets=["x"]), sheet="Labels"
    ).mistakes


def test_of_two_sheets_one_must_be_named(archive, tmp_path):
    table = write_xlsx(tmp_path / "labels.xlsx", good_rows(), sheets=["Old"])
    with pytest.raises(UsageError, match=r"has 2 sheets: 'Labels', 'Old'.*--sheet"):
        drafted(archive, table)
    with pytest.raises(UsageError, match=r"one of the sheets 'Labels', 'Old'"):
        drafted(archive, table, sheet="New")
    assert drafted(archive, table, sheet="Labels").rows


def test_lost_leading_zeros_are_told_and_never_guessed(archive, tmp_path):
    rows = good_rows()
    for row in rows[1:]:
        row[0] = int(row[0])
    draft = drafted(archive, write_xlsx(tmp_path / "labels.xlsx", rows))
    assert len(draft.rows) == 1 + 6
    assert "6 cells have lost their leading zeros (lines 2, 3, 4" in said(draft, "doubt")[0]
    # Two studies that differ by zeros alone: nobody can tell which one is meant.
    one_study(archive, 7, AccessionNumber="00900")
    draft = drafted(archive, write_xlsx(tmp_path / "labels.xlsx", rows))
    assert any("line 2, column A (Accession): expected an accession, got a number that 2" in text
               for text in said(draft))  # fmt: skip


def test_a_number_that_a_spreadsheet_rounded_is_no_key(archive, tmp_path):
    rows = good_rows()
    rows[2][0] = 1234567890123456789
    draft = drafted(archive, write_xlsx(tmp_path / "labels.xlsx", rows))
    assert "the spreadsheet has rounded it" in said(draft)[0]
    rows[2][0] = "2,02E+11"
    draft = drafted(archive, write_csv(tmp_path / "labels.csv", rows, ";"))
    assert (
        "line 3, column A (Accession): expected an accession, got a number with an"
        in (said(draft)[0])
    )


def test_an_accession_that_looks_like_an_exponent_is_one(tmp_path):
    """2020E1234 in a text file is no rounded number where the export has it."""
    root = export(tmp_path / "export", 3, study0={"AccessionNumber": "2020E1234"})
    rows = good_rows(3)
    rows[1][0] = "2020E1234"
    draft = drafted(root, write_csv(tmp_path / "labels.csv", rows))
    assert draft.rows and not [one for one in draft.mistakes if one.kind == "mistake"]


def test_words_are_mapped_and_a_map_that_is_never_used_is_told(archive, tmp_path):
    rows = good_rows()
    rows[3][1] = "  pneumonia "
    table = write_csv(tmp_path / "labels.csv", rows)
    assert drafted(archive, table, relabel=["Pneumonia=CAP"]).labels == {
        "Control": 2, "Covid-19": 2, "CAP": 2,
    }  # fmt: skip
    draft = drafted(archive, table, relabel=["Pneumonia=CAP", "Flu=CAP"])
    assert said(draft) == ["--map: no cell says 'flu'. Leave it out, or correct its spelling"]
    for wrong, why in [("CAP", "expected --map"), ("flu=cold", "unknown label 'cold'")]:
        with pytest.raises(UsageError, match=why):
            drafted(archive, table, relabel=[wrong])


def test_columns_that_tell_of_persons_are_not_kept(archive, tmp_path):
    rows = good_rows()
    rows[0] += ["Surname", "Seen", "Free", "Number", "Report", "Reading radiologist"]
    for n, row in enumerate(rows[1:]):
        day = datetime.datetime(2020, 3, 1 + n)
        row += [f"Canary{n}", day, f"note {n} " * 12, 1234567 + 3 * n, "x", "Dr. A"]
    draft = drafted(archive, write_xlsx(tmp_path / "labels.xlsx", rows))
    added = {title.casefold() for title in rows[0][4:]}
    assert not added & set(draft.rows[0])
    assert {"smoker", "crp"} <= set(draft.rows[0])
    assert len(said(draft, "doubt")) == 6


@pytest.mark.parametrize(
    ("head", "options", "join"),
    [
        ("MRN", {}, "patient"),
        ("Number", {}, "accession"),
        ("Number", {"join": "accession=Number"}, "accession"),
        ("StudyInstanceUID", {"join": "study"}, "study"),
    ],
)
def test_studies_are_found_by_accession_patient_or_uid(tmp_path, head, options, join):
    archive = export(tmp_path / "export", study2={"PatientID": "0070", "AccessionNumber": "0902"})
    from tests.io.series import uid

    rows = good_rows()
    rows[0][0] = head
    for n, row in enumerate(rows[1:]):
        row[0] = {"patient": f"00{70 + n}", "accession": f"0{900 + n}", "study": uid(f"study{n}")}[
            join
        ]
    rows[3][1] = rows[1][1]
    if join == "patient":
        del rows[3]
    draft = drafted(archive, write_csv(tmp_path / "labels.csv", rows), **options)
    assert not said(draft) + said(draft, "gap")
    assert len(draft.rows) == 1 + 6


def test_what_is_not_clear_is_asked_for(archive, tmp_path):
    rows = good_rows()
    rows[0][1] = "Finding"
    rows[0].append("Second")
    for row in rows[1:]:
        row.append(row[1])
    table = write_csv(tmp_path / "labels.csv", rows)
    with pytest.raises(UsageError, match=r"several columns .*--label-column NAME"):
        drafted(archive, table)
    assert drafted(archive, table, label_column="finding").rows
    with pytest.raises(UsageError, match=r"no column 'x'; its columns are Accession"):
        drafted(archive, table, label_column="x")
    strangers = [["Number", "Diagnosis"], ["17", "CAP"], ["18", "CAP"]]
    with pytest.raises(UsageError, match=r"no column .*--join accession=COLUMN"):
        drafted(archive, write_csv(tmp_path / "labels.csv", strangers))
    with pytest.raises(UsageError, match="Name it with --table"):
        drafted(archive, join="accession")


def test_two_keys_of_one_line_must_agree(archive, tmp_path):
    rows = good_rows()
    rows[0].append("PatientID")
    for n, row in enumerate(rows[1:]):
        row.append(f"00{70 + n}")
    rows[1][-1] = "0074"
    draft = drafted(archive, write_csv(tmp_path / "labels.csv", rows))
    assert said(draft) == [
        "labels.csv, line 2, column E (PatientID): this is another study than the one of column "
        "Accession. Correct one of the two"
    ]


def test_two_labels_of_one_patient_are_told_with_both_lines(tmp_path):
    archive = export(tmp_path / "export", study2={"PatientID": "0070"})
    draft = drafted(archive, write_csv(tmp_path / "labels.csv", good_rows()))
    assert any(
        "line 4, column B (Diagnosis): expected one label for a patient, got CAP here and Control "
        "in line 2"
        in text
        or "got Control here and CAP in line 4" in text
        for text in said(draft)
    )


def test_doubtful_persons_are_told(tmp_path):
    archive = export(
        tmp_path / "export",
        study0={"PatientID": "ANONYMOUS"},
        study1={"PatientID": "0072", "PatientSex": "M"},
        study2={"PatientSex": "F"},
        study3={"PatientName": "Same^One", "PatientBirthDate": "19600101"},
        study4={"PatientName": "Same^One", "PatientBirthDate": "19600101"},
    )
    draft = drafted(archive)
    doubts = said(draft, "doubt")
    assert any("1 studies name no patient" in text for text in doubts)
    assert any("2 studies have one PatientID and several sexes" in text for text in doubts)
    assert any("2 PatientIDs have one name and date of birth" in text for text in doubts)
    assert not any("Same" in text or "0072" in text for text in doubts)
    assert sum(row["patient"].startswith("study-") for row in rows_of(draft)) == 1


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda p: p.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600)), "locked by a password"),
        (lambda p: p.write_bytes(b"no archive"), "cannot be read as XLSX"),
        (lambda p: p.write_bytes(write_xlsx(p, good_rows()).read_bytes()[:900]), "cannot be read"),
    ],
)
def test_a_damaged_workbook_is_one_clear_line(archive, tmp_path, make, why):
    table = tmp_path / "labels.xlsx"
    make(table)
    with pytest.raises(CohortError, match=why):
        drafted(archive, table)


def test_a_workbook_that_unpacks_without_end_is_not_unpacked(tmp_path, monkeypatch):
    table = write_xlsx(tmp_path / "bomb.xlsx", good_rows())
    with zipfile.ZipFile(table, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet9.xml", bytes(300 * 2**20))
    with pytest.raises((UsageError, CohortError), match=r"unpacks to at most|inflates to"):
        read_sheet(table)


def test_a_workbook_that_declares_entities_is_refused(tmp_path):
    table = tmp_path / "labels.xlsx"
    with zipfile.ZipFile(table, "w") as archive:
        archive.writestr("xl/workbook.xml", '<!DOCTYPE x [<!ENTITY a "b">]><workbook/>')
    with pytest.raises(CohortError, match="declares entities"):
        read_sheet(table)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("labels.xls", b"x", "as .csv or .xlsx"),
        ("labels.csv", b"", "got nothing"),
        ("labels.csv", b"a,b\n", "got one line"),
        ("labels.csv", b"a,A\n1,2\n", "the columns a are there twice"),
        ("labels.csv", b"a,b\n\x00\x01,2\n", "no table of text"),
        ("labels.csv", b'a,b\n"' + b"x" * 200_000, "a cell has no end"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((UsageError, CohortError), match=why):
        read_sheet(tmp_path / name)


def test_a_table_larger_than_any_cohort_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "MAX_ROWS", 4)
    table = write_csv(tmp_path / "labels.csv", good_rows())
    with pytest.raises(UsageError, match="at most 4 rows"):
        read_sheet(table)
    monkeypatch.setattr(label_table, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="at most 10 bytes"):
        read_sheet(table)


def test_windows_text_is_read_and_told(tmp_path):
    (tmp_path / "labels.csv").write_bytes("key,Müller\n1,ä\n".encode("cp1252"))
    found = read_sheet(tmp_path / "labels.csv")
    assert found.header[1] == "Müller"
    assert found.notes == ("read as Windows-1252, it is no UTF-8",)


def test_scans_that_are_no_dicom_go_by_their_file_name(tmp_path):
    from tests.io.test_nifti import an_image

    (tmp_path / "export").mkdir()
    an_image().to_filename(tmp_path / "export" / "p17.nii.gz")
    table = write_csv(tmp_path / "labels.csv", [["PatientID", "label"], ["p17", "CAP"]])
    draft = drafted(tmp_path / "export", table)
    assert [(row["study"], row["patient"]) for row in rows_of(draft)] == [
        ("export/p17.nii.gz", "p17")
    ]


def test_a_study_in_a_zip_is_named_by_the_archive(archive, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "all.zip", "w") as file:
        for path in sorted(archive.iterdir()):
            file.write(path, path.name)
    draft = draft_cohort(packed, packed / "cohort.csv", table=write_csv(
        tmp_path / "labels.csv", good_rows()))  # fmt: skip
    assert {row["study"] for row in rows_of(draft)} == {"all.zip"}
    draft.write(packed / "cohort.csv")
    assert len(read_cohort(packed)) == 6


def test_the_command_prints_the_list_and_writes_nothing_that_is_wrong(archive, tmp_path, capsys):
    table = write_csv(tmp_path / "labels.csv", good_rows(5))
    target = tmp_path / "cohort.csv"
    arguments = ["cohort", str(archive), "--table", str(table), "-o", str(target)]
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out.startswith("1 missing on one side:\n  ")
    assert " and 2 more files: no line of labels.csv" in out
    assert "cohort.csv was not written: 1 thing is to be corrected, see the list above" in err
    assert not target.exists()
    assert main([*arguments, "--partial"]) == 3
    assert "5 of 6 studies in cohort.csv; patients: 2 Control, 2 Covid-19, 1 CAP" in (
        capsys.readouterr().out
    )
    with target.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 5
    assert main(arguments) == 2
    assert "may have been edited" in capsys.readouterr().err


def test_all_mistakes_of_a_cohort_file_are_told_at_once(archive):
    rows = "study,patient,label\n.,p1,flu\nnowhere,p2,CAP\n.,,CAP\n"
    (archive / "cohort.csv").write_text(rows)
    with pytest.raises(CohortError) as caught:
        read_cohort(archive)
    text = str(caught.value)
    assert text.startswith("3 mistakes: cohort.csv line 2: unknown label 'flu'")
    assert "cohort.csv line 3: the study is missing" in text
    assert "cohort.csv line 4: expected study, patient, label, patient is empty" in text
