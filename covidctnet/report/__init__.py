"""Results as people and programs read them: a table, a JSON file, a page."""

from covidctnet.report.record import Record, columns
from covidctnet.report.results import Results

__all__ = ["Record", "Results", "columns"]
