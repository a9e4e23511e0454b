"""torchconv: every convolution, every pooling and every ConvNet of the textbook, as one system on PyTorch.

Names are imported when they are first used, so that `torchconv --help` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import inspection, nn
    from .compute.functional import conv, conv_input_grad, conv_weight_grad
    from .compute.plan import Plan, plan
    from .description.convolution import Convolution
    from .errors import TorchconvError
    from .inspection.effective import effective_field
    from .inspection.equivariance import equivariance
    from .inspection.inspect import inspect, receptive_field
    from .inspection.pictures import draw_field, draw_network
    from .language.parser import parse
    from .nn.advice import pooling_advice
    from .nn.penalty import PriorPenalty
    from .nn.prior import as_linear, narrow, widen
    from .nn.tuning import tune
    from .signal.arrays import convolve, correlate
    from .translate.build import build
    from .translate.sliding.convert import as_convolution

__version__ = "0.1.0"

_PLACES = {
    "Convolution": "description.convolution",
    "Plan": "compute.plan",
    "PriorPenalty": "nn.penalty",
    "TorchconvError": "errors",
    "as_convolution": "translate.sliding.convert",
    "as_linear": "nn.prior",
    "build": "translate.build",
    "conv": "compute.functional",
    "conv_input_grad": "compute.functional",
    "conv_weight_grad": "compute.functional",
    "convolve": "signal.arrays",
    "correlate": "signal.arrays",
    "draw_field": "inspection.pictures",
    "draw_network": "inspection.pictures",
    "effective_field": "inspection.effective",
    "equivariance": "inspection.equivariance",
    "inspect": "inspection.inspect",
    "inspection": "inspection",
    "narrow": "nn.prior",
    "nn": "nn",
    "parse": "language.parser",
    "plan": "compute.plan",
    "pooling_advice": "nn.advice",
    "receptive_field": "inspection.inspect",
    "tune": "nn.tuning",
    "widen": "nn.prior",
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


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'torchconv' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = import_module(f"{__name__}.{_PLACES[name]}")
    value = module if name == _PLACES[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
