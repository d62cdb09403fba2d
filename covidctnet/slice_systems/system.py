"""A `System` that reads slices or radiographs, made of the parts in which it differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.classes import Classes
from covidctnet.contract import Modality, NetworkSignature, Predictor, RunSettings, Stage, System
from covidctnet.errors import UsageError, WeightsError
from covidctnet.published import PublishedFigures

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.weights import Weights

__all__ = ["slice_system"]


def slice_system(
    name: str,
    title: str,
    *,
    classes: Classes,
    kind: str,
    settings: Callable[[Mapping[str, Any]], object],
    build: Callable[[Mapping[str, Any]], nn.Module],
    predictor: Callable[[], Callable[[Weights, RunSettings], Predictor]],
    stage: Stage,
    reads: str,
    gives: str,
    published: tuple[PublishedFigures, ...] = (),
    variants: tuple[Classes, ...] = (),
    modality: Modality = "ct",
) -> System:
    """A system with one network, whose settings decide how a slice becomes its input.

    Args:
        name: See `System`.
        title: See `System`.
        classes: That it tells apart.
        kind: Of its network.
        settings: Reads those of a card, and refuses impossible ones with `UsageError`.
        build: The network by what the card says of its architecture.
        predictor: Gives the type of its predictor; called when weights are loaded, as it imports
            torch.
        stage: That trains the network.
        reads: What one picture of its input is, in words.
        gives: What it puts out, in words.
        published: What its paper reports.
        variants: See `System`.
        modality: See `System`.
    """

    def check(label: str, card: Mapping[str, Any]) -> None:
        known = [list(each.titles) for each in (classes, *variants)]
        if card["classes"] not in known:
            raise WeightsError(
                f"expected weights that tell {' or '.join(map(str, known))} apart in this order, "
                f"{label!r} tell {card['classes']!r:.200}. Train them again."
            )
        try:
            settings(card.get("settings", {"missing": True}))
        except UsageError as error:
            raise WeightsError(
                f"the card of weights {label!r} has impossible settings ({error}). Copy the "
                "folder again."
            ) from None

    def load(weights: Weights, how: RunSettings) -> Predictor:
        return predictor()(weights, how)

    def signature(kind: str, card: Mapping[str, Any]) -> NetworkSignature:
        size = card["settings"]["size"]
        return NetworkSignature((1, size, size), f"{reads}, grey values in [0, 1]", gives)

    return System(
        name=name,
        title=title,
        modality=modality,
        classes=classes,
        networks=frozenset({kind}),
        check=check,
        deciding=_deciding,
        build=lambda kind, architecture: build(architecture),
        weights=_weights,
        load=load,
        stages=(stage,),
        published=published,
        variants=variants,
        signature=signature,
    )


def _deciding(card: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"settings": dict(card["settings"])}


def _weights() -> type[Weights]:
    from covidctnet.weights import Weights

    return Weights
