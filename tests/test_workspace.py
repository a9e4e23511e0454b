"""Workspace: estimates against measured peaks, and limits that plans, calls and layers keep."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from benchmarks.grid import GRID
from benchmarks.measure import peak_bytes
from torch import Tensor

import torchconv as tc
from torchconv.compute.algorithms import sparse_matrix
from torchconv.compute.algorithms.fft.algorithm import Fourier
from torchconv.compute.native import loader
from torchconv.compute.operator import Operator
from torchconv.compute.planning import choose
from torchconv.compute.planning.choose import BY_NAME, ROLES
from torchconv.compute.planning.measure import Bench
from torchconv.compute.problem import Problem
from torchconv.compute.tensors import FEW, WORKSPACE, room

TABLE = (torch.arange(512).reshape(32, 16) % 3 > 0).numpy()
DENSE = tc.Convolution(32, 64, (7, 7), padding=3)
CASES = {
    "dense": (DENSE, 8, (96, 96), ("fft", "patches")),
    "stride": (tc.Convolution(32, 64, (7, 7), padding=3, stride=2), 8, (96, 96), ("fft", "patches")),
    "dilation": (tc.Convolution(32, 64, (7, 7), padding=6, dilation=2), 8, (96, 96), ("fft",)),
    "volume": (tc.Convolution(8, 16, (5, 5, 5), padding=2), 4, (32, 32, 32), ("fft", "patches")),
    "depthwise": (tc.Convolution(64, 64, (31, 31), padding=15, groups=64), 8, (96, 96), ("fft", "depthwise")),
    "single": (tc.Convolution(1, 1, (101, 101), padding="same"), 1, (1500, 1500), ("fft", "depthwise")),
    "few": (tc.Convolution(64, 64, (3, 3), padding=1), 16, (64, 64), ("winograd", "patches")),
    "table": (tc.Convolution(16, 32, (5, 5), padding=2, connections=TABLE), 16, (64, 64), ("dense-table",)),
    "unshared": (tc.Convolution(32, 32, (3, 3), padding=1, sharing="none"), 16, (40, 40), ("unshared", "patches")),
    "tiled": (tc.Convolution(32, 32, (5, 5), padding=2, sharing=2), 16, (64, 64), ("tiled", "phases", "patches")),
    "sparse": (tc.Convolution(2, 4, (5, 5), padding=2), 16, (96, 96), ("matrix",)),
}
PAIRS = [(name, algorithm) for name, case in CASES.items() for algorithm in case[3]]
NOISE = 10e6  # bytes by which the memory of a process differs from run to run
GENEROUS = 2.5  # times the peak that an estimate may be: a shape that fits must not be refused
COMPILED = ("depthwise", "unshared", "tiled", "winograd")


def problem_of(name: str, precision: str = "fast", **settings) -> Problem:
    conv, batch, size, _ = CASES[name]
    return Problem(conv, torch.float32, "cpu", precision, batch, size, torch.get_num_threads(), **settings)


def in_a_thread(compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The kernels keep some memory from call to call, of each thread: a new one has none yet."""

    def run() -> Tensor:
        found = []
        thread = threading.Thread(target=lambda: found.append(compute()))
        thread.start()
        thread.join()
        return found[0]

    return run


def peaks(bench: Bench, name: str, role: str) -> list[int]:
    """Bytes beyond the result in a few runs; too few where what other runs gave back is used again, uncounted."""

    def compute() -> Tensor:
        sparse_matrix._rows.cache_clear()
        return bench.run(BY_NAME[name], role)

    result = {"output": bench.grad, "input": bench.x, "weight": bench.weight}[role]
    return [peak_bytes(in_a_thread(compute)) - result.nbytes for _ in range(3)]


@pytest.mark.parametrize(("case", "name"), PAIRS)
def test_estimates_are_what_is_taken(case: str, name: str) -> None:
    if name in COMPILED and not loader.available():
        pytest.skip("this installation has no compiled kernels")
    problem = problem_of(case)
    bench = Bench(problem)
    measured = {role: peaks(bench, name, role) for role in ROLES}
    estimated = {role: BY_NAME[name].workspace(problem, role) for role in ROLES}
    assert all(min(measured[role]) <= 1.25 * estimated[role] + NOISE for role in ROLES), (measured, estimated)
    most = max(map(max, measured.values()))
    assert max(estimated.values()) <= GENEROUS * most + 2 * NOISE, (measured, estimated)


@pytest.mark.parametrize(("conv", "size"), [(DENSE, (48, 48)), (CASES["volume"][0], (20, 20, 20))], ids=["2", "3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transforms_keep_to_a_limit_in_parts(conv: tc.Convolution, size: tuple[int, ...], dtype: torch.dtype) -> None:
    """Less memory, more parts, equal results; float64 and three axes go by torch's transforms."""
    problem = Problem(conv, dtype, "cpu", "auto", 24, size, torch.get_num_threads(), workspace=10**10)
    wide = BY_NAME["fft"].workspace(problem, "output")
    narrow = replace(problem, workspace=wide * 2 // 3)
    tight = Bench(narrow)
    for role in ROLES:
        assert BY_NAME["fft"].workspace(narrow, role) <= narrow.room
        expected = Bench(problem).run(BY_NAME["fft"], role)
        got = tight.run(BY_NAME["fft"], role)
        assert float((got - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_parts_take_less_memory() -> None:
    conv, _, size, _ = CASES["volume"]
    limit = 100_000_000
    tight = Problem(conv, torch.float32, "cpu", "auto", 16, size, torch.get_num_threads(), workspace=limit)
    assert BY_NAME["fft"].workspace(tight, "output") <= limit
    assert min(peaks(Bench(tight), "fft", "output")) <= 1.25 * limit + NOISE


@pytest.mark.parametrize("name", [name for name in CASES if name != "sparse"])
@pytest.mark.parametrize("limit", [None, 0, 10_000_000])
def test_nothing_above_the_limit_is_chosen(name: str, limit: int | None) -> None:
    problem = problem_of(name, workspace=limit)
    first, choice = choose.opened(problem)[0], choose.choose(problem)
    for role in ROLES:
        chosen = BY_NAME[choice[role].name]
        assert chosen is first or chosen.workspace(problem, role) <= problem.room
    if limit == 0:
        assert choice.output.name == first.name


def test_the_default_is_four_times_the_arrays() -> None:
    problem = problem_of("dense")
    arrays = 4 * (problem.numbers + 64 * 32 * 7 * 7)
    assert problem.room == WORKSPACE * arrays == room(None, arrays)
    small = Problem(DENSE, torch.float32, "cpu", "auto", 1, (9, 9))
    assert small.room == FEW


def test_narrow_numbers_count_as_float32() -> None:
    wide = problem_of("dense")
    assert replace(wide, dtype=torch.bfloat16).room == wide.room < replace(wide, dtype=torch.float64).room


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("precision", ["auto", "fast"])
def test_the_default_leaves_the_grid_as_it_was(dtype: torch.dtype, precision: str) -> None:
    """On no shape of the benchmark is the fastest way left out by the default limit."""
    for shape in GRID:
        free = Problem(shape.convolution, dtype, "cpu", precision, shape.batch, shape.size, 2, workspace=10**12)
        default, unlimited = choose.choose(replace(free, workspace=None)), choose.choose(free)
        assert [default[role].name for role in ROLES] == [unlimited[role].name for role in ROLES], shape


def test_explain_says_what_needs_too_much() -> None:
    conv, shape = tc.Convolution(64, 64, (31, 31), padding=15, groups=64), (8, 64, 56, 56)
    free = tc.plan(conv, shape)
    assert 0 < free.workspace <= free.problem.room
    tight = tc.plan(conv, shape, workspace=100)
    assert tight.algorithms == dict.fromkeys(ROLES, "torch")
    text = tight.explain()
    assert f"of {choose.megabytes(100)}" in text.splitlines()[1]
    (line,) = [line for line in text.splitlines() if line.startswith("fft")]
    needed = min(BY_NAME["fft"].workspace(tight.problem, role) for role in ROLES)
    assert line.split(maxsplit=1)[1] == f"needs {choose.megabytes(needed)}, limit {choose.megabytes(100)}"
    assert "needs 6,200 MB, limit 52 MB" in next(row.reason for row in free.rows if row.name == "patches")


def test_calls_and_layers_take_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    output = Fourier.output
    monkeypatch.setattr(Fourier, "output", lambda self, *given: (used.append(self.limit), output(self, *given))[1])
    x, weight = torch.randn(2, 1, 256, 256), torch.randn(1, 1, 63, 63)
    free = tc.conv(x, weight)
    assert used == [None]
    torch.testing.assert_close(tc.conv(x, weight, workspace=0), free, rtol=1e-3, atol=1e-3)
    assert used == [None]
    layer = tc.nn.Conv2d(1, 1, 63, workspace=0, precision="fast")
    layer(x)
    assert (used, layer.workspace, layer.precision) == ([None], 0, "fast")
    tc.conv(x, weight, workspace=2**23)
    assert used == [None, 2**23]
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert (again.workspace, again.precision) == (0, "fast")
    assert tc.plan(layer, (2, 1, 256, 256)).problem.workspace == 0
    transposed = tc.nn.ConvTranspose2d(1, 1, 31, workspace=0)
    assert transposed(x, output_size=(286, 286)).shape == (2, 1, 286, 286)
    assert len(used) == 2


def test_a_name_and_a_limit_below_it_are_refused() -> None:
    x, weight = torch.randn(1, 4, 64, 64), torch.randn(4, 4, 9, 9)
    assert tc.conv(x, weight, algorithm="patches").shape == (1, 4, 56, 56)
    with pytest.raises(tc.TorchconvError, match=r"it declines: needs .* MB, limit 1.0 kB"):
        tc.conv(x, weight, algorithm="patches", workspace=1000)
    assert tc.conv(x, weight, algorithm="torch", workspace=0).shape == (1, 4, 56, 56)


@pytest.mark.parametrize("workspace", [-1, 1.5, True, "1GB"])
def test_what_is_no_number_of_bytes_is_refused(workspace: object) -> None:
    for request in (
        lambda: tc.conv(torch.zeros(1, 1, 4), torch.zeros(1, 1, 2), workspace=workspace),
        lambda: tc.plan(DENSE, (1, 32, 9, 9), workspace=workspace),
        lambda: Operator(DENSE, workspace=workspace),
    ):
        with pytest.raises(tc.TorchconvError, match=r"workspace: got .* expected a number of bytes"):
            request()
