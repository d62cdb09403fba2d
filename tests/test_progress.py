import contextlib
import io
import logging
import re
import sys
import time

import pytest

from covidctnet.logs import configure_logs
from covidctnet.progress import LINE_EVERY_S, _Pace, bar, lines, track


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """A context in which standard error is a terminal; gives what was written there."""
    monkeypatch.setenv("TERM", "xterm")
    return lambda: contextlib.redirect_stderr(Terminal())


def test_quick_work_without_a_terminal_writes_nothing(capsys):
    with bar("counting") as show:
        show(1, 3)
    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_tells_what_is_done_and_how_far(on_terminal, capsys):
    with on_terminal() as terminal, bar("counting") as show:
        show(2, 3)
    assert "counting" in terminal.getvalue()
    assert "2/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_tracked_sequence_comes_whole_and_in_order(on_terminal):
    with on_terminal() as terminal:
        assert list(track("abc", "spelling")) == ["a", "b", "c"]
    assert "spelling" in terminal.getvalue()


def test_an_error_under_the_bar_goes_through(on_terminal):
    with pytest.raises(KeyError), on_terminal(), bar("failing"):
        raise KeyError("x")


def test_a_line_of_the_log_stands_on_a_line_of_its_own(on_terminal):
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with on_terminal() as terminal:
            configure_logs(verbose=False)
            with bar("counting") as show:
                show(1, 3)
                logging.getLogger("covidctnet.test").warning("study a refused: SLICE_GAP")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    (line,) = [x for x in terminal.getvalue().splitlines() if "SLICE_GAP" in x]
    # Whatever stood there is erased first.
    told = line.rpartition("\x1b[2K")[2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z WARNING study a refused: SLICE_GAP", told)


@pytest.fixture
def often(monkeypatch):
    """Lines come a thousand times as often."""
    monkeypatch.setattr("covidctnet.progress.LINE_EVERY_S", LINE_EVERY_S / 1000)


def written(wanted, capsys):
    """Standard error as soon as it holds some words; all of it after ten seconds."""
    text, end = "", time.monotonic() + 10
    while wanted not in text and time.monotonic() < end:
        time.sleep(0.01)
        text += capsys.readouterr().err
    return text


def test_without_a_terminal_lines_come_at_least_every_half_minute():
    assert LINE_EVERY_S <= 30


def test_long_work_without_a_terminal_writes_lines_that_say_how_far_it_is(often, capsys):
    with bar("counting") as show:
        assert "counting: started, 0 s so far\n" in written("started", capsys)
        show(2, 3)
        assert "counting: 2 of 3, 0 s so far\n" in written("2 of 3", capsys)


def test_lines_go_on_while_one_step_takes_long_and_end_with_the_work(often, capsys):
    with lines("waiting") as tell:
        tell("step 1")
        written("step 1", capsys)
        assert "step 1" in written("step 1", capsys)
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_work_goes_on_where_nobody_reads_the_lines(often, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    done = []
    with lines("waiting") as tell:
        time.sleep(0.1)
        tell("still there")
        done.append("the work")
    assert done == ["the work"]


def test_a_line_says_how_fast_the_work_goes_and_how_long_it_will_take(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("covidctnet.progress.time.monotonic", lambda: now[0])
    pace = _Pace()
    # What was there before says nothing about the pace.
    assert pace.words(50, 200) == "50 of 200"
    now[0] += 120
    assert pace.words(60, 200) == "60 of 200, 5 a minute, 28 min left"
    now[0] += 600
    assert pace.words(199, 200) == "199 of 200, 12.4 a minute, 5 s left"
    assert pace.words(60, 20_000).endswith("h left")
