import csv
import errno
import io
import os

import pytest

from covidctnet.errors import StorageError
from covidctnet.files import remove_leftovers, table_text, write_whole


@pytest.mark.parametrize(
    "content", ["größe\n", "größe\n".encode(), ["grö".encode(), "ße\n".encode()]]
)
def test_text_bytes_and_pieces_arrive_whole(tmp_path, content):
    write_whole(tmp_path / "a.txt", content)
    assert (tmp_path / "a.txt").read_bytes() == "größe\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    write_whole(tmp_path / "a.txt", "old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StorageError, match=r"a\.txt, got: No space left.*Make room") as caught:
            write_whole(tmp_path / "a.txt", "new")
    assert caught.value.exit_code == 1
    assert str(tmp_path) not in str(caught.value)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interrupt_half_way_leaves_the_old_file(tmp_path):
    write_whole(tmp_path / "a.txt", "old")

    def pieces():
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", pieces())
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".a.txt.0123.unfinished").write_text("half")
    (tmp_path / "a.txt").write_text("whole")
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_table_quotes_what_needs_it():
    assert table_text([("a", "b"), ("1,5", 2)]) == 'a,b\n"1,5",2\n'


HOSTILE = [
    "=1+1",
    "@SUM(A1)",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "＝1+1",
    "two\rrows",
    "two\nrows",
    "two\u2028rows",
    "\t=1+1",
    "zero\0",
    "half \udcff",
    'quote"=1+1',
]


@pytest.mark.parametrize("cell", HOSTILE)
def test_no_name_of_a_file_tears_or_arms_a_row(cell):
    text = table_text([("path", "code"), (cell, "NOT_CT")])
    first, second = text.splitlines()
    assert first == "path,code"
    for rows in (csv.reader(io.StringIO(text)), csv.reader(io.StringIO(text, newline=""))):
        *_, (told, code) = rows
        assert code == "NOT_CT"
        assert not told.startswith(("=", "+", "-", "@", "＝", "\t", "\r"))
    assert table_text([(told, code)]) == second + "\n"


@pytest.mark.parametrize("number", ["-0.25", "+1e-05", "-3", -0.5])
def test_negative_numbers_stay_numbers(number):
    assert table_text([(number,)]) == f"{number}\n"
