"""Initial weights and biases: torch.nn's distribution, and from the same seed the same numbers."""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import Tensor

from ..compute.layouts import TRANSPOSED
from ..description.convolution import Convolution


def reset(convolution: Convolution, weight: Tensor | None, bias: Tensor | None, layout: str) -> None:
    """Fill those of weight and bias that are given with numbers between -bound and bound, bound = 1 / sqrt(fan in).

    The fan in is what one output reads, input channels times taps; with a connection table it differs from output to
    output. For a transposed layer torch takes the fan of its transposed weights, and so does this.

    Source: He et al. 2015, Delving deep into rectifiers, section 2.2; the gain is that of torch.nn.Conv2d.
    """
    taps = prod(convolution.kernel_size)
    channels = convolution.channels
    if channels.rows is None:
        width = (channels.out_channels if layout == TRANSPOSED else channels.in_channels) // channels.groups
        fan, reads = width * taps, None
    else:
        fan, reads = taps, channels.rows
    gain = torch.nn.init.calculate_gain("leaky_relu", sqrt(5))
    with torch.no_grad():
        if weight is not None:
            _uniform(weight, sqrt(3.0) * gain / sqrt(fan))
            if reads is not None:
                each = torch.tensor([len(row) for row in reads for _ in row], device=weight.device)
                weight.div_(each.sqrt().reshape(-1, *(1,) * convolution.ndim))
        if bias is not None:
            _uniform(bias, 1 / sqrt(fan))
            if reads is not None:
                bias.div_(torch.tensor([max(len(row), 1) for row in reads], device=bias.device).sqrt())


def _uniform(tensor: Tensor, bound: float) -> None:
    (torch.view_as_real(tensor) if tensor.is_complex() else tensor).uniform_(-bound, bound)
