"""What there is to know about each layer of a model: one row, from which all totals are added up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import lcm, prod
from typing import Any

from ..description import shapes
from ..description.axis import Axis
from ..description.convolution import Convolution
from ..description.interval import fit
from ..network.base import Locality, Operation
from ..network.graph import Network, Node
from ..network.operations import Input, Recorded, Volume
from ..network.propagation import propagate, shape_of
from ..receptive.field import Field
from .receptive_field import ReceptiveField

REARRANGED = ("reshape", "permute", "expand", "")


@dataclass(frozen=True)
class LayerRow:
    """One layer. Sizes in samples, memory in bytes; of one call, for as many images as went in.

    macs: products with a real sample; customary_macs: those with padding as well, as most programs count.
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
    volumes = {row.node.name: row.volume for row in network.rows}
    rows, warnings = [], []
    shown: dict[str, tuple[str, ...]] = {}
    ndim = max(len(shape_of(volumes[network.nodes[0].name])) - 2, 0)
    known = {found.node.name: found for found in propagate(network)} if ndim else {}
    for node in network.nodes:
        operation = node.operation
        rearranges = operation.word in REARRANGED
        if rearranges and (node.name not in outputs or volumes[node.name] == volumes[node.inputs[0]]):
            shown[node.name] = tuple(name for source in node.inputs for name in shown.get(source, (source,)))
            continue
        inputs = tuple(dict.fromkeys(name for source in node.inputs for name in shown.get(source, (source,))))
        found = known.get(node.name)
        read = [volumes[name] for name in node.inputs]
        rows.append(_row(node, inputs, volumes[node.name], read, found and found.field))
        warnings += [*_warnings(node, read), *(found.notes if found else ())]
    said = [name for output in outputs for name in shown.get(output, (output,))]
    return rows, list(dict.fromkeys(warnings)), said


def _row(node: Node, inputs: tuple[str, ...], volume: Volume, read: Sequence[Volume], found: Field | None) -> LayerRow:
    operation = node.operation
    field = found and ReceptiveField.of_field(found)
    if isinstance(operation, Input):
        size = 4 * volume.numel
        return LayerRow(
            node.name, "input", "", (), str(volume), shape_of(volume), 0, 0, 0, size, field, equivariant="yes"
        )
    recorded = operation if isinstance(operation, Recorded) else None
    conv, macs, first = operation.convolution, operation.macs(*read), read[0]
    dense = first.numel * volume.numel
    return LayerRow(
        node.name,
        operation.title if operation.known else f"unknown: {operation.title}",
        f"{conv:}" if conv else _windows(operation),
        inputs,
        _shown(volume, found),
        shape_of(volume),
        operation.parameters(*read),
        macs,
        operation.macs_ignoring_borders(*read),
        recorded.bytes if recorded else 4 * volume.numel,
        field,
        sparsity=macs / dense if macs and dense and operation.word in ("conv", "linear", "fc") else None,
        unshared=_unshared(conv, first) if conv else None,
        dense=_dense(conv, first) if conv else None,
        equivariant=_equivariant(operation, first, volume) if len(shape_of(first)) > 2 else "no" if macs else "",
        known=operation.known,
        module=recorded.module if recorded else node.name,
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
    if not operation.axes:
        return ""
    parts = ["x".join(str(axis.kernel) for axis in operation.axes)]
    for name in ("stride", "dilation", "padding"):
        values = [getattr(axis, name) for axis in operation.axes]
        if any(value not in (1, (0, 0)) for value in values):
            texts = [
                str(v) if not isinstance(v, tuple) else str(v[0]) if v[0] == v[1] else f"{v[0]}:{v[1]}" for v in values
            ]
            parts.append(f"{name}={texts[0] if len({*texts}) == 1 else 'x'.join(texts)}")
    return ", ".join(parts)


def _unshared(conv: Convolution, volume: Volume) -> float:
    """Weights of a kernel for every place, for one weight of this layer."""
    size = volume.size[-conv.ndim :]
    own = prod(conv.weight_shape(size))
    kernel = conv.channels.count * prod(conv.kernel_size)
    return kernel * prod(conv.output_size(size)) / own


def _dense(conv: Convolution, volume: Volume) -> float:
    """Weights from every sample to every output, for one weight of this layer."""
    size = volume.size[-conv.ndim :]
    inputs, outputs = conv.in_channels * prod(size), conv.out_channels * prod(conv.output_size(size))
    return inputs * outputs / prod(conv.weight_shape(size))


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
