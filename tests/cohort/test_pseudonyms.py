"""Ids that need a key to be turned back."""

import hashlib
import json
import os
import threading

import pytest

from covidctnet.cohort.key_table import TABLE_FILE, KeyRow, add_to_key_table, read_key_table
from covidctnet.cohort.pseudonyms import (
    FORMER,
    IDS_FILE,
    KEY_FILE,
    PRIVATE,
    Pseudonyms,
    pseudonyms_of,
)
from covidctnet.errors import UsageError

KEY = Pseudonyms(bytes(range(32)))


def test_an_id_cannot_be_found_by_trying_numbers_without_the_key():
    numbers = [f"{n:08d}" for n in range(2000)]
    tried = {hashlib.sha256(n.encode()).hexdigest()[:12] for n in numbers}
    assert FORMER.patient("00001234") in tried
    assert not {KEY.patient(n)[1:] for n in numbers} & tried
    assert KEY.patient("00001234") != Pseudonyms(bytes(32)).patient("00001234")
    assert "secret" not in repr(KEY)


def test_ids_begin_with_a_letter_and_patients_and_studies_never_share_one():
    ids = [KEY.patient("a"), KEY.study("a"), KEY.patient("b"), KEY.study("b")]
    assert [one[0] for one in ids] == ["p", "s", "p", "s"]
    assert len({one[1:] for one in ids}) == 4
    assert all(len(one) == 13 for one in ids)


def test_a_key_is_kept_readable_by_its_owner_alone_and_found_again(tmp_path):
    folder = tmp_path / "work"
    drawn = pseudonyms_of(folder, has_former=False)
    assert not folder.exists()
    kept = drawn.keep(folder)
    assert kept == drawn == pseudonyms_of(folder, has_former=True)
    assert (folder / PRIVATE / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert json.loads((folder / IDS_FILE).read_text())["check"] == drawn.check
    assert drawn.secret.hex() not in (folder / IDS_FILE).read_text()
    assert sorted(path.name for path in folder.iterdir()) == sorted([PRIVATE, IDS_FILE])


def test_many_jobs_that_start_at_once_agree_on_one_key(tmp_path):
    drawn = [pseudonyms_of(tmp_path, has_former=False) for _ in range(8)]
    assert len({one.secret for one in drawn}) == 8
    kept = []
    threads = [threading.Thread(target=lambda one=one: kept.append(one.keep(tmp_path)))
               for one in drawn]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 8 and len({one.secret for one in kept}) == 1


def test_a_file_system_without_links_keeps_a_key_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "link", no_links)
    kept = pseudonyms_of(tmp_path, has_former=False).keep(tmp_path)
    assert pseudonyms_of(tmp_path, has_former=False) == kept


@pytest.mark.parametrize("content", ["", "zz", "00" * 31, "00" * 33, "é"])
def test_a_damaged_key_is_refused(tmp_path, content, monkeypatch):
    monkeypatch.setattr("covidctnet.cohort.pseudonyms._WAIT_S", 0.0)
    (tmp_path / PRIVATE).mkdir()
    (tmp_path / PRIVATE / KEY_FILE).write_text(content)
    with pytest.raises(UsageError, match="expected 64 hexadecimal digits"):
        pseudonyms_of(tmp_path, has_former=False)


def test_a_folder_without_a_key_behind_the_option_is_refused(tmp_path):
    with pytest.raises(UsageError, match="expected a folder with do-not-share/"):
        pseudonyms_of(tmp_path / "new", has_former=False, key=tmp_path)


def test_the_key_table_keeps_rows_of_other_studies_and_survives_a_spreadsheet(tmp_path):
    row = KeyRow("s1", "p1", "/a/b", "Doe, Jane", "1.2", "1.2.3", "0042", "77", "abc")
    add_to_key_table(tmp_path, [row])
    add_to_key_table(tmp_path, [row._replace(study="s2", path="/c")])
    assert read_key_table(tmp_path) == {"s1": row, "s2": row._replace(study="s2", path="/c")}
    file = tmp_path / PRIVATE / TABLE_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / PRIVATE / "README.txt").read_text().startswith("DO NOT SHARE")
    file.write_bytes(b"\xff\xfe broken")
    assert read_key_table(tmp_path) == {}
    add_to_key_table(tmp_path, [row])
    assert read_key_table(tmp_path) == {"s1": row}
