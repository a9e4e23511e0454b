"""Transforms of tiles by the C++ kernels: every level, layout and operation against torch in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import torchconv as tc
from torchconv.compute.algorithms.fft.algorithm import Fourier
from torchconv.compute.algorithms.fft.winograd import Winograd
from torchconv.compute.native import loader, transforms
from torchconv.compute.native.transforms import FOURIER, WINOGRAD, TileCut
from torchconv.compute.weight_cache import Kernels

pytestmark = pytest.mark.skipif(not loader.available(), reason="this installation has no compiled kernels")
LEVELS = loader.LEVELS[: loader.LEVELS.index(loader.best_instructions()) + 1] if loader.available() else ()
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
NARROW = 1  # byte of workspace: a chunk of one tile, or of one vector of tiles
WIDE = 2**24


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = loader.instructions()
    yield loader.use_instructions(request.param)
    loader.use_instructions(before)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Case:
    """A convolution with numbers, and what torch makes of it in float64: output and both gradients."""

    def __init__(self, channels, size, kernel, padding, groups=1, batch=2, layout=torch.contiguous_format) -> None:
        torch.manual_seed(0)
        ins, outs = channels
        self.size, self.kernel, self.padding, self.groups = size, kernel, padding, groups
        self.x, self.weight = torch.randn(batch, ins, *size), torch.randn(outs, ins // groups, *kernel)
        self.exact = self.torchs(torch.float64)
        self.grad = self.grad.float()
        if len(size) == 2:
            self.x, self.grad = (array.contiguous(memory_format=layout) for array in (self.x, self.grad))

    def torchs(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        x, weight = (array.to(dtype).requires_grad_() for array in (self.x, self.weight))
        convolve = torch.conv2d if len(self.size) == 2 else torch.conv1d
        y = convolve(x, weight, padding=self.padding, groups=self.groups)
        if not hasattr(self, "grad"):
            self.grad = torch.randn_like(y).float().to(dtype)
        return y.detach(), *torch.autograd.grad(y, (x, weight), self.grad.to(dtype))

    def ours(self, lengths, room=WIDE, kind=FOURIER) -> tuple[Tensor, Tensor, Tensor]:
        cut = TileCut(self.groups, self.padding, lengths, room, kind)
        return (
            transforms.output(cut, self.x, Kernels(self.weight, self.weight.shape), self.exact[0].shape[2:]),
            transforms.input_grad(cut, self.grad, Kernels(self.weight, self.weight.shape), self.size),
            transforms.weight_grad(cut, self.x, self.grad, self.kernel),
        )


def errors(got: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> list[float]:
    return [float(abs(a.double() - b).max() / abs(b).max()) for a, b in zip(got, exact, strict=True)]


# channels, size, kernel, padding, groups, lengths: many channels and few, odd sizes, all radices
PLANES = [
    ((40, 24), (13, 14), (3, 3), (1, 1), 1, (8, 8)),
    ((40, 24), (20, 21), (5, 4), (2, 1), 2, (10, 12)),
    ((3, 5), (57, 50), (7, 7), (3, 2), 1, (16, 20)),
    ((2, 4), (33, 40), (5, 5), (0, 0), 2, (24, 18)),
    ((1, 1), (100, 101), (31, 31), (15, 15), 1, (60, 54)),
    ((64, 64), (30, 31), (9, 9), (4, 4), 64, (40, 24)),
    ((5, 10), (30, 31), (9, 9), (4, 4), 5, (18, 24)),
    ((17, 17), (20, 20), (7, 7), (3, 3), 17, (15, 16)),
    ((6, 1), (20, 20), (7, 7), (3, 3), 1, (9, 64)),
    ((1, 20), (20, 20), (7, 7), (3, 3), 1, (25, 32)),
    ((20, 33), (9, 9), (9, 9), (0, 0), 1, (9, 10)),
    ((18, 18), (30, 2), (5, 1), (2, 0), 1, (20, 2)),
]
LINES = [
    ((20, 33), (500,), (64,), (10,), 1, (128,)),
    ((3, 3), (500,), (64,), (10,), 3, (160,)),
    ((1, 1), (5000,), (301,), (150,), 1, (1024,)),
]


@pytest.mark.parametrize("room", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", PLANES, ids=str)
def test_planes(level, threads, case, layout, room):
    channels, size, kernel, padding, groups, lengths = case
    one = Case(channels, size, kernel, padding, groups, layout=LAYOUTS[layout])
    assert max(errors(one.ours(lengths, room), one.exact)) < 1e-6


@pytest.mark.parametrize("case", LINES, ids=str)
def test_lines(level, threads, case):
    channels, size, kernel, padding, groups, lengths = case
    one = Case(channels, size, kernel, padding, groups)
    assert max(errors(one.ours(lengths), one.exact)) < 1e-6


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", [((40, 24), (13, 14), 2), ((3, 5), (57, 50), 1), ((64, 64), (28, 28), 1)], ids=str)
def test_winograd(level, threads, case, layout):
    channels, size, groups = case
    one = Case(channels, size, (3, 3), (1, 1), groups, layout=LAYOUTS[layout])
    assert max(errors(one.ours((6, 6), kind=WINOGRAD), one.exact)) < 1e-5


def test_results_lie_in_memory_as_inputs_do():
    one = Case((8, 8), (20, 20), (5, 5), (2, 2), layout=torch.channels_last)
    y, x_grad, _ = one.ours((12, 12))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert x_grad.is_contiguous(memory_format=torch.channels_last)


def test_inputs_may_lie_anyhow():
    one = Case((8, 8), (20, 20), (5, 5), (2, 2))
    one.x = one.x.transpose(2, 3).contiguous().transpose(2, 3)
    one.grad = one.grad.flip(1).contiguous().flip(1)
    assert max(errors(one.ours((12, 12)), one.exact)) < 1e-6


@pytest.mark.parametrize("channels", [(20, 33), (3, 3), (33, 2)])
def test_kernels_transformed_once_give_the_same_bits(level, channels):
    one = Case(channels, (30, 31), (7, 7), (3, 3))
    cut, kernels = TileCut(1, (3, 3), (16, 20), WIDE, keeps=True), Kernels(one.weight, one.weight.shape, how="test")
    found = [transforms.output(cut, one.x, kernels, one.exact[0].shape[2:]) for _ in range(3)]
    back = [transforms.input_grad(cut, one.grad, kernels, one.size) for _ in range(3)]
    expected = one.ours((16, 20))
    assert all(torch.equal(y, expected[0]) for y in found)
    assert all(torch.equal(grad, expected[1]) for grad in back)


def test_same_bits_on_any_number_of_threads():
    one = Case((20, 33), (40, 31), (7, 7), (3, 3))
    before, found = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(one.ours((16, 20)))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("precision", ["auto", "fast"])
def test_errors_stay_within_what_precision_allows(precision):
    """Against the direct sum in float32, term by term, as the law of accuracy has it."""
    one = Case((64, 64), (30, 30), (3, 3), (1, 1))
    direct = torch.nn.functional.unfold(one.x, 3, padding=1)
    total = torch.zeros(2, 64, 900)
    for term, weight in zip(direct.unbind(1), one.weight.flatten(1).unbind(1), strict=True):
        total += term[:, None] * weight[:, None]
    allowed = {"auto": 4, "fast": 32}[precision] * errors((total.reshape(2, 64, 30, 30),), one.exact[:1])[0]
    name = {"auto": Fourier.name, "fast": Winograd.name}[precision]
    y = tc.conv(one.x, one.weight, padding=1, algorithm=name, precision=precision)
    assert errors((y,), one.exact[:1])[0] <= allowed


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("name", "precision"), [(Fourier.name, "auto"), (Winograd.name, "fast")])
def test_a_bad_sample_stays_inside_its_windows(name, precision, bad):
    one = Case((4, 4), (20, 20), (3, 3), (1, 1))
    one.x[0, 1, 9, 9] = bad
    y = tc.conv(one.x, one.weight, padding=1, algorithm=name, precision=precision)
    reached = torch.zeros(20, 20, dtype=torch.bool)
    reached[8:11, 8:11] = True
    assert torch.equal(~y[0].isfinite(), reached.expand(4, -1, -1))
    assert y[1].isfinite().all()


def test_winograd_needs_permission():
    x, weight = torch.randn(1, 64, 28, 28), torch.randn(64, 64, 3, 3)
    with pytest.raises(tc.TorchconvError, match='only precision="fast" allows it'):
        tc.conv(x, weight, algorithm="winograd")
    assert tc.plan(tc.Convolution(128, 128, (3, 3)), (8, 128, 30, 30), precision="fast").algorithm == "winograd"


def test_winograd_differentiates():
    one = Case((4, 6), (9, 10), (3, 3), (1, 1))
    x, weight = one.x.requires_grad_(), one.weight.requires_grad_()
    y = tc.conv(x, weight, padding=1, algorithm="winograd", precision="fast")
    y.backward(one.grad)
    assert x.grad is not None
    assert weight.grad is not None
    assert max(errors((y.detach(), x.grad, weight.grad), one.exact)) < 1e-5
