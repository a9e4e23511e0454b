"""What is kept of weights that stay: noticed when they change, gone when they go, and never more than is allowed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import torchconv as tc
from torchconv.compute import weight_cache
from torchconv.compute.native import loader
from torchconv.compute.weight_cache import CACHE, WeightCache


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    CACHE.forget()
    yield
    CACHE.forget()


def transformed(x: Tensor, weight: Tensor, **settings) -> Tensor:
    return tc.conv(x, weight, algorithm="fft", **settings)


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


CASES = {
    "dense": (numbers(2, 8, 40, 40), numbers(8, 8, 9, 9), {}),
    "grouped": (numbers(2, 8, 40, 40), numbers(8, 4, 9, 9), {"groups": 2}),
    "depthwise": (numbers(1, 64, 14, 14), numbers(64, 1, 9, 9), {"groups": 64}),
    "few channels": (numbers(1, 2, 30, 30), numbers(3, 2, 9, 9), {}),
    "strided": (numbers(4, 4, 60, 61), numbers(8, 4, 9, 8), {"stride": (1, 2)}),
    "dilated": (numbers(1, 8, 30, 31), numbers(8, 8, 5, 5), {"dilation": 2}),
    "line": (numbers(1, 8, 200), numbers(8, 8, 33), {"padding": 4}),
    "volume": (numbers(2, 3, 16, 16, 16), numbers(4, 3, 5, 5, 5), {}),
    "float64": (numbers(2, 8, 40, 40, dtype=torch.float64), numbers(8, 8, 9, 9, dtype=torch.float64), {}),
    "bfloat16": (numbers(2, 8, 40, 40, dtype=torch.bfloat16), numbers(8, 8, 9, 9, dtype=torch.bfloat16), {}),
    "strided view": (numbers(2, 8, 40, 40), numbers(8, 9, 9, 8).permute(0, 3, 1, 2), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_whether_kept_or_not(case):
    x, weight, settings = CASES[case]
    weight = weight.detach()  # a new one, of which nothing is known
    grads = [transformed(x, weight.clone().requires_grad_(), **settings).detach()]
    assert CACHE.bytes == 0
    for number in range(3):
        grads.append(transformed(x, weight, **settings))
        assert (CACHE.bytes > 0) == (number > 0)
    assert all(torch.equal(grads[0], y) for y in grads)
    back = [tc.conv_input_grad(x.shape[2:], weight, grads[0], algorithm="fft", **settings) for _ in range(3)]
    assert torch.equal(back[0], back[1])
    assert torch.equal(back[0], back[2])


@pytest.mark.skipif(not loader.available(), reason="this installation has no compiled kernels")
def test_winograd_keeps_its_kernels():
    x, weight = numbers(1, 64, 14, 14), numbers(64, 64, 3, 3)
    found = [tc.conv(x, weight, padding=1, algorithm="winograd", precision="fast") for _ in range(3)]
    assert CACHE.bytes > 4 * 36 * weight[..., 0, 0].numel()
    assert torch.equal(found[0], found[2])


def _assigned(weight: Tensor) -> None:
    weight.data = weight.detach() * 2


def _through_numpy(weight: Tensor) -> None:
    weight.detach().numpy()[0, 0, 0, 0] += 1


def _loaded(weight: Tensor) -> None:
    holder = torch.nn.ParameterList([weight])
    holder.load_state_dict({"0": weight.detach() * 2})


CHANGES: dict[str, Callable[[Tensor], object]] = {
    "in place": lambda weight: weight.mul_(2),
    "a view": lambda weight: weight.view(-1)[3:5].zero_(),
    "data in place": lambda weight: weight.data.add_(1),
    "data assigned": _assigned,
    "detached": lambda weight: weight.detach().neg_(),
    "NumPy": _through_numpy,
    "load_state_dict": _loaded,
    "set_": lambda weight: weight.set_(numbers(*weight.shape, seed=1)),
    "one bit": lambda weight: weight.view(torch.int32).view(-1)[-1].bitwise_xor_(1),
}


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_every_change_is_noticed(change):
    x, weight = numbers(2, 8, 40, 40), torch.nn.Parameter(numbers(8, 8, 9, 9))
    for _ in range(3):
        before = transformed(x, weight)
    assert CACHE.bytes > 0
    CHANGES[change](weight)
    expected = transformed(x, weight.clone())
    assert not torch.equal(before, expected) or change == "one bit"
    for _ in range(3):
        assert torch.equal(transformed(x, weight), expected)


def test_another_type_is_another_weight():
    layer = tc.nn.Conv2d(8, 8, 9, algorithm="fft").requires_grad_(False)
    x = numbers(2, 8, 40, 40)
    for _ in range(3):
        layer(x)
    y = layer.double()(x.double())
    torch.testing.assert_close(y, torch.conv2d(x.double(), layer.weight, layer.bias))


@torch.inference_mode()
def test_inference_mode_counts_no_changes_and_they_are_noticed():
    x, weight = numbers(2, 8, 40, 40), numbers(8, 8, 9, 9)
    for _ in range(3):
        transformed(x, weight)
    assert CACHE.bytes > 0
    weight.mul_(2)
    assert torch.equal(transformed(x, weight), transformed(x, weight.clone()))


def test_it_goes_with_its_weight():
    layer = tc.nn.Conv2d(8, 8, 9, algorithm="fft").requires_grad_(False)
    for _ in range(2):
        layer(numbers(2, 8, 40, 40))
    assert CACHE.bytes > 0
    del layer
    gc.collect()
    assert not CACHE._entries


def test_weights_that_are_new_or_change_at_every_call_keep_nothing():
    x, weight = numbers(2, 8, 40, 40), numbers(8, 8, 9, 9)
    for number in range(4):
        transformed(x, numbers(8, 8, 9, 9, seed=number))
        weight.add_(1)
        transformed(x, weight)
        assert CACHE.bytes == 0


def test_nothing_is_kept_where_the_weight_learns():
    layer = tc.nn.Conv2d(8, 8, 9, algorithm="fft")
    x = numbers(2, 8, 40, 40).requires_grad_()
    for _ in range(3):
        layer(x).sum().backward()
    assert not CACHE._entries
    with torch.no_grad():
        layer(x), layer(x)
    assert CACHE.bytes > 0


def test_a_frozen_layer_keeps_both_directions():
    layer = tc.nn.Conv2d(8, 8, 9, algorithm="fft")
    x = numbers(2, 8, 40, 40).requires_grad_()
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    layer.requires_grad_(False)
    for _ in range(3):
        (found,) = torch.autograd.grad(layer(x).square().sum(), x)
        assert torch.equal(found, expected)
    assert len(CACHE._entries) == 2
    assert all(entry.copy is not None for entry in CACHE._entries.values())


def test_nothing_is_kept_without_numbers():
    x, weight = numbers(2, 8, 40, 40), numbers(8, 8, 9, 9)
    compiled = torch.compile(lambda x: tc.conv(x, weight), backend="eager")
    many = numbers(3, 8, 8, 9, 9)
    for _ in range(3):
        compiled(x)
        torch.func.vmap(lambda one: transformed(x, one))(many)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            transformed(mode.from_tensor(x), weight)
            transformed(mode.from_tensor(x), mode.from_tensor(weight))
        tc.conv(x.to("meta"), weight.to("meta"))
    assert CACHE.bytes == 0


def test_threads_share_it():
    x = numbers(2, 8, 40, 40)
    weights = [numbers(8, 8, 9, 9, seed=n) for n in range(6)]
    expected = [transformed(x, weight.clone()) for weight in weights]

    def run(number: int) -> bool:
        if number % 50 == 0:
            CACHE.forget()
        return torch.equal(transformed(x, weights[number % 6]), expected[number % 6])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(600)))


def test_threads_may_use_it_while_keys_are_compared_by_python(monkeypatch):
    monkeypatch.setattr(weight_cache, "MOST_ENTRIES", 4)
    memory, weight = WeightCache(), torch.ones(3)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def run(number: int) -> bool:
        use = tc.Convolution(1, 1 + number % 7, (3,))  # its hash is computed in Python
        memory.recall(weight, use, 8, lambda one: one)
        return memory.bytes >= 0

    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(run, range(20_000)))
    finally:
        sys.setswitchinterval(interval)


def test_a_limit_drops_what_was_used_longest_ago():
    memory, weights = WeightCache(most=300), [torch.full((10,), float(n)) for n in range(3)]
    for weight in [*weights, *weights]:  # 40 bytes of the copy, 80 of the value
        memory.recall(weight, "double", 80, lambda one: one.double())
        assert memory.bytes <= 300
    found = [entry.weight() for entry in memory._entries.values() if entry.copy is not None]
    assert [id(weight) for weight in found] == [id(weight) for weight in weights[1:]]
    assert memory.recall(weights[1], "double", 80, lambda one: 1 / 0) is not None  # kept, not made
    assert memory.recall(weights[1], "too large", 261, lambda one: 1 / 0) is None


def test_seen_weights_are_no_more_than_a_number(monkeypatch):
    monkeypatch.setattr(weight_cache, "MOST_ENTRIES", 5)
    memory, weight = WeightCache(), torch.ones(3)
    for number in range(20):
        memory.recall(weight, number, 8, Tensor.double)
    assert len(memory._entries) == 5


def test_bits_decide():
    one = torch.tensor([0.0, torch.nan, torch.inf])
    assert weight_cache.same_bits(one, one.clone())
    assert not weight_cache.same_bits(one, -one)
    assert not weight_cache.same_bits(one, one.view(3, 1))
    assert not weight_cache.same_bits(one, one.double())
    for dtype in (torch.bfloat16, torch.complex64, torch.complex128, torch.float64):
        assert weight_cache.same_bits(torch.ones(3, dtype=dtype), torch.ones(3, dtype=dtype))
    assert not weight_cache.same_bits(torch.ones(3), torch.from_numpy(np.nextafter(np.ones(3, "float32"), 2)))
