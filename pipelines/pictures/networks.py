"""The two networks, drawn from the modules themselves: run once without memory and watched.

Every number in a drawing is one that a module or a tensor gave. The layout alone is ours: that
BCDU-Net is a U, and the 3D CNN a row.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor, nn

from covidctnet.models import CNN3D, BCDUNet, ConvLSTMPair
from covidctnet.report.svg import LINE, Drawing
from covidctnet.results import Label

__all__ = ["Call", "draw_bcdunet", "draw_cnn3d", "trace"]

BLUE, GREEN, ORANGE, WHITE = "#e3effb", "#e4f3e6", "#fdf0dc", "#ffffff"


@dataclass(frozen=True, eq=False)
class Call:
    """A module that ran.

    Attributes:
        name: Dotted, as in `named_modules`.
        module: What ran.
        inputs: What it was given.
        output: What it gave, (batch, channel, ...).
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def channels(self) -> int:
        """Of the output."""
        return self.output.shape[1]

    @property
    def parameters(self) -> int:
        """Numbers that training changes."""
        return _count(self.module)


def trace(network: nn.Module, shape: Sequence[int]) -> list[Call]:
    """Every module of a network that runs, in the order in which they end.

    Args:
        network: Left as it is; a copy on torch's meta device runs, which computes shapes only.
        shape: Of the input, (batch, channel, ...).
    """
    # Training mode: else dropout hands its input through, and what it stands on is not to be seen.
    ghost = copy.deepcopy(network).to("meta").train()
    calls: list[Call] = []

    def watch(name: str, module: nn.Module) -> None:
        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls.append(Call(name, module, inputs, output))

        module.register_forward_hook(note)

    for name, module in ghost.named_modules():
        watch(name, module)
    with torch.no_grad():
        ghost(torch.empty(*shape, device="meta"))
    return calls


_WIDTH, _MARGIN = 900.0, 30.0
_BOX = (176.0, 66.0)
_LEFT, _MIDDLE, _RIGHT = _MARGIN, 376.0, _WIDTH - _MARGIN - _BOX[0]
_TOP, _PITCH, _STACK, _FRAME = 96.0, 178.0, 80.0, 9.0


def draw_bcdunet(network: BCDUNet, *, size: int) -> str:
    """BCDU-Net as a U: down on the left, densely connected below, merged and up on the right.

    Args:
        network: What to draw.
        size: Rows and columns of its input, a multiple of 8.

    Returns:
        An SVG file's content.
    """
    calls = trace(network, (1, 1, size, size))
    encoders, dense, decoders = (
        [call for call in calls if call.name.startswith(kind) and "." not in call.name]
        for kind in ("encoder", "dense", "decoder")
    )
    w, h = _BOX
    # A row a level, below the input; the bottom is the last.
    rows = [_TOP + h + 36 + level * _PITCH for level in range(len(encoders) + 1)]
    drawing = Drawing(_WIDTH, rows[-1] + h + (62 if len(dense) > 1 else 28), "BCDU-Net")
    _title(drawing, "BCDU-Net, the denoiser", network)

    whole = _named(calls, "")
    _draw_end(drawing, "input", ["input", _shape(whole.inputs[0])], _LEFT)
    drawing.arrow((_LEFT + w / 2, _TOP + h), (_LEFT + w / 2, rows[0] - 3))
    pools = [call for call in calls if isinstance(call.module, nn.MaxPool2d)]
    for call, pool, top, below in zip(encoders, pools, rows, rows[1:], strict=False):
        _draw_block(drawing, calls, call, (_LEFT, top), BLUE)
        drawing.arrow((_LEFT + w / 2, top + h), (_LEFT + w / 2, below - 3))
        at = (_LEFT + w / 2 + 12, (top + h + below) / 2 + 4)
        drawing.text(at, _word(pool.module), faint=True, anchor="start")
    _draw_bottom(drawing, calls, dense, rows[-1])
    # The last decoder to run is the topmost.
    for call, top in zip(reversed(decoders), rows, strict=False):
        _draw_decoder(drawing, calls, call, top)
        if top != rows[0]:
            x = _RIGHT + w / 2
            drawing.arrow((x, top), (x, top - _PITCH + _STACK + h + 3))
        # The skip connection leaves the encoder whose output has its shape.
        skip = call.inputs[0]
        (level,) = (n for n, e in enumerate(encoders) if e.output.shape == skip.shape)
        y = rows[level] + h / 2
        drawing.arrow((_LEFT + w, y), (_MIDDLE - _FRAME - 3, y))
        drawing.text(((_LEFT + w + _MIDDLE - _FRAME) / 2, y - 8), "skip", faint=True)
        for words in _dropped(calls, skip, by_output=True):
            drawing.text(((_LEFT + w + _MIDDLE - _FRAME) / 2, y + 18), words, faint=True)
    drawing.arrow((_RIGHT + w / 2, rows[0]), (_RIGHT + w / 2, _TOP + h + 3))
    head = _named(calls, "head")
    _draw_end(drawing, "head", [*_layers(_leaves(calls, "head")), *_facts(head)], _RIGHT)
    return str(drawing)


def _draw_end(drawing: Drawing, name: str, lines: Sequence[str], x: float) -> None:
    """A box on the topmost line, as high as its lines want."""
    tall = max(_BOX[1], 16 + LINE * len(lines))
    drawing.box(name, (x, _TOP + _BOX[1] - tall), (_BOX[0], tall), lines, fill=WHITE)


def _draw_block(
    drawing: Drawing, calls: Sequence[Call], call: Call, corner: tuple[float, float], fill: str
) -> None:
    lines = [*_layers(_leaves(calls, call.name)), *_facts(call)]
    drawing.box(call.name, corner, _BOX, lines, fill=fill)


def _draw_bottom(
    drawing: Drawing, calls: Sequence[Call], dense: Sequence[Call], top: float
) -> None:
    """The dense blocks in a row, and the way up to the first decoder."""
    w, h = _BOX
    places = (_LEFT, _MIDDLE, _RIGHT)[: len(dense)]
    for number, (call, x) in enumerate(zip(dense, places, strict=True)):
        _draw_block(drawing, calls, call, (x, top), ORANGE)
        is_last = number == len(dense) - 1
        end = _RIGHT if is_last else places[number + 1]
        up = (_RIGHT + w / 2, top - _PITCH + _STACK + h + 3)
        if x == _RIGHT:
            drawing.arrow((x + w / 2, top), up)
        elif is_last:
            drawing.arrow((x + w, top + h / 2), (_RIGHT + w / 2, top + h / 2), up)
        else:
            drawing.arrow((x + w, top + h / 2), (end - 3, top + h / 2))
        for words in _dropped(calls, call.output):
            if x == _RIGHT:
                at, anchor = (x + w / 2 + 12, top - 12), "start"
            else:
                at, anchor = ((x + w + end) / 2, top + h / 2 - 8), "middle"
            drawing.text(at, words, faint=True, anchor=anchor)
        # Wider than what stands before it gave: an earlier block comes in too.
        if number > 1 and _taken(calls, call.name) > dense[number - 1].channels:
            y = top + h + 26
            start, stop = places[0] + w / 2, x + w / 2
            drawing.arrow((start, top + h), (start, y), (stop, y), (stop, top + h + 3))
            words = f"concatenated: {_plural(_taken(calls, call.name), 'channel')}"
            drawing.text(((start + stop) / 2, y + 20), words, faint=True)


def _draw_decoder(drawing: Drawing, calls: Sequence[Call], call: Call, top: float) -> None:
    """Double the size, merge with the skip connection, two convolutions."""
    w, h = _BOX
    skip = call.inputs[0]
    up, norm = _named(calls, f"{call.name}.up"), _named(calls, f"{call.name}.norm")
    lines = [f"{_word(up.module)}, {_word(norm.module)}", *_facts(norm, up)]
    drawing.box(up.name, (_RIGHT, top + _STACK), _BOX, lines, fill=BLUE)

    merging = [
        c for c in calls if c.name.startswith(call.name) and isinstance(c.module, ConvLSTMPair)
    ]
    # Forward, from the skip connection to what comes from below, stands first.
    merging.sort(key=lambda c: c.inputs[0] is not skip)
    tall = _STACK + h
    corner = (_MIDDLE - _FRAME, top - _FRAME)
    drawing.frame(corner, (w + 2 * _FRAME, tall + 2 * _FRAME))
    first = top + (tall - h - _STACK * (len(merging) - 1)) / 2
    for number, merge in enumerate(merging):
        lstm = merge.module
        assert isinstance(lstm, ConvLSTMPair)
        order = "skip first" if merge.inputs[0] is skip else "skip last"
        lines = [f"ConvLSTM {_kernel(lstm.input)}, {order}", *_facts(merge)]
        drawing.box(merge.name, (_MIDDLE, first + number * _STACK), _BOX, lines, fill=GREEN)

    convs = _named(calls, f"{call.name}.convs")
    edge = _MIDDLE + w + _FRAME
    drawing.arrow((_RIGHT, top + _STACK + h / 2), (edge + 3, top + _STACK + h / 2))
    drawing.arrow((edge, top + h / 2), (_RIGHT - 3, top + h / 2))
    if len(merging) > 1:
        drawing.text(((edge + _RIGHT) / 2, top + h / 2 - 8), "concatenated", faint=True)
    words = _plural(_taken(calls, convs.name), "channel")
    drawing.text(((edge + _RIGHT) / 2, top + h / 2 + 18), words, faint=True)
    _draw_block(drawing, calls, convs, (_RIGHT, top), BLUE)


_COLUMN, _HEADINGS, _ANSWERS = 98.0, 96.0, 52.0
_GROUND, _LARGEST = 214.0, 56.0


@dataclass(frozen=True)
class _Stop:
    """A column of the 3D CNN's drawing.

    Attributes:
        name: Of its last module with weights.
        layers: What it does, a line each.
        gives: Channels, or values.
        shape: Slices, rows and columns, or none.
        parameters: Of its layers.
        then: What follows: pooling, dropout.
    """

    name: str
    layers: list[str]
    gives: str
    shape: tuple[int, ...]
    parameters: int
    then: list[str]


def draw_cnn3d(network: CNN3D) -> str:
    """The 3D CNN as a row of blocks that shrink, with what they are below.

    Args:
        network: What to draw; it knows its own input.

    Returns:
        An SVG file's content.
    """
    stops = _stops(trace(network, (1, *network.input_shape)))
    width = _HEADINGS + _COLUMN * len(stops) + _ANSWERS
    drawing = Drawing(width, _GROUND + 222, "The 3D CNN")
    _title(drawing, "The 3D CNN, the classifier", network)
    _draw_table(drawing, stops)

    tallest = max(stop.shape[1] for stop in stops if stop.shape)
    deepest = max(stop.shape[0] for stop in stops if stop.shape)
    centre = _GROUND - 24 - _LARGEST / 2
    edges: list[tuple[float, float]] = []
    for number, stop in enumerate(stops):
        x = _HEADINGS + (number + 0.5) * _COLUMN
        if stop.shape:
            # By the square root: true to scale, the last blocks would be specks.
            side = _LARGEST * math.sqrt(stop.shape[1] / tallest)
            back = 0.3 * _LARGEST * math.sqrt(stop.shape[0] / deepest)
            left = x - (side + back) / 2
            fill = "#c98a2b" if number == 0 else "#4d8fcb"
            drawing.cuboid(stop.name, (left, centre - side / 2), side, back, fill=fill)
            edges.append((left, left + side + back))
        else:
            drawing.box(stop.name, (x - 8, centre - 38), (16, 76), [], fill=GREEN, edge="#5d9b68")
            edges.append((x - 8, x + 8))
    for (_, right), (left, _) in pairwise(edges):
        drawing.arrow((right + 3, centre), (left - 4, centre))
    if stops[-1].gives == _plural(len(Label), "value"):
        for label in Label:
            at = (edges[-1][1] + 8, centre + 5 + 24 * (label - (len(Label) - 1) / 2))
            drawing.text(at, label.title, anchor="start")
    return str(drawing)


def _draw_table(drawing: Drawing, stops: Sequence[_Stop]) -> None:
    rows = (
        ("layers", 24, [stop.layers for stop in stops]),
        ("give", 84, [[stop.gives] for stop in stops]),
        ("voxels", 111, [[_times(stop.shape)] if stop.shape else [] for stop in stops]),
        ("parameters", 138, [[f"{s.parameters:,}"] if s.parameters else [] for s in stops]),
        ("then", 165, [stop.then for stop in stops]),
    )
    for heading, down, cells in rows:
        y = _GROUND + down
        drawing.text((20, y), heading, faint=True, anchor="start")
        drawing.rule(y - 18, 20, drawing.width - 20)
        for number, lines in enumerate(cells):
            x = _HEADINGS + (number + 0.5) * _COLUMN
            for line, words in enumerate(lines):
                at = (x, y + line * (LINE - 1))
                drawing.text(at, words, room=_COLUMN - 8, bold=heading == "layers")


def _stops(calls: Sequence[Call]) -> list[_Stop]:
    """The columns: the input, convolutions up to a pooling, each dense layer."""
    blocks: list[list[Call]] = [[]]
    for call in calls:
        if any(call.module.children()):
            continue
        if isinstance(call.module, nn.Linear) and blocks[-1]:
            blocks.append([])
        blocks[-1].append(call)
        if isinstance(call.module, nn.MaxPool3d):
            blocks.append([])
    given = _named(calls, "").inputs[0]
    shape = tuple(given.shape[2:])
    out = [_Stop("input", ["residual"], _plural(given.shape[1], "channel"), shape, 0, [])]
    for block, following in zip(blocks, [*blocks[1:], []], strict=True):
        heavy = [call for call in block if call.parameters]
        last = heavy[-1]
        is_dense = isinstance(last.module, nn.Linear)
        then = [
            word
            for call in block
            if isinstance(call.module, nn.MaxPool3d | nn.Dropout)
            for word in _words(call.module)
        ]
        if not is_dense and following and isinstance(following[0].module, nn.Linear):
            then += ["flatten:", _plural(following[0].module.in_features, "value")]
        out.append(
            _Stop(
                last.name,
                [word for line in _units(block) for word in line],
                _plural(last.channels, "value" if is_dense else "channel"),
                tuple(last.output.shape[2:]),
                sum(call.parameters for call in heavy),
                then,
            )
        )
    return out


def _title(drawing: Drawing, words: str, network: nn.Module) -> None:
    drawing.text((drawing.width / 2, 36), words, size=19, bold=True)
    total = _plural(_count(network), "parameter")
    drawing.text((drawing.width / 2, 60), total, size=15, faint=True)


def _named(calls: Iterable[Call], name: str) -> Call:
    return next(call for call in calls if call.name == name)


def _leaves(calls: Iterable[Call], name: str) -> list[Call]:
    return [call for call in calls if call.name.startswith(f"{name}.")]


def _taken(calls: Iterable[Call], name: str) -> int:
    """Channels that a module was given."""
    return _named(calls, name).inputs[0].shape[1]


def _dropped(calls: Iterable[Call], tensor: Tensor, *, by_output: bool = False) -> list[str]:
    """The dropout that a tensor went into, or came out of, in words; empty without one."""
    return [
        _word(call.module)
        for call in calls
        if isinstance(call.module, nn.Dropout)
        and (call.output if by_output else call.inputs[0]) is tensor
    ][:1]


def _facts(call: Call, *others: Call) -> list[str]:
    """What a box says below its kind: the shape of its output, and its parameters."""
    count = sum(one.parameters for one in (call, *others))
    return [_shape(call.output), _plural(count, "parameter")]


def _layers(leaves: Iterable[Call]) -> list[str]:
    """Layers in words, a line for every kind in a row: ``2 × conv 3 × 3, ReLU``."""
    return [
        " ".join(words[:2]) + "".join(f", {word}" for word in words[2:]) for words in _units(leaves)
    ]


def _units(leaves: Iterable[Call]) -> list[list[str]]:
    """Layers with weights, each with what is computed on its output; equal ones counted."""
    units: list[list[str]] = []
    for leaf in leaves:
        if leaf.parameters:
            units.append(_words(leaf.module))
        elif not isinstance(leaf.module, nn.MaxPool3d | nn.Dropout):
            units[-1].append(_word(leaf.module))
    out = []
    for (kind, *rest), equal in groupby(units):
        count = len(list(equal))
        out.append([f"{count} × {kind}" if count > 1 else kind, *rest])
    return out


_KINDS = {
    nn.Conv2d: "conv",
    nn.Conv3d: "conv",
    nn.ConvTranspose2d: "up-conv",
    nn.MaxPool2d: "max-pool",
    nn.MaxPool3d: "max-pool",
    nn.BatchNorm2d: "batch norm",
    nn.Dropout: "dropout",
    nn.Linear: "dense",
    nn.ReLU: "ReLU",
    nn.Sigmoid: "sigmoid",
}


def _word(module: nn.Module) -> str:
    return " ".join(_words(module))


def _words(module: nn.Module) -> list[str]:
    """A layer's kind, and its kernel or rate if it has one."""
    kind = _KINDS[type(module)]
    if isinstance(module, nn.Dropout):
        return [kind, f"{module.p:g}"]
    return [kind, _kernel(module)] if hasattr(module, "kernel_size") else [kind]


def _kernel(module: nn.Module) -> str:
    size = module.kernel_size
    if isinstance(size, int):  # of a pooling, which may leave the other axes unsaid
        size = (size,) * (3 if isinstance(module, nn.MaxPool3d) else 2)
    return _times(size)  # type: ignore[arg-type]


def _shape(tensor: Tensor) -> str:
    return f"{_plural(tensor.shape[1], 'channel')}, {_times(tensor.shape[2:])}"


def _times(sizes: Iterable[int]) -> str:
    return " × ".join(str(size) for size in sizes)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
