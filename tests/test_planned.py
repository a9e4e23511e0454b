"""Layers that a plan, or tuning, takes away from torch's kernels: the same inside everything that torch offers."""

import copy
import os
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

import torchconv as tc
from torchconv.compute.native import loader
from torchconv.compute.operator import Operator
from torchconv.compute.planning import choose, wisdom
from torchconv.convert import model_tuning


def permitted(precision: str, *arguments, **settings) -> tc.nn.Conv2d:
    """A layer that allows less exact algorithms."""
    layer = tc.nn.Conv2d(*arguments, **settings)
    layer._operator = Operator(layer.convolution, precision=precision)
    return layer


def tuned() -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.Tanh(), torch.nn.Conv2d(2, 2, 31, padding=15))
    with pytest.MonkeyPatch.context() as patch:  # which layers stay is no question of how busy this machine is
        patch.setattr(model_tuning, "_gains", lambda times: all(times))
        tc.tune(model, torch.randn(2, 2, 40, 40))
    return model


# By what the plan takes for the output: the layer, the shape of its input, and which error counts as none.
LAYERS = {
    "fft": (lambda: tc.nn.Conv2d(2, 2, 21, padding=10), (2, 2, 40, 40), 1e-5),
    "fft reflect": (lambda: tc.nn.Conv2d(2, 2, 21, padding=10, padding_mode="reflect"), (2, 2, 40, 40), 1e-5),
    "fft strided": (lambda: tc.nn.Conv2d(2, 2, 33, stride=2, padding="same"), (2, 2, 64, 64), 1e-5),
    "fft volume": (lambda: tc.nn.Conv3d(1, 1, 9, padding=4), (2, 1, 16, 16, 16), 1e-5),
    "depthwise": (lambda: tc.nn.Conv2d(32, 32, 9, padding=4, groups=32), (2, 32, 32, 32), 1e-5),
    "depthwise line": (lambda: tc.nn.Conv1d(32, 32, 15, padding=7, groups=32), (4, 32, 500), 1e-5),
    "torch-channels-last": (lambda: tc.nn.Conv2d(16, 16, 14, 2, "same", 2, 16), (2, 16, 32, 32), 1e-5),
    "unshared": (lambda: tc.nn.LocallyConnected2d(3, 4, 3, input_size=6), (2, 3, 6, 6), 1e-5),
    "tiled": (lambda: tc.nn.TiledConv2d(3, 4, 3, padding=1, period=2), (2, 3, 6, 6), 1e-5),
    "winograd": (lambda: permitted("fast", 128, 128, 3, padding=1), (2, 128, 28, 28), 1e-4),
    "torch-bf16": (lambda: permitted("bf16", 64, 64, 3, padding=1), (2, 64, 28, 28), 2e-2),
    "fft tuned": (tuned, (2, 2, 40, 40), 1e-5),
}
COMPILED = ("depthwise", "unshared", "tiled", "winograd")
needs_kernels = pytest.mark.skipif(not loader.available(), reason="no C++ kernels here")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Case:
    """A layer with an input, and its results."""

    def __init__(self, name: str) -> None:
        make, self.shape, self.error = LAYERS[name]
        self.algorithm = name.split()[0]
        torch.manual_seed(0)
        self.layer, self.x = make(), torch.randn(self.shape)
        self.parameters = dict(self.layer.named_parameters())

    def all(self, call, x: Tensor) -> list[Tensor]:
        """Output, and gradients of the input and the parameters."""
        x = x.detach().requires_grad_()
        y = call(x)
        cotangent = torch.rand(y.shape, generator=torch.Generator().manual_seed(1))
        return [y.detach(), *torch.autograd.grad(y, [x, *self.layer.parameters()], cotangent.to(y.dtype))]

    def close(self, got: list[Tensor], expected: list[Tensor], error: float | None = None) -> None:
        for one, other in zip(got, expected, strict=True):
            assert one.shape == other.shape
            most = float(other.detach().abs().max())
            torch.testing.assert_close(one, other, rtol=0, atol=(error or self.error) * most)


@pytest.fixture(autouse=True)
def forgetful():
    """Two threads, and nothing of what tuning has learned left to the other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    wisdom.forget()
    choose.forget_choices()


@pytest.fixture(params=LAYERS)
def case(request):
    if request.param.split()[0] in COMPILED and not loader.available():
        pytest.skip("no C++ kernels here")
    return Case(request.param)


def test_what_is_planned(case):
    layer = case.layer[-1] if isinstance(case.layer, torch.nn.Sequential) else case.layer
    assert isinstance(layer, tc.nn.Conv)
    assert tc.plan(layer, case.shape).algorithm == case.algorithm


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_graph_breaks(case, dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(case.layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    more = case.x[:1].repeat(3, *[1] * (case.x.ndim - 1))
    for x in (case.x, more) if dynamic else (case.x,):
        case.close(case.all(compiled, x), case.all(case.layer, x))


@needs_kernels
def test_compile_with_inductor():
    torch._dynamo.reset()
    case = Case("tiled")
    case.close(case.all(torch.compile(case.layer, fullgraph=True), case.x), case.all(case.layer, case.x))


def test_export(case):
    program = torch.export.export(case.layer, (case.x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    x = torch.randn(5, *case.shape[1:])
    case.close([program.module()(x)], [case.layer(x)])


def test_autocast(case):
    expected = case.all(case.layer, case.x)
    with torch.autocast("cpu", torch.bfloat16):
        got = case.all(case.layer, case.x)
    assert [one.dtype for one in got] == [torch.bfloat16, *[torch.float32] * (len(got) - 1)]
    case.close([one.float() for one in got], expected, 0.05)


def test_transformations_of_functions(case):
    layer, x, parameters = case.layer, case.x, case.parameters
    images = torch.stack([x, x.flip(0)])
    case.close([vmap(layer)(images)], [torch.stack([layer(x), layer(x.flip(0))])])
    tangent = torch.randn_like(x)
    expected = torch.autograd.functional.jvp(layer, x, tangent)[1]
    case.close([jvp(layer, (x,), (tangent,))[1]], [expected])

    def loss(values, image):
        return functional_call(layer, values, (image[None],)).square().sum()

    each = vmap(grad(loss), (None, 0))(parameters, x)
    alone = [grad(loss)(parameters, image) for image in x]
    for name in parameters:
        case.close([each[name]], [torch.stack([one[name] for one in alone])])
    name = list(parameters)[-1]
    means = jacrev(lambda value: functional_call(layer, {**parameters, name: value}, (x,)).mean((0, *range(2, x.ndim))))
    assert torch.isfinite(means(parameters[name])).all()


def test_derivatives_twice(case):
    layer, x = case.layer.double(), case.x[:1].double()
    assert torch.autograd.gradgradcheck(layer, (x.requires_grad_(),), fast_mode=True)


def test_copies(case):
    other = copy.deepcopy(case.layer)
    torch.nn.init.zeros_(next(other.parameters()))
    other.load_state_dict(case.layer.state_dict())
    for copied in (other, pickle.loads(pickle.dumps(case.layer))):
        assert torch.equal(copied(case.x), case.layer(case.x))


def test_checkpoints_and_modes(case):
    expected = case.all(case.layer, case.x)
    got = case.all(lambda x: checkpoint(case.layer, x, use_reentrant=False), case.x)
    assert all(map(torch.equal, got, expected))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(case.layer(case.x), expected[0])


def views(x: Tensor) -> dict[str, Tensor]:
    """The same numbers otherwise in memory; `expanded` is one channel of one image everywhere."""
    wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1])
    wide[..., ::2] = x
    negative = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert negative.is_neg()
    return {
        "channels last": x.to(memory_format={3: torch.preserve_format, 4: torch.channels_last}.get(x.ndim)),
        "sliced": wide[..., ::2],
        "turned": x.transpose(0, -1).contiguous().transpose(0, -1),
        "negative": negative,
        "expanded": x[:1, :1].expand(x.shape),
    }


def test_inputs_in_any_order_of_memory(case):
    for view in views(case.x).values():
        case.close(case.all(case.layer, view), case.all(case.layer, view.clone(memory_format=torch.contiguous_format)))
    turned = {name: value.mT.contiguous().mT if value.ndim > 1 else value for name, value in case.parameters.items()}
    case.close([functional_call(case.layer, turned, (case.x,))], [case.layer(case.x)])


def test_no_images(case):
    y, *grads = case.all(case.layer, case.x[:0])
    assert y.shape == (0, *case.layer(case.x).shape[1:])
    assert not any(one.any() for one in grads)


def test_threads_at_once(case):
    inputs = [case.x.roll(number, -1) for number in range(4)]
    expected = [case.all(case.layer, x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, wanted in zip(pool.map(lambda x: case.all(case.layer, x), inputs), expected, strict=True):
            case.close(got, wanted)


def test_threads_that_change(case):
    found: dict[int, list[Tensor]] = {}
    for threads in (2, 1, 3, 2, 1):
        torch.set_num_threads(threads)
        got = case.all(case.layer, case.x)
        assert all(map(torch.equal, got, found.setdefault(threads, got)))
        case.close(got, found[2])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_numbers_stay_in_their_windows(case, bad):
    """Which results a number reaches is said by a convolution of ones, without products of what is not there."""
    if isinstance(case.layer, torch.nn.Sequential):
        pytest.skip("one layer is enough")
    operator, direct, size = case.layer._operator, Operator(case.layer.convolution, "patches"), case.shape[2:]
    weight = case.layer.weight.detach()
    y = operator(case.x, weight)
    places = [torch.zeros_like(tensor) for tensor in (case.x, y)]
    for place, at in zip(places, (5, 3), strict=True):
        place[(-1, 0, *[at] * len(size))] = 1
    x, cotangent = (tensor.masked_fill(place > 0, bad) for tensor, place in zip((case.x, y), places, strict=True))
    ones = torch.ones_like(weight)
    assert torch.equal(operator(x, weight).isfinite(), direct(places[0], ones) == 0)
    assert torch.equal(
        operator.input_grad(cotangent, weight, size).isfinite(), direct.input_grad(places[1], ones, size) == 0
    )
    spoiled = ~operator.weight_grad(case.x, cotangent).isfinite()
    assert spoiled[direct.weight_grad(torch.ones_like(x), places[1]) > 0].all()
    assert not spoiled[direct.weight_grad(case.x, cotangent).isfinite()].any()  # which multiplies borders, as torch may


class Outputs(torch.utils.data.Dataset):
    """What a layer gives, computed where it is asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __len__(self) -> int:
        return 2

    def __getitem__(self, number: int) -> Tensor:
        case = self.case
        return torch.cat([one.flatten() for one in case.all(case.layer, case.x)])


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="starts forks")
def test_data_loaders_forked_after_the_kernels_were_used(case):
    expected = torch.cat([one.flatten() for one in case.all(case.layer, case.x)])
    loader = torch.utils.data.DataLoader(
        Outputs(case), batch_size=None, num_workers=1, timeout=60, multiprocessing_context="fork"
    )
    for got in loader:
        case.close([got], [expected])


def _train_in_a_process(rank: int, folder: str, names: list[str]) -> None:
    wait = timedelta(seconds=60)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", wait, rank=rank, world_size=2)
    torch.set_num_threads(1)
    for number, name in enumerate(names):
        case = Case(name)
        replica = torch.nn.parallel.DistributedDataParallel(case.layer)
        replica(case.x[rank::2]).square().mean().backward()
        torch.save([parameter.grad for parameter in case.layer.parameters()], f"{folder}/{number}-{rank}.pt")
    torch.distributed.barrier()
    os._exit(0)  # without what torch's threads may wait for at an orderly end


@needs_kernels
def test_two_process_ddp(tmp_path):
    names = [name for name, (_, shape, _) in LAYERS.items() if shape[0] % 2 == 0 and name != "fft tuned"]
    started = torch.multiprocessing.spawn(_train_in_a_process, (str(tmp_path), names), nprocs=2, join=False)
    deadline = time.monotonic() + 200
    while not started.join(timeout=5):
        if time.monotonic() > deadline:
            for process in started.processes:
                process.kill()
            pytest.fail("the processes wait for each other")
    for number, name in enumerate(names):
        case = Case(name)
        case.layer(case.x).square().mean().backward()
        expected = [parameter.grad for parameter in case.layer.parameters()]
        for rank in (0, 1):
            case.close(torch.load(tmp_path / f"{number}-{rank}.pt"), expected)
