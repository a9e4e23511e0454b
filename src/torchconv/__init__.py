"""torchconv: every convolution, every pooling and every ConvNet of the textbook, as one system on PyTorch.

From the ground up: `description` (what one convolution is), `receptive` (what outputs depend on), `network` (many
descriptions in a graph), `compute` (how one convolution is computed), `signal` (arrays), `nn` (layers), `language`
(text to network to module), `tracing` (module to network), `convert` (module to an equivalent one), `segmentation`,
`inspection`, `drawing`, `training`, `cli`. A folder imports only what is named before it.

The names below are the usual ones; each folder lists its own. All are imported when they are first used, so that
`torchconv --help` does not wait for torch. docs/api.md has every public name, docs/glossary.md the words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .faces import lazy

if TYPE_CHECKING:
    from . import inspection as inspection, nn as nn, segmentation as segmentation
    from .compute.functional import (
        conv as conv,
        conv_input_grad as conv_input_grad,
        conv_weight_grad as conv_weight_grad,
    )
    from .compute.planning.plan import Plan as Plan, plan as plan
    from .convert.model_tuning import tune as tune
    from .convert.prior import PriorPenalty as PriorPenalty, as_linear as as_linear, narrow as narrow, widen as widen
    from .convert.sliding.convert import as_convolution as as_convolution
    from .convert.tiled.inference import tiled as tiled
    from .description.convolution import Convolution as Convolution
    from .drawing.network import draw_field as draw_field, draw_network as draw_network
    from .errors import TorchconvError as TorchconvError
    from .inspection.effective_field import effective_field as effective_field
    from .inspection.equivariance import equivariance as equivariance
    from .inspection.receptive_field import receptive_field as receptive_field
    from .inspection.report import inspect as inspect
    from .language.network_module import build as build
    from .language.parser import parse as parse
    from .nn.pooling.advice import pooling_advice as pooling_advice
    from .signal.convolve import convolve as convolve, correlate as correlate

__version__ = "0.1.0"

_PLACES = {
    "Convolution": "description.convolution",
    "Plan": "compute.planning.plan",
    "PriorPenalty": "convert.prior",
    "TorchconvError": "errors",
    "as_convolution": "convert.sliding.convert",
    "as_linear": "convert.prior",
    "build": "language.network_module",
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
    "segmentation": "segmentation",
    "tiled": "convert.tiled.inference",
    "tune": "convert.model_tuning",
    "widen": "convert.prior",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, which say the same
    __all__ = sorted(_PLACES)
    __getattr__, __dir__ = lazy(__name__, _PLACES)
