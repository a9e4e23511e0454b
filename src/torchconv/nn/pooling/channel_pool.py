"""Pooling over channels: Maxout, and other statistics of neighbouring channels."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor

from ...compute.pooling.operator import PoolOperator
from ...compute.tensors import recording
from ...description.axis import positive
from ...description.pooling import Pooling
from ...errors import ShapeError
from ...network.operations import Volume
from ...network.pooling import PoolChannels as Described
from .grid_pool import DescribedLayer


class ChannelPool(DescribedLayer):
    """A statistic of neighbouring channels at every place: (batch, channels, *size) to (batch, fewer channels, *size).

    size: channels of a window. stride: channels from one window to the next; None: size, which must divide them then.
    statistic, p, weight: as for Pool2d. Over the outputs of separately learned filters it learns invariances.
    Raises SettingError for settings that do not go together, ShapeError for channels that are no multiple of stride.
    Source: Goodfellow, Bengio, Courville 2016, Deep learning, section 9.3, figure 9.9.

    >>> import torch
    >>> ChannelPool(2, statistic="l2")(torch.tensor([[3.0, 4.0, 0.0, 2.0]]))
    tensor([[5., 2.]])
    """

    def __init__(
        self, size: int, stride: Any = None, statistic: str = "max", p: float | None = None, weight: Any = None
    ) -> None:
        super().__init__()
        self._set(Pooling((size,), stride, statistic=statistic, p=p, weight=weight))

    def _set(self, pooling: Pooling) -> ChannelPool:
        self.pooling = pooling
        (axis,) = pooling.axes
        weight = None if pooling.weights is None else pooling.full_weight()[:, None]
        settings = {"statistic": pooling.kind, "p": pooling.p, "weight": weight}
        self._operator = PoolOperator(Pooling((axis.kernel, 1), (axis.stride, 1), **settings))
        return self

    @classmethod
    def of(cls, pooling: Pooling) -> ChannelPool:
        """The layer of a description with one axis, that of the channels."""
        return cls(pooling.kernel_size[0])._set(pooling)

    @property
    def operation(self) -> Described:
        """Its description as an operation of a network."""
        return Described(self.pooling)

    def _compute(self, x: Tensor) -> Tensor:
        if x.ndim < 2:
            shape = f"shape {tuple(x.shape)}"
            raise ShapeError("input of pooling over channels", got=shape, expected="(batch, channels, *size)")
        if not recording():
            self.operation.output(Volume(x.shape[1], ()))  # raises where channels do not go into windows
        pooled = self._operator(x.reshape(x.shape[0], 1, x.shape[1], prod(x.shape[2:])))
        return pooled.reshape(x.shape[0], pooled.shape[2], *x.shape[2:])

    def extra_repr(self) -> str:
        return str(self.pooling)


class Maxout(ChannelPool):
    """The largest of every `pieces` channels: (batch, channels, *size) to (batch, channels / pieces, *size).

    pieces: learned linear pieces for each output. Raises ShapeError for channels that are no multiple of it.
    Source: Goodfellow et al. 2013, Maxout networks, section 3.

    >>> import torch
    >>> Maxout(2)(torch.tensor([[1.0, 5.0, -2.0, -3.0]]))
    tensor([[ 5., -2.]])
    """

    def __init__(self, pieces: int) -> None:
        super().__init__(positive("pieces", pieces))

    def extra_repr(self) -> str:
        return f"pieces={self.pooling.kernel_size[0]}"
