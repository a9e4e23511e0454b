"""A look changes nothing of what it looks at, sees constants for what they are, and keeps to its own thread."""

from __future__ import annotations

import copy
import functools
import gc
import threading
import timeit
import weakref
from collections import Counter, namedtuple
from contextlib import nullcontext, suppress
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.nn.utils import parametrizations

import torchconv as tc
from torchconv.compute.tensors import THREAD
from torchconv.tracing.model_copy import ModelFailed
from torchconv.tracing.trace import trace, trace_values


class Gate(nn.Module):
    """Buffers of every kind, one of which it writes; attributes that are set while it runs; a list that grows."""

    def __init__(self, fail: bool) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((4, 1, 1), 0.5))
        self.register_buffer("calls", torch.tensor(0), persistent=False)
        self.register_buffer("nothing", None)
        self.plain, self.seen, self.last, self.fail = torch.ones(1), [], None, fail

    def forward(self, x):
        self.calls += 1
        self.scale.mul_(1.0)
        self.scale = self.scale * 1
        self.seen.append(x)
        self.last = x
        if self.fail:
            raise RuntimeError("on purpose")
        return x * self.scale * self.plain + torch.rand(1) * 0


class Mixed(nn.Module):
    """One module under several names, tied parameters, hooks, and whatever else `choose` adds."""

    def __init__(self, choose, fail: bool) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.other = self.one if choose() else nn.Conv2d(4, 4, 3, padding=1)
        self.parts = nn.ModuleList([self.one, nn.BatchNorm2d(4), self.other, nn.Dropout(), Gate(fail)])
        self.list = [self.one, {"norm": self.parts[1]}, (self.other,)]
        self.own = tc.nn.Conv2d(4, 4, 3, padding=1)
        if choose():
            self.other.weight = self.one.weight
        if choose():
            self.own.bias = self.one.bias
        if choose():
            self.own = parametrizations.weight_norm(self.own)
        if choose():
            nn.utils.weight_norm(self.parts[0], "bias", None)
        if choose():
            nn.utils.spectral_norm(self.parts[2])
        if choose():
            self.parts[1].requires_grad_(False)
        if choose():
            self(torch.randn(2, 4, 5, 5)).sum().backward() if not fail else None
        if choose():
            self.seen = []
            self.own.register_forward_hook(lambda module, arguments, result: self.seen.append(result))
        if choose():
            self.parts[1].register_forward_pre_hook(partial(self.change, 2))
        if choose():
            self.forward = self.patched
        self.train(choose())
        self.parts[1].train(choose())

    def change(self, factor, module, arguments):
        return (arguments[0] * factor,)

    def patched(self, x):
        return Mixed.forward(self, x)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return self.own(self.list[0](x)) + self.list[1]["norm"](x)


def state(model):
    """All there is to a model: every attribute by identity, containers with what is in them, numbers of tensors."""
    found = {}
    for name, module in model.named_modules(remove_duplicate=False):
        for key, value in vars(module).items():
            found[name, key] = shown(value)
    return found


def shown(value):
    if isinstance(value, torch.Tensor):
        grad = None if not value.is_leaf or value.grad is None else (id(value.grad), value.grad.tolist())
        return id(value), type(value), value.requires_grad, value._version, value.data_ptr(), value.tolist(), grad
    if isinstance(value, dict):
        return id(value), type(value), [(key, shown(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return id(value), type(value), [shown(one) for one in value]
    return id(value) if isinstance(value, nn.Module) or callable(value) else repr(value)


def chance():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()


LOOKS = [
    lambda model: tc.inspect(model, (4, 6, 6)),
    lambda model: tc.receptive_field(model, (4, 6, 6)),
    lambda model: tc.draw_network(model, input_shape=(4, 6, 6)),
    lambda model: tc.inspect(model, (3, 6, 6)),
    lambda model: trace_values(model, (torch.ones(1, 4, 6, 6),), Values()),
]


class Values:
    """A sink that keeps what came out of every node."""

    def __init__(self) -> None:
        self.tensors = {}

    def node(self, node, tensor):
        self.tensors[node.name] = tensor.clone()


@given(st.data(), st.booleans(), st.integers(0, len(LOOKS) - 1))
def test_a_look_changes_nothing(data, fail, look):
    torch.manual_seed(0)
    model = Mixed(partial(data.draw, st.booleans()), fail)
    before = state(model), model.state_dict(), chance()
    with pytest.raises((tc.TorchconvError, ModelFailed)) if fail or look == 3 else nullcontext():
        LOOKS[look](model)
    assert state(model) == before[0]
    assert model.state_dict().keys() == before[1].keys()
    assert chance() == before[2]
    assert all(type(one) is torch.Tensor for one in copy.deepcopy(model.state_dict()).values())
    if not fail:
        assert type(model(torch.randn(1, 4, 6, 6))) is torch.Tensor


def test_the_minimal_case_that_destroyed_models():
    layer = nn.Conv2d(3, 3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    weight = layer.weight
    for look in (tc.inspect, tc.receptive_field):
        look(model, (3, 8, 8))
        assert model[0].weight is model[2].weight is weight
        assert type(model(torch.zeros(1, 3, 8, 8))) is torch.Tensor


class Meter:
    """State of a class of somebody's own."""

    def __init__(self) -> None:
        self.inner = SimpleNamespace(calls=0, last=None)

    def __call__(self, x):
        self.inner.calls += 1
        self.inner.last = x
        return x


class Slotted:
    __slots__ = ("calls", "conv")

    def __init__(self, conv) -> None:
        self.calls, self.conv = 0, conv

    def __call__(self, x):
        self.calls += 1
        return self.conv(x)


Pair = namedtuple("Pair", "norm scale")


class Odd(nn.Module):
    """State in places where a walk over modules does not come."""

    __slots__ = ("behind",)

    def __init__(self) -> None:
        super().__init__()
        conv, norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.norm, self.itself = norm, [self]
        self.scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
        self.traced = torch.jit.trace(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), torch.rand(2, 3, 4, 4))
        self.behind, self.meter, self.counts, self.seen = Slotted(conv), Meter(), Counter(), []
        self.pair, self.frozen, self.append = Pair(norm, 2), frozenset([norm]), self.seen.append
        self.numbers, self.chance = np.ones(3, np.float32), np.random.default_rng(0)
        self.generator, self.lock = torch.Generator(), threading.Lock()
        self.steps = (step for step in range(3))
        self.given = lambda x, norm=norm: norm(x)
        object.__setattr__(self, "parent", weakref.proxy(self))

    def __deepcopy__(self, memo):
        raise RuntimeError("on purpose")

    def __getattr__(self, name):
        return getattr(self.norm, name[5:]) if name.startswith("norm_") else super().__getattr__(name)

    def forward(self, x):
        self.counts["calls"] += 1
        self.numbers += 1
        self.append(x)
        with self.lock:
            x = self.meter(self.traced(self.scripted(self.behind(x)))) * self.norm_weight.sum()
        x = x + self.pair.norm(x) + next(iter(self.frozen))(x) + self.given(x) + self.parent.itself[0].norm(x)
        return x * self.chance.random() * torch.rand(1, generator=self.generator) * float(self.numbers.sum())


def test_a_look_changes_nothing_behind_attributes():
    model = Odd().train()

    def known():
        tensors = {name: (id(one), one._version, one.tolist()) for name, one in model.state_dict().items()}
        chance = str(model.chance.bit_generator.state), model.generator.get_state().tolist()
        modes = [one.training for one in model.modules()]
        plain = repr(model.counts), repr(model.seen), repr(model.meter.inner), model.behind.calls
        return tensors.keys(), [one[1:] for one in tensors.values()], chance, modes, plain, model.numbers.tolist()

    before = known()
    for look in (
        tc.inspect,
        tc.receptive_field,
        lambda one, shape: trace_values(one, (torch.ones(1, *shape),), Values()),
    ):
        look(model, (3, 6, 6))
        assert known() == before
    with pytest.raises(tc.TorchconvError):
        tc.inspect(model, (2, 6, 6))
    assert known() == before
    assert model.behind.conv.weight.grad_fn is None
    assert type(model(torch.ones(1, 3, 6, 6))) is torch.Tensor


class Forces(nn.Module):
    """A gradient within the forward pass, and parameters that are frozen there."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        self.head.requires_grad_(False)
        self.head.weight.data[:] = 1
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            return self.head(torch.autograd.grad(self.energy(x).pow(2).sum(), x)[0])


class Tolerant(nn.Module):
    """Goes on where a part of it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Module()
        self.body.forward = self.attempt
        self.wrong, self.head = nn.Conv2d(5, 3, 1), nn.Conv2d(3, 3, 1)

    def attempt(self, x):
        with suppress(RuntimeError):
            self.wrong(x)
        return self.head(x)

    def forward(self, x):
        return self.body(x).exp()


def quantised():
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten(), nn.Linear(36, 5))
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


def test_models_that_torch_cannot_make_functional():
    model = Forces()
    weight = model.head.weight.tolist()
    assert tc.inspect(model, (3, 8, 8)).total_parameters == 96
    assert model.head.weight.requires_grad
    assert model.head.weight.tolist() == weight


def test_a_failure_that_a_model_catches_takes_no_names():
    names = [row.name for row in tc.inspect(Tolerant(), (3, 8, 8)).rows]
    assert names[:3] == ["input", "head", "exp"]


def test_packed_weights_can_be_looked_at_twice():
    model = quantised()
    assert str(tc.inspect(model, (3, 8, 8))) == str(tc.inspect(model, (3, 8, 8)))


def planned():
    torch.manual_seed(0)
    return nn.Sequential(
        tc.nn.Conv2d(3, 8, 9, padding=4, algorithm="fft"),
        nn.ReLU(),
        tc.nn.Pool2d(2, statistic="l2"),
        tc.nn.LocallyConnected2d(8, 8, 3, padding=1, input_size=(8, 8)),
        tc.nn.Maxout(2),
        tc.nn.GridPool2d(2, "mean"),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def live_tensors():
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


def test_other_threads_are_left_alone():
    model = planned()
    x = torch.randn(2, 3, 16, 16)
    expected, reports = model(x).detach(), []
    tc.inspect(model, (3, 16, 16))
    before, stop, wrong = live_tensors(), threading.Event(), []

    def run():
        while not stop.is_set():
            with torch.no_grad():
                wrong.extend([0] * (not torch.allclose(model(x), expected, atol=1e-6)))

    def look(times):
        reports.extend(str(tc.inspect(model, (3, 16, 16))) for _ in range(times))

    running = [threading.Thread(target=run) for _ in range(8)]
    looking = [threading.Thread(target=look, args=(100,)) for _ in range(2)]
    for one in running + looking:
        one.start()
    for one in looking:
        one.join()
    stop.set()
    for one in running:
        one.join()
    assert not wrong
    assert len(reports) == 200
    assert len({*reports}) == 1
    assert live_tensors() < before + 10  # some of the layers' own: of weights that do not change


def test_nothing_is_left_behind():
    model = planned()
    shared = weakref.ref(model[0].weight)
    found = trace(model, (torch.zeros(1, 3, 16, 16),))
    assert THREAD.observer is None
    del model
    gc.collect()
    assert shared() is None
    assert found.unused == {}


def test_asking_costs_next_to_nothing():
    seconds = min(timeit.repeat(lambda: THREAD.observer is not None, number=10_000, repeat=5)) / 10_000
    assert seconds < 0.3e-6


@pytest.mark.parametrize("batch", [1, 2])
def test_a_sink_records_the_values_of_a_real_run(batch):
    model = planned().train()
    x = torch.randn(batch, 3, 16, 16)
    sink = Values()
    found = trace_values(model, (x,), sink)
    assert [*sink.tensors] == [node.name for node in trace(model, (x,)).network.nodes]
    model.eval()
    for name, module in model.named_children():
        x = module(x)
        if name in sink.tensors:
            assert torch.allclose(sink.tensors[name], x, atol=1e-6), name
    assert torch.equal(sink.tensors[found.outputs[0]], x)


@functools.lru_cache
def ramp(length):
    return torch.arange(length).float()


class Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scripted = torch.jit.script(nn.Conv2d(3, 3, 1))
        self.own = functools.lru_cache(self.ramp)

    def ramp(self, length):
        return torch.arange(length).float() + self.scripted.weight.sum()

    def forward(self, x):
        return self.scripted(x) * ramp(8) + self.own(8)


def test_nothing_of_a_trace_stays_in_caches():
    model, x = Cached(), torch.ones(1, 3, 8, 8)
    report = tc.inspect(model, (3, 8, 8))
    assert report.total_parameters == 12
    assert not any(row.operation == "not used" for row in report.rows)
    assert (ramp.cache_info().currsize, model.own.cache_info().currsize) == (0, 0)
    assert type(ramp(8)) is type(model(x)) is torch.Tensor
    assert not torch._is_functional_tensor(model(x))
    tc.inspect(model, (3, 8, 8))
    assert (ramp.cache_info().currsize, model.own.cache_info().currsize) == (1, 1)
