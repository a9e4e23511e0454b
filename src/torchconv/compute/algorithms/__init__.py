"""Every way to compute a convolution, in one ordered table: "auto" is the first that is open, or a much faster one.

base.py says what an algorithm is: the three operations, the reason it declines, seconds, workspace and error. One file
for each way: torch_kernels.py (torch's, in three variants), composed.py (tables and tiled convolutions made of ordinary
ones), depthwise.py, local.py (unshared and tiled), patches.py, separable.py (kernels of low rank), fft/ (by transforms
of tiles, and Winograd's), sparse_matrix.py, and reference.py, the definition as loops.

Nothing here is public but the names that `algorithm=` takes.
"""

from __future__ import annotations

from .base import Algorithm
from .composed import DenseTable, Phases
from .depthwise import Depthwise
from .fft.algorithm import Fourier
from .fft.winograd import Winograd
from .local import Tiled, Unshared
from .patches import Patches
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

__all__ = ["TABLE", "Algorithm"]
