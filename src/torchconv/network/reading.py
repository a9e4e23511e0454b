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
from ..receptive.access import AccessPattern
from . import operations, pooling
from . import operations as ops
from .operations import Operation, Volume
from .recorded import Recorded


def _norm(norm: operations.Norm, volume: Volume) -> AccessPattern:
    """In use, NORM[batch] knows its statistics already; the others take those of the image."""
    if norm.kind in ("batch", "local"):
        return access.Pointwise()
    space = tuple(range(2, 2 + len(volume.size)))
    return access.Mix((1, *space) if norm.kind != "instance" else space)


def _merge(merge: operations.Merge, *volumes: Volume) -> AccessPattern:
    then = access.Join(1) if isinstance(merge, operations.Concat) else access.Pointwise()
    cuts = tuple(merge.cuts(*volumes))
    return access.Cropped(cuts, then) if any(any(pair) for cut in cuts for pair in cut) else then


def _upsample(upsample: ops.Upsample, volume: Volume) -> AccessPattern:
    return access.Resize(
        tuple(
            Resampling(size, size * factor, upsample.mode)
            for size, factor in zip(volume.size, upsample.factors, strict=True)
        )
    )


def _grid(pool: pooling.PoolGrid, volume: Volume) -> AccessPattern:
    levels = [
        access.Resize(tuple(Resampling(size, cells, "area") for size, cells in zip(volume.size, grid, strict=True)))
        for grid in pool.grids
    ]
    if len(levels) == 1:
        return levels[0]
    flat = access.Flatten(2)
    return access.Beside(tuple(access.Composed((level, flat)) for level in levels), 2)


def _channels(pool: pooling.PoolChannels, volume: Volume) -> AccessPattern:
    (axis,), channels = pool.pooling.axes, volume.channels
    table = np.zeros((pool.output(volume).channels, channels), dtype=bool)
    for output, inputs in enumerate(sources(axis, channels)):
        table[output, inputs[inputs >= 0]] = True
    return access.SlidingWindows((Axis(1),) * len(volume.size), Connections.of(channels, len(table), table=table))


def _clusters(pool: pooling.PoolClusters, features: Volume, codes: Volume | None = None) -> AccessPattern:
    """The cluster of a descriptor is found from all its channels; codes keep to theirs."""
    cells = tuple(Resampling(size, count, "area") for size, count in zip(features.size, pool.grid, strict=True))
    outputs = pool.output(features, codes).channels
    every = access.SlidingWindows((Axis(1),) * len(cells), Connections.of(features.channels, outputs))
    found = access.Composed((every, access.Resize(cells)))
    if codes is None:
        return found
    own = access.Gather(1, tuple((output % codes.channels,) for output in range(outputs)))
    return access.Each((found, access.Composed((own, access.Resize(cells)))))


def _boxes(pool: pooling.PoolRegions, volume: Volume) -> AccessPattern:
    steps: list[AccessPattern] = []
    for dim, (spans, size) in enumerate(zip(pool.spans(volume.size), volume.size, strict=True), 2):
        table = tuple((*span, *[-1] * (size - len(span))) for span in spans)
        steps.append(access.Gather(dim, table))
    steps.append(access.Flatten(2))
    if pool.pairs:
        count = len(pool.regions)
        chosen = tuple((channel * count + region,) for channel, region in pool.pairs)
        steps += [access.Flatten(1), access.Gather(1, chosen)]
    return access.Composed(tuple(steps))


READINGS: dict[type[Operation], Callable[..., AccessPattern]] = {
    ops.Convolve: lambda one, *_: access.SlidingWindows(one.convolution.axes, one.convolution.channels),
    pooling.PoolWindows: lambda one, *_: access.SlidingWindows(one.pooling.axes),
    pooling.PoolLearned: lambda one, *_: access.SlidingWindows(one.pooling.axes),
    pooling.PoolGrid: _grid,
    pooling.PoolChannels: _channels,
    pooling.PoolAll: lambda one, volume: access.Reduce(tuple(range(2, 2 + len(volume.size)))),
    pooling.PoolClusters: _clusters,
    pooling.PoolRegions: _boxes,
    ops.Upsample: _upsample,
    ops.FullyConnected: lambda one, volume: access.flattened((1, volume.channels, *volume.size), one.features),
    operations.Activation: lambda one, *_: access.Pointwise(),
    operations.Norm: _norm,
    operations.ScaleChannels: lambda one, *_: access.Pointwise(),
    operations.Dropout: lambda one, *_: access.Pointwise(),
    operations.Softmax: lambda one, *_: access.Mix((1,)),
    operations.Sum: _merge,
    operations.Concat: _merge,
}


def reading(operation: Operation, volumes: Sequence[Volume]) -> AccessPattern:
    """How an operation reads these volumes, as tensors (1, channels, *size); raises UnsupportedError if unknown."""
    if isinstance(operation, Recorded):
        return operation.pattern
    make: Any = READINGS.get(type(operation))
    if make is None:
        raise UnsupportedError(f"the receptive field of {type(operation).__name__}")
    return make(operation, *volumes)
