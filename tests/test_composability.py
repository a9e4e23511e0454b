"""Layers inside torch: every cell of the table in docs/composability.md, and the cells that are empty for a reason."""

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor

import torchconv as tc
from torchconv.errors import UnsupportedError

TABLE = [[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]]
SIZE = (6, 6)
LAYERS = {
    "ordinary": lambda: tc.nn.Conv2d(3, 4, 3, padding=1),
    "strided same": lambda: tc.nn.Conv2d(3, 4, 3, 2, padding="same"),
    "per side": lambda: tc.nn.Conv2d(3, 4, 3, padding=((1, 0), (0, 2))),
    "reflect": lambda: tc.nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "table": lambda: tc.nn.Conv2d(3, 4, 3, connections=TABLE),
    "tiled": lambda: tc.nn.TiledConv2d(3, 4, 3, padding=1, period=2),
    "unshared": lambda: tc.nn.LocallyConnected2d(3, 4, 3, input_size=SIZE),
    "regional bias": lambda: tc.nn.Conv2d(3, 4, 3, padding=1, bias_sharing="none", input_size=SIZE),
    "transposed": lambda: tc.nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1),
    "transposed unshared": lambda: tc.nn.ConvTranspose2d(3, 4, 3, stride=2, sharing="none", input_size=SIZE),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    return LAYERS[request.param]()


@pytest.fixture
def x():
    return torch.randn(2, 3, *SIZE)


def gradients(layer, call, x: Tensor) -> list[Tensor]:
    parameters = list(layer.parameters())
    return list(torch.autograd.grad(call(x).square().sum(), parameters))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_graph_breaks(layer, x, dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for batch in (x, x[:1].repeat(3, 1, 1, 1)):
        torch.testing.assert_close(compiled(batch), layer(batch), rtol=1e-4, atol=1e-5)
        for ours, theirs in zip(gradients(layer, compiled, batch), gradients(layer, layer, batch), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_compile_of_the_function(x):
    torch._dynamo.reset()
    weight = torch.randn(2, 2, 4, 3, 3, 3)
    call = torch.compile(lambda a, w: tc.conv(a, w, sharing=2, padding=1), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(call(x, weight), tc.conv(x, weight, sharing=2, padding=1))


def test_export(layer, x):
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    batch = torch.randn(5, 3, *SIZE)
    torch.testing.assert_close(program.module()(batch), layer(batch))


def test_onnx(layer, x, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    program = torch.onnx.export(layer, (x,), dynamo=True, verbose=False)
    stored = io.BytesIO()
    program.save(stored)
    session = onnxruntime.InferenceSession(stored.getvalue(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), layer(x), rtol=1e-4, atol=1e-4)


def test_vmap(layer):
    images = torch.randn(3, 2, 3, *SIZE)
    expected = torch.stack([layer(batch) for batch in images])
    torch.testing.assert_close(torch.vmap(layer)(images), expected)


def test_gradients_of_every_sample(layer, x):
    parameters = dict(layer.named_parameters())

    def loss(values, image):
        return torch.func.functional_call(layer, values, (image[None],)).square().sum()

    each = torch.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for number, image in enumerate(x):
        alone = torch.func.grad(loss)(parameters, image)
        for name in parameters:
            torch.testing.assert_close(each[name][number], alone[name], rtol=1e-4, atol=1e-4)


def test_forward_mode(layer, x):
    layer, x = layer.double(), x.double()
    tangent = torch.randn_like(x)
    _, along = torch.func.jvp(layer, (x,), (tangent,))
    zero = torch.zeros_like(x)
    torch.testing.assert_close(along, layer(tangent) - layer(zero))


def test_derivatives_twice(layer, x):
    layer = layer.double()
    assert torch.autograd.gradgradcheck(layer, (x[:1].double().requires_grad_(),), fast_mode=True)


def test_autocast(layer, x):
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.1)
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_bfloat16(layer, x):
    y = copy.deepcopy(layer).bfloat16()(x.bfloat16())
    y.sum().backward()
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.1)


def test_meta(layer, x):
    y = copy.deepcopy(layer).to("meta")(x.to("meta"))
    assert y.device.type == "meta"
    assert y.shape == layer(x).shape


def test_channels_last(layer, x):
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), layer(x))


def test_copies(layer, x):
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x))


def test_empty_cells_say_why(x):
    weight = torch.randn(4, 3, 3, 3)
    for name in ("matrix", "reference"):
        with pytest.raises(UnsupportedError, match="declines"):
            tc.conv(x.to("meta"), weight.to("meta"), algorithm=name)
    with pytest.raises(UnsupportedError, match="bfloat16"):
        tc.conv(x.bfloat16(), weight.bfloat16(), algorithm="matrix")


def _train_in_a_process(rank: int, port: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(make() for make in (LAYERS["unshared"], lambda: tc.nn.TiledConv2d(4, 2, 3, period=2)))
    )
    replica = torch.nn.parallel.DistributedDataParallel(model)
    images = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    replica(images[rank::2]).square().mean().backward()
    torch.save([parameter.grad for parameter in model.parameters()], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_process_ddp(tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_train_in_a_process, (port, str(tmp_path)), nprocs=2)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(make() for make in (LAYERS["unshared"], lambda: tc.nn.TiledConv2d(4, 2, 3, period=2)))
    )
    images = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    model(images).square().mean().backward()
    for rank in (0, 1):
        for got, parameter in zip(torch.load(tmp_path / f"{rank}.pt"), model.parameters(), strict=True):
            torch.testing.assert_close(got, parameter.grad, rtol=1e-5, atol=1e-6)
