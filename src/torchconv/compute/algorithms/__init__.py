"""Every way to compute a convolution: the one ordered table. "auto" is the first that is open, or a much faster one."""

from __future__ import annotations

from .base import Algorithm, Problem
from .dense_table import DenseTable
from .depthwise import Depthwise
from .fft.algorithm import Fourier
from .fft.winograd import Winograd
from .local import Tiled, Unshared
from .patches import Patches
from .phases import Phases
from .reference import ReferenceLoops
from .separable import Separable
from .sparse_matrix import SparseMatrix
from .torch_kernels import TorchBfloat16, TorchChannelsLast, TorchKernels

TABLE: tuple[Algorithm, ...] = (
    DenseTable(),
    TorchKernels(),
    TorchChannelsLast(),
    TorchBfloat16(),
    Depthwise(),
    Winograd(),
    Fourier(),
    Separable(),
    Unshared(),
    Tiled(),
    Phases(),
    Patches(),
    SparseMatrix(),
    ReferenceLoops(),
)

__all__ = ["TABLE", "Algorithm", "Problem"]
