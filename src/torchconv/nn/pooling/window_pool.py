"""Pooling over windows: one class for every statistic and rank."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ...compute.pooling.operator import PoolOperator
from ...description.pooling import Pooling
from ...network.pooling import PoolWindows as Described
from ..conv import FixedSetting


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
    def operation(self) -> Described:
        """Its description as an operation of a network."""
        return Described(self.pooling)

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
