"""A network in several processes that computes what one would: NORM and DROPOUT see the batch of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


@dataclass
class Share:
    """The part of a process: of every batch each `world`-th image, beginning with the `rank`-th.

    whole: images in the batch of all processes at hand.
    """

    rank: int = 0
    world: int = 1
    whole: int = 0

    @property
    def rows(self) -> slice:
        """The own rows of a whole batch."""
        return slice(self.rank, None, self.world)


class _Sum(Function):
    """The sum over all processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class SyncedNorm(_BatchNorm):
    """Batch normalisation by the statistics of all processes, on any device; torch's SyncBatchNorm has none for CPUs.

    Parameters and buffers are those of the BatchNorm it takes the place of.
    """

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        x = input.float()
        axes = [0, *range(2, x.dim())]
        shape = (1, -1) + (1,) * (x.dim() - 2)
        counted = _Sum.apply(torch.cat([x.sum(axes), x.new_tensor([x.numel() / x.shape[1]])]))
        assert isinstance(counted, Tensor)
        count = counted[-1].detach()
        mean = counted[:-1] / count
        centred = x - mean.view(shape)
        squares = _Sum.apply((centred * centred).sum(axes))
        assert isinstance(squares, Tensor)
        self._remember(mean, squares, count)
        result = centred * (squares / count + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, squares: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(squares / (count - 1), part)


class SharedDropout(torch.nn.Module):
    """Dropout that draws for the batch of all processes and takes its share.

    spatial: whether whole channels are dropped.
    """

    def __init__(self, rate: float, spatial: bool, share: Share) -> None:
        super().__init__()
        self.rate, self.spatial, self.share = rate, spatial, share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if self.rate == 1:
            return x * 0
        inner = (x.shape[1], *(1,) * (x.dim() - 2)) if self.spatial else x.shape[1:]
        kept = torch.empty((self.share.whole, *inner), dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
        return x * kept[self.share.rows].div_(1 - self.rate)


def shared(module: torch.nn.Module, share: Share) -> None:
    """Let the NORM and the DROPOUT inside a module see the batch of all processes; its state keeps its names."""
    for name, child in module.named_children():
        if isinstance(child, _DropoutNd):
            made = SharedDropout(child.p, not isinstance(child, torch.nn.Dropout), share)
            setattr(module, name, made.train(child.training))
        elif share.world > 1 and type(child).__name__ in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"):
            setattr(module, name, _synced(child))
        else:
            shared(child, share)


def _synced(norm: Any) -> SyncedNorm:
    """A SyncedNorm with the parameters and the buffers of a BatchNorm."""
    made = SyncedNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.weight, made.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers():
        setattr(made, name, buffer)
    return made.train(norm.training)
