"""Initial weights and biases: torch.nn's distribution, and from the same seed the same numbers."""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import Tensor

from ..compute.layouts import TRANSPOSED
from ..description.convolution import Convolution


def reset(convolution: Convolution, weight: Tensor, bias: Tensor | None, layout: str) -> None:
    """Fill weight and bias in place with numbers between -bound and bound, bound = 1 / sqrt(fan in).

    The fan in is what one output reads, input channels times taps; with a connection table it differs from output to
    output. For a transposed layer torch takes the fan of its transposed weights, and so does this.

    Source: He et al. 2015, Delving deep into rectifiers, section 2.2; the gain is that of torch.nn.Conv2d.
    """
    taps = prod(convolution.kernel_size)
    channels = convolution.channels
    if channels.rows is None:
        width = (channels.out_channels if layout == TRANSPOSED else channels.in_channels) // channels.groups
        scale = None
        fan = width * taps
    else:
        fan = 1
        scale = torch.tensor([sqrt(1 / (max(len(row), 1) * taps)) for row in channels.rows], device=weight.device)
    gain = torch.nn.init.calculate_gain("leaky_relu", sqrt(5))
    with torch.no_grad():
        _uniform(weight, sqrt(3.0) * gain / sqrt(fan))
        if scale is not None:
            repeats = torch.tensor([len(row) for row in channels.rows or ()], device=weight.device)
            weight.mul_(scale.repeat_interleave(repeats).reshape(-1, *(1,) * convolution.ndim))
        if bias is not None:
            _uniform(bias, 1 / sqrt(fan))
            if scale is not None:
                bias.mul_(scale)


def _uniform(tensor: Tensor, bound: float) -> None:
    (torch.view_as_real(tensor) if tensor.is_complex() else tensor).uniform_(-bound, bound)
