import io

import pytest
from openpyxl import load_workbook

from covidctnet.report.paper_tables import escape_latex, for_print, latex, read_rows, workbook

ROWS = [
    ["label", "value", "low", "high", "n"],
    ["Covid-19", "0.923077", "0.8", "1", "40"],
    ["CAP_50%", "", "", "", "0"],
    ["Control", "1", "", "", "3"],
]


def test_an_estimate_and_its_interval_share_a_cell():
    head, first, second, third = for_print(ROWS)
    assert head == ["label", "value (95 % CI)", "n"]
    assert first == ["Covid-19", "0.923 (0.800 to 1.000)", "40"]
    assert second == ["CAP_50%", "n.e.", "0"]
    assert third == ["Control", "1.000 (n.e.)", "3"]


def test_figures_with_ends_of_their_own_are_joined_alike():
    rows = [["site", "accuracy", "accuracy_low", "accuracy_high"], ["a", "0.5", "0.25", "0.75"]]
    assert for_print(rows)[1] == ["a", "0.500 (0.250 to 0.750)"]


def test_every_letter_that_latex_reads_as_a_command_is_escaped():
    text = r"a_b & 50 % $x$ #1 {c} ~ ^ \input{evil} < > | " + '"'
    made = escape_latex(text)
    for plain in ("\\_", "\\&", "\\%", "\\$", "\\#", "\\{", "\\}", "\\textasciitilde{}"):
        assert plain in made
    assert "\\input" not in made
    assert "\\textbackslash{}input\\{evil\\}" in made
    assert escape_latex("one\ntwo\x00") == "one two "


def test_a_latex_table_has_as_many_cells_in_every_row_as_columns():
    made = latex(ROWS, caption="Of 50 %", label="figures")
    assert "\\caption{Of 50 \\%}\\label{tab:figures}" in made
    assert "\\begin{tabular}{llr}" in made
    body = [line for line in made.splitlines() if line.endswith(r"\\")]
    assert [line.count(" & ") for line in body] == [2] * 4
    assert all(rule in made for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
    assert made.count("\\begin{") == made.count("\\end{")


def test_a_long_table_breaks_over_pages():
    made = latex([["x"], *[[str(k)] for k in range(60)]], caption="c", label="l")
    assert "\\begin{longtable}" in made
    assert "\\endhead" in made
    assert "longtable" in made.splitlines()[0]


@pytest.mark.parametrize("rows", [[], [["a", "b"]]])
def test_a_table_without_rows_is_still_a_table(rows):
    made = latex(rows, caption="c", label="l")
    assert "\\bottomrule" in made


def test_numbers_are_numbers_and_ids_stay_text_and_formulas_are_no_formulas():
    rows = [
        ["study", "n", "value", "note"],
        ["000123456789", "3", "0.25", "=1+1"],
        ["12345678901e", "4", "", "@SUM(A1)"],
        ["123456789e12", "5", "1e-05", "a\x07b"],
    ]
    book = load_workbook(io.BytesIO(workbook({"a/b": rows, "empty": []}, title="t")))
    sheet = book["a-b"]
    cells = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
    assert cells[0] == ["000123456789", 3, 0.25, "=1+1"]
    assert cells[1][:2] == ["12345678901e", 4]
    assert cells[2] == ["123456789e12", 5, 1e-05, "ab"]
    assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)


def test_sheets_of_one_long_beginning_are_all_there():
    names = ["x" * 35 + "1", "x" * 35 + "2"]
    book = load_workbook(io.BytesIO(workbook(dict.fromkeys(names, ROWS), title="t")))
    assert len(book.sheetnames) == 2


def test_rows_are_read_as_they_were_written():
    assert read_rows('a,b\n"x, y",2\n') == [["a", "b"], ["x, y", "2"]]
