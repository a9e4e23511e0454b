"""What torch's own convolutions and pools allow and these once did not, found by running peers' own tests."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

import torchconv as tc

SETTINGS = [
    ("auto", (2, 2, 31, 31), {"padding": 15}),
    ("fft", (2, 2, 3, 3), {}),
    ("winograd", (2, 2, 3, 3), {"precision": "fast"}),
    ("matrix", (2, 2, 3, 3), {}),
    ("matrix", (2, 2, 2, 2, 3, 3), {"sharing": 2}),
    ("reference", (2, 2, 3, 3), {}),
    ("patches", (2, 2, 3, 3), {}),
    ("separable", (2, 2, 3, 3), {}),
    ("auto", (10, 10, 2, 2, 3, 3), {"sharing": "none", "padding": 1}),
]


def case(algorithm: str, shape: tuple[int, ...], settings: dict) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    size = 40 if 31 in shape else 10 if shape[0] == 10 else 6
    x, weight = torch.randn(1, 2, size, size, requires_grad=True), torch.randn(shape, requires_grad=True)
    try:
        return x, weight, tc.conv(x, weight, algorithm=algorithm, **settings)
    except tc.TorchconvError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("algorithm", "shape", "settings"), SETTINGS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_batched_gradients(algorithm: str, shape: tuple[int, ...], settings: dict, create_graph: bool) -> None:
    x, weight, y = case(algorithm, shape, settings)
    grads = torch.randn(3, *y.shape)
    found = torch.autograd.grad(
        y, (x, weight), grads, is_grads_batched=True, retain_graph=True, create_graph=create_graph
    )
    alone = [torch.autograd.grad(y, (x, weight), grad, retain_graph=True) for grad in grads]
    for got, one_by_one in zip(found, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(got.detach(), torch.stack(one_by_one), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("algorithm", ["fft", "patches", "matrix", "torch"])
def test_vectorized_hessians(algorithm: str) -> None:
    """Batched gradients of gradients."""
    torch.manual_seed(0)
    x, weight = torch.randn(1, 1, 5), torch.randn(1, 1, 3)

    def loss(weight: Tensor) -> Tensor:
        return tc.conv(x, weight, algorithm=algorithm).pow(3).sum()

    found = torch.autograd.functional.hessian(loss, weight, vectorize=True)
    torch.testing.assert_close(found, torch.autograd.functional.hessian(loss, weight), rtol=1e-4, atol=1e-4)


def layers() -> list[torch.nn.Module]:
    settings = {"stride": 2, "input_size": (8, 8), "dtype": torch.float64}
    return [
        *(tc.nn.ConvTranspose2d(3, 4, 4, sharing=sharing, **settings) for sharing in ("none", 2)),
        *(tc.nn.Conv2d(3, 4, 3, sharing=sharing, **settings) for sharing in ("none", 2)),
        *(
            tc.nn.Conv2d(3, 4, 3, padding=1, algorithm=name, dtype=torch.float64)
            for name in ("fft", "patches", "matrix", "separable")
        ),
    ]


@pytest.mark.parametrize("layer", layers(), ids=str)
@pytest.mark.parametrize("towards", ["weight", "input"])
def test_forward_over_reverse(layer: torch.nn.Module, towards: str) -> None:
    """The tangent of a gradient by dual numbers is that by torch.func."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 8, 8, dtype=torch.float64), layer.weight.detach().clone()
    known = {"bias": layer.bias.detach()}

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, **known}, (x,)).square().sum()

    own, other = (1, 0) if towards == "weight" else (0, 1)
    pair = [x, weight]
    with forward_ad.dual_level():
        duals: list[Tensor] = [one.clone() for one in pair]
        duals[own].requires_grad_()
        duals[other] = forward_ad.make_dual(pair[other], torch.ones_like(pair[other]))
        (grad,) = torch.autograd.grad(loss(*duals), duals[own])
        tangent = forward_ad.unpack_dual(grad).tangent

    def gradient(moved: Tensor) -> Tensor:
        return torch.func.grad(loss, own)(*((moved, weight) if other == 0 else (x, moved)))

    expected = torch.func.jvp(gradient, (pair[other],), (torch.ones_like(pair[other]),))[1]
    torch.testing.assert_close(tangent, expected)


@pytest.mark.parametrize("name", ["Conv1d", "ConvTranspose1d"])
def test_half_complex_numbers_without_a_batch(name: str) -> None:
    layer = getattr(tc.nn, name)(4, 5, 3, dtype=torch.complex32)
    x = torch.randn(2, 4, 9).to(torch.complex32)
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("weights_last", [False, True])
@pytest.mark.parametrize("shape", [(2, 4, 12, 12), (4, 12, 12)])
@pytest.mark.parametrize("last", [False, True])
def test_order_in_memory_is_torchs(name: str, kernel: int, weights_last: bool, shape: tuple, last: bool) -> None:
    """Of outputs and both gradients; last: of the input, where there is a batch."""
    strides = []
    for nn in (torch.nn, tc.nn):
        torch.manual_seed(0)
        layer = getattr(nn, name)(4, 8, kernel, stride=2)
        layer.to(memory_format=torch.channels_last if weights_last else torch.contiguous_format)
        x = torch.randn(shape)
        x = x.contiguous(memory_format=torch.channels_last) if last and len(shape) == 4 else x
        x.requires_grad_()
        y = layer(x)
        y.backward(torch.ones_like(y))
        strides.append((y.stride(), x.grad.stride(), layer.weight.grad.stride()))
    assert strides[0] == strides[1]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((8, 7), {"kernel_size": 3, "stride": (1, 2), "dilation": (2, 1), "padding": (2, 0), "ceil_mode": True}),
        ((5,), {"kernel_size": 4, "stride": 3, "padding": 3, "dilation": 2, "ceil_mode": True}),
        ((6, 3, 2), {"kernel_size": (4, 4, 2), "stride": 1, "padding": (0, 1, 0), "statistic": "mean"}),
        ((1, 4, 3), {"kernel_size": (3, 2, 4), "padding": (1, 0, 1), "statistic": "mean", "count_include_pad": True}),
    ],
)
def test_pools_that_torchs_functions_refuse(size: tuple, settings: dict, batch: int, grad: bool) -> None:
    """Padding over half of a kernel, and means in three dimensions of images smaller than the kernel."""
    torch.manual_seed(0)
    pool = getattr(tc.nn, f"Pool{len(size)}d")(**settings)
    x = torch.randn(batch, 2, *size, requires_grad=grad)
    y = pool(x)
    expected = pool.double()(x.detach().double().repeat(1, 9, *(1,) * len(size)))[:, :2]
    torch.testing.assert_close(y.detach().double(), expected, rtol=1e-5, atol=1e-6)
    assert bool(torch.isfinite(y).all())
    if grad:
        y.sum().backward()
        assert x.grad.shape == x.shape
