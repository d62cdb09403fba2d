"""From a function to a command: options from its signature, help from its docstring."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from covidctnet.commands.common import Exit
from covidctnet.errors import UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["add_parameters", "run_command", "summary_of"]


def summary_of(function: Callable[..., int | None]) -> str:
    """The first line of a command's docstring, without its period."""
    return (function.__doc__ or "").partition("\n")[0].rstrip(".")


def run_command(name: str, function: Callable[..., int | None], arguments: list[str]) -> int:
    """Call the function of a command with what its arguments say.

    A function of ``*words`` reads its arguments itself, as training does with Lightning's parser.

    Returns:
        The exit code that the function returns; 0 where it returns none.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return function(*arguments) or Exit.OK
    # A tenth of a second, which the list of commands does without.
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=f"covidctnet {name}", description=f"{summary_of(function)}.", exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    add_parameters(parser, function)
    values = parser.instantiate(parser.parse_args(arguments))
    for parameter in parameters:
        # An empty variable of a shell must not mean the current folder.
        if get_origin(parameter.annotation) is Annotated and values[parameter.name] == "":
            raise UsageError(
                f"expected a folder behind --{parameter.name}, got an empty name. Name one."
            )
    return function(**{p.name: _value(p, values) for p in parameters}) or Exit.OK


def _value(parameter: inspect.Parameter, values: Any) -> Any:
    kind = parameter.annotation
    if is_dataclass(kind) and isinstance(kind, type):
        return kind(**{name: values[name] for name in inspect.signature(kind).parameters})
    return values[parameter.name]


def add_parameters(parser: "ArgumentParser", function: Callable[..., Any]) -> None:
    """Add an argument to a parser for every parameter of a function or of a dataclass.

    Parameters that may be given by position are positional arguments, the others options:

    - ``bool``: a flag; ``Literal``: a choice; ``Sequence[str]``: one or several words; other types
      as jsonargparse reads them, ``list[str]`` as ``[one, two]``.
    - ``Annotated[type, "-o"]`` has a short name too.
    - A dataclass: its fields are options of the command.
    - A type in quotes: settings, a dataclass that only type checkers import, as loading it may take
      seconds. Its fields are options such as ``--settings.size``.
    """
    from docstring_parser import parse

    meanings = {p.arg_name: p.description or "" for p in parse(function.__doc__ or "").params}
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        kind, short = parameter.annotation, []
        if isinstance(kind, str):
            others: set[str | int] = {other for other in parameters if other != name}
            parser.add_function_arguments(function, as_group=False, skip=others)
        elif is_dataclass(kind) and isinstance(kind, type):
            add_parameters(parser, kind)
        else:
            if get_origin(kind) is Annotated:
                kind, *short = get_args(kind)
            meaning = " ".join(meanings.get(name, "").split()).replace("%", "%%")
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                parser.add_argument(name, help=meaning, **_positional(kind, parameter))
            else:
                names = [*short, f"--{name.replace('_', '-')}"]
                parser.add_argument(*names, help=meaning, **_option(kind, parameter))


def _positional(kind: Any, parameter: inspect.Parameter) -> dict[str, Any]:
    how = _type(kind)
    if parameter.default is not parameter.empty:
        how = {"nargs": "?", **how, "default": parameter.default}
        if how["nargs"] == "+":
            how |= {"nargs": "*", "default": [*parameter.default]}
    return how


def _option(kind: Any, parameter: inspect.Parameter) -> dict[str, Any]:
    if kind is bool:
        return {"action": "store_true"}
    if parameter.default is parameter.empty:
        return {**_type(kind), "required": True}
    return {**_type(kind), "default": parameter.default}


def _type(kind: Any) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"choices": list(get_args(kind))}
    for one in (kind, *get_args(kind)):
        if get_origin(one) is Sequence:
            return {"type": get_args(one)[0], "nargs": "+"}
    return {"type": kind}
