import contextlib
import io
import logging

import pytest

from covidctnet.cli import _configure_logging
from covidctnet.progress import bar, track


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """A context in which standard error is a terminal; gives what was written there."""
    monkeypatch.setenv("TERM", "xterm")
    return lambda: contextlib.redirect_stderr(Terminal())


def test_no_bar_is_drawn_where_there_is_no_terminal(capsys):
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
            _configure_logging(False)
            with bar("counting") as show:
                show(1, 3)
                logging.getLogger("covidctnet.test").warning("study a refused: SLICE_GAP")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    (line,) = [x for x in terminal.getvalue().splitlines() if "SLICE_GAP" in x]
    # Whatever stood there is erased first.
    assert line.rpartition("\x1b[2K")[2] == "WARNING study a refused: SLICE_GAP"
