"""The way in which each operation of a network reads: one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..description.resampling import Resampling
from ..errors import UnsupportedError
from . import arrangements, elementwise, merging, readings
from . import operations as ops
from .operations import Operation, Volume
from .readings import Reading
from .recorded import Recorded


def _norm(norm: elementwise.Norm, volume: Volume) -> Reading:
    """In use, NORM[batch] knows its statistics already; the others take those of the image."""
    if norm.kind in ("batch", "local"):
        return readings.Same()
    space = tuple(range(2, 2 + len(volume.size)))
    return readings.Mix((1, *space) if norm.kind != "instance" else space)


def _merge(merge: merging.Merge, *volumes: Volume) -> Reading:
    then = arrangements.Join(1) if isinstance(merge, merging.Concat) else readings.Same()
    cuts = tuple(merge.cuts(*volumes))
    return readings.Cut(cuts, then) if any(any(pair) for cut in cuts for pair in cut) else then


def _upsample(upsample: ops.Upsample, volume: Volume) -> Reading:
    return readings.Resize(
        tuple(
            Resampling(size, size * factor, upsample.mode)
            for size, factor in zip(volume.size, upsample.factors, strict=True)
        )
    )


READINGS: dict[type[Operation], Callable[..., Reading]] = {
    ops.Convolve: lambda one, *_: readings.Windows(one.convolution.axes, one.convolution.channels),
    ops.Pool: lambda one, *_: readings.Windows(one.axes),
    ops.GlobalPool: lambda one, volume: readings.Reduce(tuple(range(2, 2 + len(volume.size)))),
    ops.Upsample: _upsample,
    ops.FullyConnected: lambda one, volume: arrangements.flattened((1, volume.channels, *volume.size), one.features),
    elementwise.Activation: lambda one, *_: readings.Same(),
    elementwise.Norm: _norm,
    elementwise.Scale: lambda one, *_: readings.Same(),
    elementwise.Dropout: lambda one, *_: readings.Same(),
    elementwise.Softmax: lambda one, *_: readings.Mix((1,)),
    merging.Sum: _merge,
    merging.Concat: _merge,
}


def reading(operation: Operation, volumes: Sequence[Volume]) -> Reading:
    """How an operation reads these volumes, as tensors (1, channels, *size); raises UnsupportedError if unknown."""
    if isinstance(operation, Recorded):
        return operation.reading
    make: Any = READINGS.get(type(operation))
    if make is None:
        raise UnsupportedError(f"the receptive field of {type(operation).__name__}")
    return make(operation, *volumes)
