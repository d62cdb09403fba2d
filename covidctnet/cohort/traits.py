"""Columns of a cohort that figures may be grouped by, and those that could identify a person."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

__all__ = ["RESERVED", "Traits", "kept_columns", "values_of"]

# What a cohort file says of a study besides, by the name of the column.
Traits = Mapping[str, str]
# Columns of `covidctnet cohort` that help its owner to find a study, and no figure is by.
RESERVED = ("id", "accession", "visit")
# Words of names of columns that tell who, when or where somebody is.
_TELLING = frozenset(
    [
        "accession", "address", "birth", "birthday", "birthdate", "birthname", "comment",
        "comments", "date", "dates", "dob", "doctor", "email", "file", "filename", "firstname",
        "forename", "identifier", "lastname", "mail", "mrn", "name", "names", "note", "notes",
        "operator", "path", "patient", "patientid", "patientname", "phone", "physician", "pid",
        "plz", "postcode", "radiologist", "reader", "referrer", "remark", "remarks", "report",
        "ssn", "street", "surname", "technician", "telephone", "text", "uid", "zip",
    ]
)  # fmt: skip
_MONTH = r"(jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)\w*\.?"
_DATE = re.compile(
    r"((19|20)\d\d-?[01]\d-?[0-3]\d(?!\d)|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}"
    r"|\d{4}[./]\d{1,2}[./]\d{1,2}"
    rf"|\d{{1,2}}\.?[ -]?{_MONTH}[ ,-]*(\d{{4}}|\d\d)|{_MONTH}[ -]?\d{{1,2}},? ?\d{{4}}"
    rf"|{_MONTH}[ -]?\d{{4}})([ T]\d{{1,2}}:.*)?",
    re.IGNORECASE,
)
# More values than these, other ones for nearly every study, are text of one patient each.
_FEW_NAMES = 2
# What headers say, however many there are.
_OF_HEADERS = ("scanner", "kernel", "sex")
_FEW_NUMBERS = 5
# Ages above are rare enough to point at a person; 90 stands for 90 and above, as in the Safe Harbor
# method of HIPAA (45 CFR 164.514(b)(2)(i)(C)).
_OLDEST = 90.0
_NUMBERS = ("age", "slice_mm", "noise_hu", "kvp", "exposure_mas")
# An integer of so many digits, another for everybody, is a key.
_DIGITS_OF_KEY = 5
_LEAST_ROWS = 5
_LONGEST = 64


def kept_columns(
    columns: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Sequence[str]], dict[str, str]]:
    """Which columns can be strata.

    A figure by a column shows its values: a column of names, dates, numbers of persons or free text
    must not become one.

    Args:
        columns: Text by name, a value a study; empty where a study has none.

    Returns:
        Those that are kept, and of the others why they are not.
    """
    kept: dict[str, Sequence[str]] = {}
    left_out: dict[str, str] = {}
    for name, values in columns.items():
        if why := _why_not(name, [value for value in values if value]):
            left_out[name] = why
        else:
            kept[name] = values
    return kept, left_out


def _why_not(name: str, values: Sequence[str]) -> str:
    words = set(re.split(r"[\W_]+", name.casefold()))
    if name.casefold() in RESERVED or words & _TELLING:
        return "its name says that it tells of a person or a time"
    if not values:
        return "it is empty"
    if any(_DATE.fullmatch(value) for value in values):
        return "it holds dates"
    if any(len(value) > _LONGEST for value in values):
        return "it holds free text"
    distinct = set(values)
    numbers = [number for value in distinct if (number := _number(value)) is not None]
    if len(numbers) < len(distinct):
        is_free = len(distinct) > _FEW_NAMES and 2 * len(distinct) > len(values)
        is_free &= name.casefold() not in _OF_HEADERS
        return "nearly every study has another text in it" if is_free else ""
    whole = sorted(int(number) for number in numbers if number == int(number))
    # Studies of one patient may share one.
    is_long = len(whole) == len(distinct) and len(str(whole[0])) >= _DIGITS_OF_KEY
    if is_long and 2 * len(distinct) > len(values):
        return "it holds another long number for nearly every study"
    if len(whole) < len(values) or len(values) < _LEAST_ROWS:
        return ""
    is_count = whole[0] in (0, 1) and whole == list(range(whole[0], whole[0] + len(whole)))
    return "it counts the rows" if is_count else ""


def values_of(traits: Iterable[Traits]) -> list[Mapping[str, str | float]]:
    """Traits of studies with numbers as numbers, in columns that hold numbers alone.

    A column of few numbers, such as 0 and 1, names groups and stays text. Ages, in a column whose
    name says so, end at 90, which stands for 90 and above.

    Args:
        traits: A study each; of all studies that are compared.
    """
    rows = list(traits)
    numeric = set()
    for name in {name for row in rows for name in row}:
        distinct = {row[name] for row in rows if row.get(name)}
        if len(distinct) > _FEW_NUMBERS and all(_number(value) is not None for value in distinct):
            numeric.add(name)
    # Some are numbers however few there are.
    numeric |= {
        name for name in _NUMBERS if all(_number(row.get(name) or "0") is not None for row in rows)
    }
    return [
        MappingProxyType(
            {
                name: _shown(name, float(value)) if name in numeric else value
                for name, value in row.items()
                if value
            }
        )
        for row in rows
    ]


def _shown(name: str, value: float) -> float:
    """A number of a column; an age up to the oldest that is told."""
    is_age = "age" in re.split(r"[\W_]+", name.casefold())
    return min(value, _OLDEST) if is_age else value


def _number(text: str) -> float | None:
    try:
        # Python takes 3_5 for 35.
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
