"""Every way to compute a convolution: the one ordered table. The first that does not decline is "auto"."""

from __future__ import annotations

from .base import Algorithm, Problem
from .dense_table import DenseTable
from .patches import Patches
from .phases import Phases
from .reference_loops import ReferenceLoops
from .sparse_matrix import ScipyMatrix, TorchMatrix
from .torch_kernels import TorchChannelsLast, TorchKernels

TABLE: tuple[Algorithm, ...] = (
    DenseTable(),
    TorchKernels(),
    TorchChannelsLast(),
    Phases(),
    Patches(),
    TorchMatrix(),
    ScipyMatrix(),
    ReferenceLoops(),
)

__all__ = ["TABLE", "Algorithm", "Problem"]
