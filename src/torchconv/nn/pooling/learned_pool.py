"""Pooling whose weights are learned: a weighted average that starts as the mean."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parameter import Parameter

from ...compute.operator import Operator
from ...compute.padding import follows_size
from ...compute.pooling import torch_backend
from ...compute.tensors import THREAD, check_tensors, recording
from ...description.axis import Axis, positive
from ...description.connections import Connections
from ...description.convolution import Convolution
from ...description.pooling import Pooling
from ...description.shapes import padding as padding_of
from ...errors import ShapeError
from ...network.pooling import PoolLearned


class LearnedPool(torch.nn.Module):
    """The layer of a pooling's description, with learned weights in place of its statistic.

    channels: give each channel weights of its own; None: one set of weights for all.
    """

    def __init__(self, pooling: Pooling, channels: int | None = None, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.pooling, self.channels = pooling, None if channels is None else positive("channels", channels)
        shape = (1 if channels is None else channels, *pooling.kernel_size)
        self.logits = Parameter(torch.zeros(shape, device=device, dtype=dtype))
        self._operators: dict[tuple[int, ...], Operator] = {}

    @property
    def weight(self) -> Tensor:
        """The weights, (1 or channels, *kernel_size), positive, with a sum of 1 for each window."""
        return _averaging(self.logits)

    def reset_parameters(self) -> None:
        """Back to the mean."""
        torch.nn.init.zeros_(self.logits)

    def forward(self, x: Tensor) -> Tensor:
        check_tensors(input=x)
        ndim = self.pooling.ndim
        if x.ndim == ndim + 1:
            return self(x.unsqueeze(0)).squeeze(0)
        if x.ndim != ndim + 2 or (self.channels is not None and x.shape[1] != self.channels):
            sizes = ", ".join(["batch", str(self.channels or "channels"), *["size"] * ndim])
            raise ShapeError(f"input of pooling {self.pooling}", got=f"shape {tuple(x.shape)}", expected=f"({sizes})")
        observer = THREAD.observer
        if observer is None or torch.compiler.is_compiling():
            return self._compute(x, self.logits)
        return observer.whole(PoolLearned(self.pooling, self.channels is not None), [x, self.logits], self._compute)

    def _compute(self, x: Tensor, logits: Tensor) -> Tensor:
        weight = _averaging(logits).unsqueeze(1)
        sums = self._sums(x, weight.expand(x.shape[1], *weight.shape[1:]))
        pads = (padding_of(axis, n) for axis, n in zip(self.pooling.axes, x.shape[2:], strict=True))
        if not follows_size(self.pooling.axes) and not any(any(pad) for pad in pads):
            return sums
        ones = x.new_ones(1, len(weight), *x.shape[2:])  # padding is no data: the weights that meet it are left out
        return sums / self._sums(ones, weight)

    def _sums(self, x: Tensor, weight: Tensor) -> Tensor:
        """The weighted sum of every window of each channel, by a convolution that is prepared once for every size."""
        if recording():
            return torch_backend.convolved(x, weight, self.pooling)
        channels, *size = key = tuple(x.shape[1:])
        if key not in self._operators:
            self.pooling.output_size(size)  # raises where no window fits
            axes = zip(self.pooling.axes, size, strict=True)
            placed = (Axis(axis.kernel, axis.stride, axis.dilation, padding_of(axis, n)) for axis, n in axes)
            described = Convolution.of_parts(Connections.of(channels, channels, channels), tuple(placed))
            self._operators[key] = Operator(described)
        return self._operators[key](x, weight)

    def extra_repr(self) -> str:
        settings = str(self.pooling).partition(", ")[2]
        return settings + ("" if self.channels is None else f", channels={self.channels}")


def _averaging(logits: Tensor) -> Tensor:
    """Weights with a sum of 1 for each window."""
    return logits.flatten(1).softmax(1).reshape(logits.shape)


class _LearnedPool(LearnedPool):
    ndim: ClassVar[int]

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        channels: int | None = None,
        device: Any = None,
        dtype: Any = None,
        *,
        ceil_mode: bool = False,
    ) -> None:
        pooling = Pooling(kernel_size, stride, padding, dilation, "mean", ceil_mode=ceil_mode, ndim=self.ndim)
        super().__init__(pooling, channels, device, dtype)


class LearnedPool1d(_LearnedPool):
    """A weighted average of every window along one axis, its weights learned; it starts as the mean.

    >>> LearnedPool1d(2)(torch.tensor([[[1.0, 3.0]]])).tolist()
    [[[2.0]]]
    """

    ndim = 1


class LearnedPool2d(_LearnedPool):
    """A weighted average of every window along two axes, its weights learned; it starts as the mean.

    kernel_size, stride (None: the window's size), padding, dilation, ceil_mode: as for Pool2d; padding is no data.
    channels: weights for each of so many channels; None: one set for all. Weights are the softmax of `logits`.
    Raises SettingError, and ShapeError for an input that does not go with it.
    Source: Lee, Gallagher, Tu 2016, Generalizing pooling functions in convolutional neural networks, section 3.2: one
    leaf of a pooling tree, its filter v in f(x) = v'x learned; here it stays an average.

    >>> pool = LearnedPool2d(2)
    >>> pool(torch.ones(1, 3, 4, 4)).shape, pool.weight.flatten().tolist()
    (torch.Size([1, 3, 2, 2]), [0.25, 0.25, 0.25, 0.25])
    """

    ndim = 2


class LearnedPool3d(_LearnedPool):
    """A weighted average of every window along three axes, its weights learned; it starts as the mean.

    >>> LearnedPool3d(2, channels=3).logits.shape
    torch.Size([3, 2, 2, 2])
    """

    ndim = 3
