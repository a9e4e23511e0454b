"""Networks written in the language, with the numbers that traced ones carry: the same rows for both."""

from __future__ import annotations

from ..network import elementwise, merging, pooling
from ..network import operations as ops
from ..network.graph import Network, Node, Row
from ..network.operations import Input, Operation
from ..network.reading import reading
from ..network.recorded import Recorded


def described(network: Network) -> Network:
    """Each operation as one that was recorded."""
    volumes = {row.node.name: row.volume for row in network.rows}
    rows = (row for row in network.rows)
    return Network(tuple(_recorded(row, volumes) for row in rows))


def _recorded(row: Row, volumes: dict) -> Node:
    node, operation = row.node, row.node.operation
    if isinstance(operation, Input | Recorded):
        return node
    read = [volumes[name] for name in node.inputs]
    convolution = operation.convolution if isinstance(operation, ops.Convolve) else None
    customary = convolution.macs_ignoring_borders(read[0].size) if convolution else row.macs
    found = Recorded(
        _word(operation),
        reading(operation, read),
        row.volume,
        inputs=len(node.inputs),
        weights=row.parameters,
        exact=row.macs,
        customary=customary,
        convolution=convolution,
        axes=convolution.axes if convolution else operation.pooling.axes if isinstance(operation, pooling.Pool) else (),
        module=node.name,
        bytes=4 * row.volume.numel,
        equivariant=_moves(operation),
    )
    return Node(node.name, found, node.inputs)


def _word(operation: Operation) -> str:
    kind = f"{operation.kind}norm" if isinstance(operation, elementwise.Norm) else operation.word
    return getattr(operation, "title", kind)


def _moves(operation: Operation) -> str:
    if isinstance(operation, ops.Convolve):
        return "no" if operation.convolution.sharing.needs_size else "yes"
    cropped = isinstance(operation, merging.Merge) and operation.crop
    return getattr(operation, "moves", "no" if cropped or isinstance(operation, ops.FullyConnected) else "yes")
