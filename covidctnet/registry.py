"""Which systems there are: folders of `covidctnet.systems`, and packages that announce theirs.

A folder ``covidctnet/systems/NAME`` holds a `covidctnet.contract.System` by the name ``SYSTEM``.
Another package announces one as an entry point of the group ``covidctnet.systems``, whose name is
the system's. There is no list to edit. Systems are imported when they are asked for; one that
cannot be imported does not stop the others.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from covidctnet.contract import System
from covidctnet.errors import UsageError

__all__ = ["find_system", "system_names"]

GROUP = "covidctnet.systems"
# Not imported: systems stand above the registry.
_FOLDER = Path(__file__).parent / "systems"


def system_names() -> tuple[str, ...]:
    """Names of all systems, sorted; none is imported for it."""
    return tuple(sorted(_sources()))


def find_system(name: str) -> System:
    """The system of a name.

    Raises:
        UsageError: If there is none or more than one of that name, or it cannot be imported.
    """
    sources = _sources().get(name, [])
    if not sources:
        raise UsageError(
            f"there is no system named {name!r:.80}; the systems are {', '.join(system_names())}. "
            "Install the package that has it, or the version of covidctnet that wrote the weights."
        )
    if len(sources) > 1:
        raise UsageError(
            f"there are {len(sources)} systems named {name}: expected one. Uninstall the package "
            "that adds the other, or give it another name."
        )
    try:
        system = sources[0]()
    except (Exception, SystemExit) as error:  # a system of somebody else may fail in any way
        reason = " ".join(str(error).split())  # may have several lines
        raise UsageError(
            f"the system {name} cannot be imported ({type(error).__name__}: {reason:.200}). "
            "Repair or uninstall it; the other systems work without it."
        ) from error
    if not isinstance(system, System) or system.name != name:
        what = f"one named {system.name}" if isinstance(system, System) else type(system).__name__
        raise UsageError(f"expected a System named {name}, got {what}. Correct its SYSTEM.")
    return system


def _sources() -> Mapping[str, list[Callable[[], object]]]:
    """How to get each system, by its name."""
    sources: dict[str, list[Callable[[], object]]] = {}
    for module in pkgutil.iter_modules([str(_FOLDER)]):
        if module.ispkg:
            sources.setdefault(module.name, []).append(partial(_of_folder, module.name))
    for point in _announced(entry_points):
        sources.setdefault(point.name, []).append(point.load)
    return sources


@cache
def _announced(read: Callable[..., Iterable[EntryPoint]]) -> tuple[EntryPoint, ...]:
    """Systems of other packages; once a process, as it reads the metadata of every package."""
    return tuple(read(group=GROUP))


def _of_folder(name: str) -> object:
    return import_module(f"{GROUP}.{name}").SYSTEM
