"""Pooling over windows, of samples or of channels: one class for every statistic and rank."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...compute.pooling.operator import PoolOperator
from ...compute.tensors import recording
from ...description.axis import positive
from ...description.pooling import Pooling
from ...errors import ShapeError
from ...network.operations import Volume
from ...network.pooling import PoolChannels, PoolWindows
from ..conv import FixedSetting
from .grid_pool import DescribedLayer


class Pool(torch.nn.Module):
    """The layer of a pooling's description: (batch, channels, *size), or without a batch, to (..., *output size).

    >>> Pool(Pooling((2, 2), statistic="mean"))(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 3, 4, 4])
    """

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self._operator = PoolOperator(pooling)

    def forward(self, x: Tensor) -> Tensor:
        return self._operator(x)

    @property
    def operation(self) -> PoolWindows:
        """Its description as an operation of a network."""
        return PoolWindows(self.pooling)

    def extra_repr(self) -> str:
        return str(self.pooling)

    @FixedSetting
    def pooling(self) -> Pooling:
        """The description."""
        return self._operator.pooling


class _Pool(Pool):
    """Layers whose arguments are a description's; `ndim` is all in which the ranks differ."""

    ndim: ClassVar[int]

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        statistic: str = "max",
        p: float | None = None,
        weight: Any = None,
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> None:
        flags = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
        super().__init__(Pooling(kernel_size, stride, padding, dilation, statistic, p, weight, **flags, ndim=self.ndim))


class Pool1d(_Pool):
    """A statistic of every window along one axis; arguments as `Pooling` says, input (batch, channels, length).

    >>> Pool1d(3, stride=1, padding=1, statistic="l2")(torch.tensor([[[3.0, 4.0, 0.0]]]))
    tensor([[[5., 5., 4.]]])
    """

    ndim = 1


class Pool2d(_Pool):
    """A statistic of every window along two axes; arguments as `Pooling` says, input (batch, channels, height, width).

    kernel_size, stride (None: the window's size), padding, dilation: an int or one per axis, padding also (low, high).
    statistic: "max", "mean", "l2", "lp" with p > 0, "weighted" with weight. Padding does not count as data, unless
    count_include_pad=True. Raises SettingError, and ShapeError for a window that does not fit or holds padding only.
    Source: Goodfellow, Bengio, Courville 2016, Deep learning, section 9.3; Zhang 2019, section 3 (weight="binomial").

    >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> Pool2d(2)(image).flatten().tolist(), Pool2d(3, 2, 1, statistic="mean")(image).flatten().tolist()
    ([5.0, 7.0, 13.0, 15.0], [2.5, 4.0, 8.5, 10.0])
    >>> Pool2d(3, stride=2, padding=1, statistic="weighted", weight="binomial")(image).shape
    torch.Size([1, 1, 2, 2])
    """

    ndim = 2


class Pool3d(_Pool):
    """A statistic of every window along three axes; arguments as `Pooling` says.

    >>> Pool3d(2, statistic="lp", p=3)(-torch.ones(1, 1, 2, 2, 2)).item()
    2.0
    """

    ndim = 3


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
    def operation(self) -> PoolChannels:
        """Its description as an operation of a network."""
        return PoolChannels(self.pooling)

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
