"""The way in which each operation of a network reads: one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..description.axis import Axis
from ..description.connections import Connections
from ..description.resampling import Resampling
from ..description.shapes import sources
from ..errors import UnsupportedError
from ..receptive import access
from ..receptive.access import Reading
from . import operations, pooling
from . import operations as ops
from .operations import Operation, Volume
from .recorded import Recorded


def _norm(norm: operations.Norm, volume: Volume) -> Reading:
    """In use, NORM[batch] knows its statistics already; the others take those of the image."""
    if norm.kind in ("batch", "local"):
        return access.Same()
    space = tuple(range(2, 2 + len(volume.size)))
    return access.Mix((1, *space) if norm.kind != "instance" else space)


def _merge(merge: operations.Merge, *volumes: Volume) -> Reading:
    then = access.Join(1) if isinstance(merge, operations.Concat) else access.Same()
    cuts = tuple(merge.cuts(*volumes))
    return access.Cut(cuts, then) if any(any(pair) for cut in cuts for pair in cut) else then


def _upsample(upsample: ops.Upsample, volume: Volume) -> Reading:
    return access.Resize(
        tuple(
            Resampling(size, size * factor, upsample.mode)
            for size, factor in zip(volume.size, upsample.factors, strict=True)
        )
    )


def _grid(pool: pooling.GridPool, volume: Volume) -> Reading:
    levels = [
        access.Resize(tuple(Resampling(size, cells, "area") for size, cells in zip(volume.size, grid, strict=True)))
        for grid in pool.grids
    ]
    if len(levels) == 1:
        return levels[0]
    flat = access.Flatten(2)
    return access.Beside(tuple(access.Steps((level, flat)) for level in levels), 2)


def _channels(pool: pooling.ChannelPool, volume: Volume) -> Reading:
    (axis,), channels = pool.pooling.axes, volume.channels
    table = np.zeros((pool.output(volume).channels, channels), dtype=bool)
    for output, inputs in enumerate(sources(axis, channels)):
        table[output, inputs[inputs >= 0]] = True
    return access.Windows((Axis(1),) * len(volume.size), Connections.of(channels, len(table), table=table))


def _clusters(pool: pooling.ClusterPool, features: Volume, codes: Volume | None = None) -> Reading:
    """The cluster of a descriptor is found from all its channels; codes keep to theirs."""
    cells = tuple(Resampling(size, count, "area") for size, count in zip(features.size, pool.grid, strict=True))
    outputs = pool.output(features, codes).channels
    every = access.Windows((Axis(1),) * len(cells), Connections.of(features.channels, outputs))
    found = access.Steps((every, access.Resize(cells)))
    if codes is None:
        return found
    own = access.Pick(1, tuple((output % codes.channels,) for output in range(outputs)))
    return access.Each((found, access.Steps((own, access.Resize(cells)))))


def _boxes(pool: pooling.RegionPool, volume: Volume) -> Reading:
    steps: list[Reading] = []
    for dim, (spans, size) in enumerate(zip(pool.spans(volume.size), volume.size, strict=True), 2):
        table = tuple((*span, *[-1] * (size - len(span))) for span in spans)
        steps.append(access.Pick(dim, table))
    steps.append(access.Flatten(2))
    if pool.pairs:
        count = len(pool.regions)
        chosen = tuple((channel * count + region,) for channel, region in pool.pairs)
        steps += [access.Flatten(1), access.Pick(1, chosen)]
    return access.Steps(tuple(steps))


READINGS: dict[type[Operation], Callable[..., Reading]] = {
    ops.Convolve: lambda one, *_: access.Windows(one.convolution.axes, one.convolution.channels),
    pooling.Pool: lambda one, *_: access.Windows(one.pooling.axes),
    pooling.LearnedPool: lambda one, *_: access.Windows(one.pooling.axes),
    pooling.GridPool: _grid,
    pooling.ChannelPool: _channels,
    pooling.GlobalPool: lambda one, volume: access.Reduce(tuple(range(2, 2 + len(volume.size)))),
    pooling.ClusterPool: _clusters,
    pooling.RegionPool: _boxes,
    ops.Upsample: _upsample,
    ops.FullyConnected: lambda one, volume: access.flattened((1, volume.channels, *volume.size), one.features),
    operations.Activation: lambda one, *_: access.Same(),
    operations.Norm: _norm,
    operations.Scale: lambda one, *_: access.Same(),
    operations.Dropout: lambda one, *_: access.Same(),
    operations.Softmax: lambda one, *_: access.Mix((1,)),
    operations.Sum: _merge,
    operations.Concat: _merge,
}


def reading(operation: Operation, volumes: Sequence[Volume]) -> Reading:
    """How an operation reads these volumes, as tensors (1, channels, *size); raises UnsupportedError if unknown."""
    if isinstance(operation, Recorded):
        return operation.reading
    make: Any = READINGS.get(type(operation))
    if make is None:
        raise UnsupportedError(f"the receptive field of {type(operation).__name__}")
    return make(operation, *volumes)
