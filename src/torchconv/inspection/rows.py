"""One row of the table of a model: what is known of one layer, and what there is to warn of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import lcm, prod
from typing import Any

from ..description import notation, shapes
from ..description.axis import Axis
from ..description.convolution import Convolution
from ..description.interval import fit
from ..network.base import Locality, Operation, Recorded, Volume
from ..network.graph import Network, Node, NodeRow
from ..network.propagation import field_axes, propagate, shape_of
from ..receptive.field import Field
from .receptive_field import ReceptiveField

REARRANGED = ("reshape", "permute", "expand", "")


@dataclass(frozen=True)
class LayerRow:
    """What is known of one call of one layer, for as many images as went in; sizes in samples, memory in bytes.

    macs: products with a real sample; customary_macs: nominal ones, with padding as well, as most programs count.
    sparsity: connections for each output against those of a fully connected layer, 1 where all are there.
    unshared, dense: parameters of the same layer without sharing, and fully connected, as multiples of its own.
    equivariant: to which shifts of its input the layer's output moves along: "yes", "by 2", "no", "invariant".
    known: whether the operation is understood; if not, its numbers are lower bounds.
    """

    name: str
    operation: str
    description: str
    inputs: tuple[str, ...]
    volume: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    customary_macs: int
    bytes: int
    field: ReceptiveField | None
    sparsity: float | None = None
    unshared: float | None = None
    dense: float | None = None
    equivariant: str = ""
    known: bool = True
    module: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and tables."""
        found = {name: value for name, value in asdict(self).items() if name != "field"}
        field = self.field.to_dict() if self.field else {}
        found |= {f"field_{name}": field.get(name) for name in ("size", "stride", "padding")}
        return found | {"inputs": list(self.inputs), "shape": list(self.shape)}


def rows_of(network: Network, outputs: Sequence[str]) -> tuple[list[LayerRow], list[str], list[str]]:
    """(rows, warnings, outputs): a row for every node that does more than rearrange, and for outputs of a new shape.

    outputs: nodes that come out; those without a row stand for the rows they read.
    """
    volumes = {one.node.name: one.volume for one in network.rows}
    fields = {found.node.name: found for found in propagate(network)} if field_axes(network) else {}
    rows, warnings = [], []
    shown: dict[str, tuple[str, ...]] = {}
    for one in network.rows:
        node, found = one.node, fields.get(one.node.name)
        inputs = tuple(dict.fromkeys(name for source in node.inputs for name in shown.get(source, (source,))))
        read = [volumes[name] for name in node.inputs]
        if node.operation.word in REARRANGED and (node.name not in outputs or one.volume == read[0]):
            shown[node.name] = inputs
            continue
        rows.append(_row(one, inputs, read, found and found.field))
        warnings += [*_warnings(node, read), *(found.notes if found else ())]
    said = [name for output in outputs for name in shown.get(output, (output,))]
    return rows, list(dict.fromkeys(warnings)), said


def _row(one: NodeRow, inputs: tuple[str, ...], read: Sequence[Volume], found: Field | None) -> LayerRow:
    operation, volume, macs = one.node.operation, one.volume, one.macs
    recorded = operation if isinstance(operation, Recorded) else None
    conv, first = operation.convolution, read[0] if read else volume
    unshared, dense = _multiples(conv, first) if conv else (None, None)
    moves = _equivariant(operation, first, volume) if not read or len(shape_of(first)) > 2 else "no" if macs else ""
    return LayerRow(
        name=one.node.name,
        operation=operation.title if operation.known else f"unknown: {operation.title}",
        description=f"{conv:}" if conv else _windows(operation),
        inputs=inputs,
        volume=_shown(volume, found),
        shape=shape_of(volume),
        parameters=one.parameters,
        macs=macs,
        customary_macs=operation.macs_ignoring_borders(*read),
        bytes=recorded.bytes if recorded else 4 * volume.numel,
        field=found and ReceptiveField.of_field(found),
        sparsity=macs / (first.numel * volume.numel) if macs and operation.word in ("conv", "linear", "fc") else None,
        unshared=unshared,
        dense=dense,
        equivariant=moves,
        known=operation.known,
        module=recorded.module if recorded else (one.node.shares or one.node.name) if read else "",
    )


def _shown(volume: Volume, found: Field | None) -> str:
    """Sizes along the axes that fields move on, then channels, wherever the tensor keeps them."""
    shape, aligned = shape_of(volume), found.aligned if found else ()
    places = [alignment.dim for alignment in aligned if alignment]
    if not places or len(places) != len(aligned) or places == [*range(len(shape) - len(places), len(shape))]:
        return str(volume)
    channels = prod(length for dim, length in enumerate(shape) if dim and dim not in places)
    return str(Volume(channels, tuple(shape[dim] for dim in places))) if shape[0] == 1 else str(volume)


def _windows(operation: Operation) -> str:
    axes = operation.axes
    parts = ["x".join(str(axis.kernel) for axis in axes)] if axes else []
    for name, write in (("stride", str), ("dilation", str), ("padding", notation.pad)):
        values = [getattr(axis, name) for axis in axes]
        if any(value not in (1, (0, 0)) for value in values):
            parts.append(f"{name}={notation.per_axis(values, write)}")
    return ", ".join(parts)


def _multiples(conv: Convolution, volume: Volume) -> tuple[float, float]:
    """Weights with a kernel for every place, and from every sample to every output, for one weight of this layer."""
    size = volume.size[-conv.ndim :]
    places, own = prod(conv.output_size(size)), prod(conv.weight_shape(size))
    kernel = conv.channels.count * prod(conv.kernel_size)
    return kernel * places / own, conv.in_channels * prod(size) * conv.out_channels * places / own


def _equivariant(operation: Operation, read: Volume, volume: Volume) -> str:
    if not operation.known:
        return "unknown"
    if operation.locality is Locality.POSITIONAL:
        return "no"
    if operation.locality is Locality.GLOBAL and volume.size != read.size and prod(volume.size) == 1:
        return "invariant"
    conv = operation.convolution
    steps = []
    for number, axis in enumerate(operation.axes):
        outputs, samples = shapes.period(axis)
        period = (conv.sharing.periods[number] if conv else 1) or 1
        steps.append(samples * lcm(outputs, period) // outputs)
    if max(steps, default=1) == 1:
        return "yes"
    return f"by {steps[0]}" if len({*steps}) == 1 else f"by {'x'.join(map(str, steps))}"


def _warnings(node: Node, read: Sequence[Volume]) -> Iterator[str]:
    operation = node.operation
    for note in operation.notes:
        yield f"{node.name}: {note}; totals are lower bounds"
    found: dict[str, list[int]] = {}
    for number, axis in enumerate(operation.axes):
        if axis.input_dilation == 1 and len(read[0].size) >= len(operation.axes):
            lost = _lost(axis, read[0].size[number - len(operation.axes)])
            found.setdefault(lost, []).append(number)
    for lost, axes in found.items():
        if lost:
            which = "axis" if len(axes) == 1 else "axes"
            yield f"{node.name}: {lost.format(f'{which} ' + ' and '.join(map(str, axes)))}"


def _lost(axis: Axis, length: int) -> str:
    """Which rows of an input no window reads, and what would fit; "" if all are read, or no more than between windows.

    A window that is shorter than its stride, as 1x1 with stride 2, leaves rows out on purpose.
    """
    found = fit(axis, length)
    if found.remainder <= max(axis.stride - axis.span, 0) or not found.unread:
        return ""
    rows = sum(last - first + 1 for first, last in found.unread)
    runs = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in found.unread)
    few = len(found.unread) < 4
    shown = f"rows {runs} of {length}" if few else f"{rows} of {length} rows, the last one among them,"
    return f"{shown} on {{}} are never read; padding {' or '.join(map(str, found.paddings))} would fit"
