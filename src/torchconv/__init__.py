"""torchconv: every convolution, every pooling and every ConvNet of the textbook, as one system on PyTorch.

Names are imported when they are first used, so that `torchconv --help` does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .faces import lazy

if TYPE_CHECKING:
    from . import inspection, nn
    from .compute.functional import conv, conv_input_grad, conv_weight_grad
    from .compute.planning.plan import Plan, plan
    from .convert.prior import as_linear, narrow, widen
    from .convert.prior_penalty import PriorPenalty
    from .convert.sliding.convert import as_convolution
    from .convert.tune import tune
    from .description.convolution import Convolution
    from .drawing.network import draw_field, draw_network
    from .errors import TorchconvError
    from .inspection.effective_field import effective_field
    from .inspection.equivariance import equivariance
    from .inspection.receptive_field import receptive_field
    from .inspection.report import inspect
    from .language.build import build
    from .language.parser import parse
    from .nn.pooling.advice import pooling_advice
    from .signal.convolve import convolve, correlate

__version__ = "0.1.0"

_PLACES = {
    "Convolution": "description.convolution",
    "Plan": "compute.planning.plan",
    "PriorPenalty": "convert.prior_penalty",
    "TorchconvError": "errors",
    "as_convolution": "convert.sliding.convert",
    "as_linear": "convert.prior",
    "build": "language.build",
    "conv": "compute.functional",
    "conv_input_grad": "compute.functional",
    "conv_weight_grad": "compute.functional",
    "convolve": "signal.convolve",
    "correlate": "signal.convolve",
    "draw_field": "drawing.network",
    "draw_network": "drawing.network",
    "effective_field": "inspection.effective_field",
    "equivariance": "inspection.equivariance",
    "inspect": "inspection.report",
    "inspection": "inspection",
    "narrow": "convert.prior",
    "nn": "nn",
    "parse": "language.parser",
    "plan": "compute.planning.plan",
    "pooling_advice": "nn.pooling.advice",
    "receptive_field": "inspection.receptive_field",
    "tune": "convert.tune",
    "widen": "convert.prior",
}

__all__ = [
    "Convolution",
    "Plan",
    "PriorPenalty",
    "TorchconvError",
    "as_convolution",
    "as_linear",
    "build",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "convolve",
    "correlate",
    "draw_field",
    "draw_network",
    "effective_field",
    "equivariance",
    "inspect",
    "inspection",
    "narrow",
    "nn",
    "parse",
    "plan",
    "pooling_advice",
    "receptive_field",
    "tune",
    "widen",
]

__getattr__, __dir__ = lazy(__name__, _PLACES)
