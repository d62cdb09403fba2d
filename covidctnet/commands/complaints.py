"""What the parser of options complains of, in words that name the option and what it may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

__all__ = ["in_plain_words"]

_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":\s*(?P<rest>.*)', re.DOTALL)
_VALUE = re.compile(r"(?:Got value|Given value): (?P<value>.*)\Z", re.DOTALL)
_TYPE = re.compile(r"typing\.Literal(\[[^\]]*\])|<class '([\w.]+)'>")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list, as [one, two]",
    "tuple": "a list, as [one, two]",
    "dict": "settings by name",
    "NoneType": "null",
}
# Options that have a shorter name.
_SHORT = {"data.work": "work"}


def in_plain_words(line: str) -> str:
    """A complaint of jsonargparse as: expected which option as what, got which value.

    Args:
        line: Its message, of one line or more.
    """
    if "does not support item assignment" in line:
        return "expected a list, as [one, two], got a single word in the file of settings"
    found = _KEY.fullmatch(line.strip())
    if not found:
        return _with_short_names(line)
    key, rest = found["key"], found["rest"]
    value = _VALUE.search(rest)
    # The type of what was given is not a type that is expected.
    expected = re.split(r"Given value|Got value", rest)[0]
    kinds = list(dict.fromkeys(_kinds(expected)))
    option = f"--{_SHORT.get(key, key)}"
    if not value or not kinds:
        return f"{option}: {_with_short_names(rest)}"
    if len(kinds) > 1:
        # What may be left out is no help.
        kinds = [kind for kind in kinds if kind != _WORDS["NoneType"]]
    return f"expected {option} as {' or '.join(kinds)}, got {value['value'].strip()!r:.80}"


def _kinds(text: str) -> Iterator[str]:
    """What an option may be, in the order of its type."""
    for literal, name in _TYPE.findall(text):
        if literal:
            values = [str(value) for value in ast.literal_eval(literal)]
            yield f"one of {', '.join(values)}" if len(values) > 1 else values[0]
        else:
            yield _WORDS.get(name, f"a {name.rpartition('.')[2]}")


def _with_short_names(line: str) -> str:
    line = re.sub(r"<class '(\w+)'>", r"\1", line)
    return line.replace('"data.work"', '"--work"').replace("data.work", "--work")
