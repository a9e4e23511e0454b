"""Real arrays along one axis by the C++ kernels of floor 3: sums in double precision, and tiles in single."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor

from ..compute.algorithms.fft.tile_costs import Work, cheapest
from ..compute.native import depthwise, library, transforms
from ..compute.planning import cost_model
from ..compute.tensors import room
from ..compute.weight_cache import Kernels
from .request import Job

CALL, PER_OUTPUT, PER_PRODUCT = 20_000, 0.5, 0.06  # nanoseconds of one core, of sums
# Taps from which tiles in single precision are nearly as exact as NumPy's sums, whatever the signs of the numbers are:
# up to 3.4 times their error, where transforms of everything need as many as FEWEST_WHOLE.
FEWEST, FEWEST_WHOLE = 100, 1000
LONGER = 4  # times the taps, that the other operand must be for tiles to be worth it


def takes_sums(job: Job) -> bool:
    """Whether the kernels sum a job: their numbers are double, because one sum in single precision loses too much."""
    return _takes(job, "float64")


def takes_tiles(job: Job) -> bool:
    """Whether the kernels transform a job in tiles, and nearly as exactly as it is summed."""
    return _takes(job, "float32") and FEWEST <= job.taps[0] <= job.size[0] / LONGER and _cut(job) is not None


def _takes(job: Job, kind: str) -> bool:
    return job.kind == kind and len(job.first) == 1 and not job.tensors and library.available()


def nanoseconds(job: Job) -> float:
    """What sums take, about."""
    work = prod(job.outputs) * (PER_OUTPUT + PER_PRODUCT * job.taps[0])
    return CALL + work / cost_model.cores(torch.get_num_threads())


def sums(first: np.ndarray, second: np.ndarray, job: Job) -> np.ndarray:
    """The job by sums of products, each in a register."""
    (taps,), ((start, stop),) = job.taps, job.spans
    x, weight = _tensor(first).view(1, 1, 1, -1), _tensor(second[::-1]).view(1, 1, -1)
    return depthwise.output(x, weight, [1, 1], [0, taps - 1 - start], [1, stop - start]).view(-1).numpy()


def tiles(first: np.ndarray, second: np.ndarray, job: Job) -> np.ndarray:
    """The job by transforms of tiles."""
    ((start, stop),) = job.spans
    x, weight = _tensor(first).view(1, 1, -1), _tensor(second[::-1]).view(1, 1, -1)
    cut = _cut(job)
    assert cut is not None, "takes_tiles says where there are tiles"
    return transforms.output(cut, x, Kernels(weight, weight.shape), [stop - start]).view(-1).numpy()


@lru_cache(maxsize=4096)
def _cut(job: Job) -> transforms.Cut | None:
    """The tiles that take least; None where there are none for so many taps."""
    (taps,), ((start, stop),) = job.taps, job.spans
    limit = room(None, 4 * (job.size[0] + taps + stop - start))
    work = Work((stop - start,), (taps,), 1, 1, 1, 1, limit, torch.get_num_threads())
    lengths = cheapest(work)
    return None if lengths is None else transforms.Cut(1, [taps - 1 - start], lengths, work.spectra_room(lengths))


def _tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(x, None, ["C", "W"]))
