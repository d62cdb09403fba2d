"""The classes that a system tells apart: ordered, named, one of them the normal one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from covidctnet.errors import CohortError, UsageError

__all__ = ["CHEST_CT", "Classes", "Label"]


class Label(int):
    """One class of several: its place among the network's outputs, with its names.

    Attributes:
        key: Name in column headers, such as ``covid19``.
        title: Name that a person reads, and that a cohort's folder has, such as ``Covid-19``.
        rank: 0 for the normal class, then 1, 2, ... for the positive ones in their order.
    """

    key: str
    title: str
    rank: int

    def __new__(cls, place: int, title: str, rank: int) -> Label:
        """The class of a title at a place, from 0; the same object every time."""
        return _label(place, title, rank)

    def __str__(self) -> str:
        return self.title

    def __repr__(self) -> str:
        return f"Label({int(self)}, {self.title!r})"

    def __format__(self, spec: str) -> str:
        return format(self.title, spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return Label, (int(self), self.title, self.rank)


@dataclass(frozen=True)
class Classes:
    """An ordered set of classes.

    Labels are reached by name (``classes.COVID19``), by key (``classes["covid19"]``) or by place
    (``classes[1]``); iteration goes by place.

    Attributes:
        titles: Names that people read, in the order of the network's outputs; at least two.
        normal: Title of the class without the disease; every other one is positive.
        aliases: Titles by other names that cohorts, or systems of more classes, use for them.
        note: What a reader should know of the titles, in a sentence.
    """

    titles: tuple[str, ...]
    normal: str
    aliases: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    note: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        keys = [_plain(title) for title in self.titles]
        if len(keys) < 2 or len(set(keys)) < len(keys) or not all(keys):
            raise UsageError(
                f"expected two classes or more with names of their own, got {self.titles}"
            )
        if self.normal not in self.titles:
            raise UsageError(f"expected one of {self.titles} as the normal class, {self.normal!r}")

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """All of them, in order."""
        ranks = iter(range(1, len(self.titles)))
        return tuple(
            Label(place, title, 0 if title == self.normal else next(ranks))
            for place, title in enumerate(self.titles)
        )

    @cached_property
    def _by_key(self) -> Mapping[str, Label]:
        return {label.key: label for label in self.labels}

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.titles)

    def __getitem__(self, which: int | str) -> Label:
        if isinstance(which, str):
            return self._by_key[which]
        return self.labels[which]

    def __getattr__(self, name: str) -> Label:
        if name.startswith("_") or not name.isupper():
            raise AttributeError(name)
        if name.lower() not in self._by_key:
            raise AttributeError(f"no class {name!r}; the classes are {', '.join(self.titles)}")
        return self._by_key[name.lower()]

    @property
    def normal_label(self) -> Label:
        """The class without the disease."""
        return self.labels[self.titles.index(self.normal)]

    @property
    def positive(self) -> tuple[Label, ...]:
        """The others, in order."""
        return tuple(label for label in self if label.title != self.normal)

    @property
    def target(self) -> Label:
        """The class that two-class figures are about: the first positive one."""
        return self.positive[0]

    @property
    def reading_order(self) -> tuple[Label, ...]:
        """What a reader looks for comes first: the positive classes, then the normal one."""
        return (*self.positive, self.normal_label)

    @property
    def in_words(self) -> str:
        """The titles as an enumeration, in reading order: "Covid-19, CAP or Control"."""
        *most, last = (label.title for label in self.reading_order)
        return f"{', '.join(most)} or {last}"

    def to_dict(self) -> dict[str, Any]:
        """Titles and the normal one, ready for JSON."""
        return {"titles": list(self.titles), "normal": self.normal}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Classes:
        """What `to_dict` wrote; without aliases, which only a system declares.

        Raises:
            KeyError, TypeError: If it is something else.
            UsageError: If they are no classes.
        """
        known = cls(tuple(map(str, value["titles"])), normal=str(value["normal"]))
        return CHEST_CT if known == CHEST_CT else known

    @classmethod
    def from_titles(cls, text: str) -> Classes:
        """Classes from their titles with commas between, the normal one first.

        Raises:
            UsageError: If they are no classes.
        """
        titles = tuple(title.strip() for title in text.split(","))
        known = cls(titles, normal=titles[0])
        return CHEST_CT if known == CHEST_CT else known

    def covers(self, others: Classes) -> bool:
        """Whether each of these stands for at least one of the others, and none is left over."""
        try:
            return {self.parse(title) for title in others.titles} == set(self)
        except CohortError:
            return False

    def parse(self, text: str) -> Label:
        """The class that a text names, whatever its case and punctuation.

        Raises:
            CohortError: If no class goes by that name.
        """
        plain = _plain(text)
        known = {_plain(name): title for name, title in self.aliases.items()}
        key = _plain(known.get(plain, plain))
        if key not in self._by_key:
            raise CohortError(
                f"unknown label {text!r}; known labels are {', '.join(self.titles)}"
            ) from None
        return self._by_key[key]


@cache
def _label(place: int, title: str, rank: int) -> Label:
    # One object each: labels that come from another process are compared by identity as well.
    made = int.__new__(Label, place)
    made.title = title
    made.key = _plain(title)
    made.rank = rank
    return made


def _plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


# The classes of CovidCTNet, and of the cohorts and phantoms that this package was made for.
CHEST_CT = Classes(
    ("Control", "Covid-19", "CAP"),
    normal="Control",
    aliases={"controls": "Control", "normal": "Control", "covid": "Covid-19"},
    note="CAP is community-acquired pneumonia.",
)
