"""The C++ kernels on every instruction set of this processor, against torch in float64; and the library itself."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import torchconv as tc
from torchconv.compute.native import direct, loader, pairs, pooling, transforms
from torchconv.compute.operator import Operator

compiled = pytest.mark.skipif(not loader.available(), reason="this installation has no compiled kernels")
LEVELS = loader.LEVELS[: loader.LEVELS.index(loader.best_instructions()) + 1] if loader.available() else ()
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 1.2e-2}


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = loader.instructions()
    assert loader.use_instructions(request.param) == request.param
    yield request.param
    loader.use_instructions(before)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Case:
    """A depthwise convolution with numbers, and what torch makes of it in float64."""

    def __init__(
        self, sizes, kernel, stride=(1, 1), padding=(0, 0), multiplier=1, batch=2, dtype=torch.float32
    ) -> None:
        torch.manual_seed(0)
        self.sizes, self.kernel, self.stride, self.padding = sizes, kernel, stride, padding
        self.x = torch.randn(batch, 3, *sizes, dtype=dtype)
        self.weight = torch.randn(3 * multiplier, 1, *kernel, dtype=dtype)
        x, weight = self.x.double().requires_grad_(), self.weight.double().requires_grad_()
        self.output = torch.conv2d(x, weight, stride=stride, padding=padding, groups=3)
        self.grad = torch.randn(self.output.shape, dtype=dtype)
        self.expected = (self.output.detach(), *torch.autograd.grad(self.output, (x, weight), self.grad.double()))

    def results(self) -> tuple[Tensor, Tensor, Tensor]:
        settings = (self.stride, self.padding)
        return (
            direct.depthwise_output(self.x, self.weight[:, 0], *settings, self.output.shape[2:]),
            direct.depthwise_input_grad(self.grad, self.weight[:, 0], *settings, self.sizes, 3),
            direct.depthwise_weight_grad(self.x, self.grad, *settings, self.kernel)[:, None],
        )

    def check(self) -> None:
        for got, exact in zip(self.results(), self.expected, strict=True):
            assert got.dtype == self.x.dtype
            assert abs(got.double() - exact).max() <= TOLERANCE[got.dtype] * max(float(abs(exact).max()), 1e-3)


@compiled
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        ((9, 11), (3, 3), (1, 1), (1, 1)),
        ((56, 56), (31, 31), (1, 1), (15, 15)),
        ((14, 14), (7, 7), (1, 1), (3, 3), 2),
        ((33, 20), (5, 3), (3, 2), (2, 1)),
        ((1, 2500), (1, 9)),
        ((7, 7), (1, 1), (2, 2)),
        ((8, 8), (2, 2), (3, 3)),
        ((200, 300), (13, 17), (1, 2), (5, 1)),
        ((5, 5), (5, 5), (1, 1), (4, 4)),
        ((3, 70), (4, 51), (1, 1), (3, 50)),
    ],
    ids=str,
)
def test_every_level_and_dtype(level, dtype, settings):
    Case(*settings, dtype=dtype).check()


@compiled
@given(data=st.data())
@settings(max_examples=60)
def test_any_sizes(data):
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    kernel = pair(1, 20)
    size = tuple(taps + more for taps, more in zip(kernel, pair(0, 60), strict=True))
    padding = tuple(min(taps, more) for taps, more in zip(kernel, pair(0, 20), strict=True))
    before = loader.instructions()
    loader.use_instructions(data.draw(st.sampled_from(LEVELS)))
    Case(size, kernel, pair(1, 4), padding, data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))).check()
    loader.use_instructions(before)


@compiled
def test_same_bits_for_any_number_of_threads(level, threads):
    case = Case((40, 50), (7, 5), (1, 2), (3, 2), batch=5)
    torch.set_num_threads(1)
    alone = case.results()
    torch.set_num_threads(2)
    assert all(torch.equal(one, other) for one, other in zip(alone, case.results(), strict=True))


@compiled
def test_any_layout_and_no_images():
    case = Case((12, 13), (3, 5), padding=(1, 2))
    case.x = case.x.contiguous(memory_format=torch.channels_last)
    case.weight = case.weight.transpose(2, 3).contiguous().transpose(2, 3)
    case.grad = case.grad.flip(0).flip(0)[::1].transpose(0, 1).contiguous().transpose(0, 1)
    case.check()
    empty = Case((12, 13), (3, 5), padding=(1, 2), batch=0).results()
    assert [tuple(one.shape) for one in empty] == [(0, 3, 12, 13), (0, 3, 12, 13), (3, 1, 3, 5)]
    assert not empty[2].any()


@compiled
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_sample_reaches_only_what_reads_it(level, bad):
    case = Case((21, 37), (6, 9), (2, 1), (2, 4))
    case.x[1, 1, 20, 36] = bad  # the last sample: lanes and rows past the last window are next to it
    case.grad[0, 2, 0, 0] = bad
    output, input_grad, _ = case.results()
    marks = Case((21, 37), (6, 9), (2, 1), (2, 4))
    marks.weight = torch.ones_like(marks.weight)
    marks.x, marks.grad = (~case.x.isfinite()).float(), (~case.grad.isfinite()).float()
    reads, written, _ = marks.results()
    assert torch.equal(~output.isfinite(), reads != 0)
    assert torch.equal(~input_grad.isfinite(), written != 0)
    marks.grad = torch.ones_like(marks.grad)
    touched = marks.results()[2] != 0
    case.grad = marks.grad
    assert torch.equal(~case.results()[2].isfinite(), touched)


@compiled
def test_the_operations_tell_their_shapes_and_stay_one_node():
    case = Case((9, 10), (3, 3), padding=(1, 1))
    tests = ("test_schema", "test_faketensor")
    size = [9, 10]
    torch.library.opcheck(direct.depthwise_output, (case.x, case.weight[:, 0], [1, 1], [1, 1], size), test_utils=tests)
    torch.library.opcheck(
        direct.depthwise_input_grad, (case.grad, case.weight[:, 0], [1, 1], [1, 1], size, 3), test_utils=tests
    )
    torch.library.opcheck(direct.depthwise_weight_grad, (case.x, case.grad, [1, 1], [1, 1], [3, 3]), test_utils=tests)

    class Layer(torch.nn.Module):
        operator = Operator(tc.Convolution(3, 3, (3, 3), padding=1, groups=3, bias=False), "depthwise")

        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return self.operator(x, weight)

    program = torch.export.export(Layer(), (case.x, case.weight))
    assert "torchconv.depthwise_output" in program.graph_module.code
    torch.testing.assert_close(program.module()(case.x, case.weight).double(), case.expected[0], rtol=1e-4, atol=1e-4)


@compiled
def test_compiled_layers_learn():
    layer = tc.nn.Conv2d(4, 4, 5, padding=2, groups=4, algorithm="depthwise")
    x = torch.randn(2, 4, 9, 9)
    plain, followed = [], []
    for function, found in ((layer, plain), (torch.compile(layer, fullgraph=True, backend="aot_eager"), followed)):
        layer.zero_grad()
        y = function(x)
        y.square().sum().backward()
        found.extend([y.detach(), layer.weight.grad.clone(), layer.bias.grad.clone()])
    for one, other in zip(plain, followed, strict=True):
        torch.testing.assert_close(one, other)


def run(code: str, **environment: str) -> str:
    """What a fresh process prints."""
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        env=os.environ | environment, capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip


FORK = """
import os, signal, torch
from torchconv.compute.native import direct
torch.set_num_threads(2)
x, weight = torch.randn(4, 8, 64, 64), torch.randn(8, 7, 7)
USED
child = os.fork()
if child == 0:
    signal.alarm(30)  # a child that waits for its parent's threads would wait for ever
    y = direct.depthwise_output(x, weight, [1, 1], [3, 3], [64, 64])  # torch itself would wait
    direct.depthwise_weight_grad(x, y, [1, 1], [3, 3], [7, 7])
    os._exit(0)
print(os.waitpid(child, 0)[1], len(direct.depthwise_output(x, weight, [1, 1], [3, 3], [64, 64])))
"""


@compiled
@pytest.mark.parametrize("first", ["parent", "child"])
def test_after_fork(first):
    used = (
        "torch.randn(10**7).sin()"
        if first == "child"
        else "direct.depthwise_output(x, weight, [1, 1], [3, 3], [64, 64])"
    )
    assert run(FORK.replace("USED", used)).split() == ["0", "4"]


def test_without_the_library():
    code = """
import torch, torchconv as tc
from torchconv.compute.native import loader
conv = tc.Convolution(3, 3, (3, 3), padding=1, groups=3)
row = next(row for row in tc.plan(conv, (2, 3, 9, 9)).rows if row.name == "depthwise")
tc.conv(torch.randn(2, 3, 9, 9), torch.randn(3, 1, 3, 3), groups=3)
print(loader.available(), "|", row.reason)
"""
    assert run(code, TORCHCONV_INSTRUCTIONS="none").startswith("False | declines: TORCHCONV_INSTRUCTIONS=none")


@compiled
@pytest.mark.parametrize("damage", ["torn", "empty", "text", "foreign", "old"])
def test_a_file_that_is_no_library_of_ours_is_ignored_with_a_warning(tmp_path, monkeypatch, damage):
    source = Path(loader.library().handle._name)
    path = tmp_path / loader.NAME
    if damage == "foreign":
        shutil.copy(next(Path(torch.__file__).parent.glob("lib/libc10.*")), path)
    else:
        whole = source.read_bytes()
        path.write_bytes({"torn": whole[: len(whole) // 2], "empty": b"", "text": b"#!/bin/sh\n", "old": whole}[damage])
    if damage == "old":
        monkeypatch.setattr(loader, "INTERFACE", 10**6)
    monkeypatch.setattr(loader, "files", lambda package: tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = loader.library.__wrapped__()
    assert found.handle is None
    assert loader.NAME in found.reason
    assert [warning.category for warning in caught] == [RuntimeWarning]


STRUCTS = {
    "Depthwise": direct.DepthwiseArguments,
    "Local": direct.LocalArguments,
    "Tiled": direct.TiledArguments,
    "Transform": transforms.TransformArguments,
    "Pooling": pooling.PoolingArguments,
    "Pairs": pairs.PairArguments,
}


@compiled
@pytest.mark.parametrize("name", STRUCTS)
def test_structs_are_as_long_as_the_library_has_them(level, name):
    assert loader.number(f"sizeof {name}") == ctypes.sizeof(STRUCTS[name])


@compiled
def test_kinds_are_the_librarys():
    assert {str(dtype).removeprefix("torch."): number for dtype, number in loader.TYPES.items()} == {
        name: loader.number(name) for name in ("float32", "float64", "bfloat16")
    }
    assert set(loader.STATUS) == {loader.number("no memory"), loader.number("unknown type")}
    assert (loader.number("fourier"), loader.number("winograd")) == (transforms.FOURIER, transforms.WINOGRAD)


@compiled
def test_numbers_are_asked_by_a_name_that_the_library_knows(level):
    assert loader.number("block") == {"avx512": 8}.get(level, 4)
    with pytest.raises(KeyError, match="no number 'strip megabytes'"):
        loader.number("strip megabytes")


def test_no_constant_of_the_kernels_is_written_in_python_too():
    """Planned numbers of bytes are those of csrc/machine.h, which stand nowhere else."""
    header = (Path(__file__).parent.parent / "csrc" / "machine.h").read_text()
    names = re.findall(r"constexpr \w+ (k\w+) =", header)
    assert {"kStripBytes", "kUnitBytes", "kTileBytes", "kCached", "kLines", "kShares"} <= set(names)
    sources = [path.read_text() for path in (Path(__file__).parent.parent / "csrc").iterdir()]
    for name in names:
        assert sum(bool(re.search(rf"constexpr \w+ [^;]*\b{name} =", source)) for source in sources) == 1, name
