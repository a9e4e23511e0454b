"""Every kind of operator that tracing knows, one at a time: what it reads against what changes it, and its counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import torchconv as tc
from torchconv.network.propagation import propagate
from torchconv.tracing.trace import trace

AT, TWICE = torch.tensor([0, 2, 1]), torch.tensor([1, 1, 3])
ALONG = AT[None, None, :, None].expand(1, 4, 3, 8)
LOWER = torch.ones(8, 8).tril().bool()


class Function(nn.Module):
    def __init__(self, call, module=None) -> None:
        super().__init__()
        self.call, self.module = call, module

    def forward(self, x):
        return self.call(x) if self.module is None else self.call(self.module, x)


def written(*where, value=0.0):
    def call(x):
        y = x.clone()
        y[where] = value(x) if callable(value) else value
        return y

    return call


WHOLE = slice(None)
EXACT = {
    "cosine": lambda x: functional.hardswish(x) + functional.hardsigmoid(x) + functional.logsigmoid(x),
    "rrelu": lambda x: functional.rrelu(x) + torch.polar(x.abs(), x).real,
    "attention": lambda x: functional.scaled_dot_product_attention(x, x, x, torch.zeros(8, 8)),
    "gather": lambda x: x.gather(2, ALONG),
    "gather, cut": lambda x: x.gather(2, ALONG[:, :2, :, :5]),
    "index_add": lambda x: x.index_add(2, TWICE, x[:, :, :3]),
    "index_copy": lambda x: x.index_copy(2, AT, x[:, :, :3]),
    "index_fill": lambda x: x.index_fill(2, AT, 0),
    "put at two": written(WHOLE, WHOLE, AT, TWICE, value=lambda x: x[:, :, 0, :3]),
    "put where marked": written(WHOLE, WHOLE, LOWER, value=lambda x: x[:, :, 0, :1]),
    "put and sum": lambda x: x[0].index_put((TWICE, TWICE, TWICE), x[0, 0, 0, :3], True),
    "set": written(WHOLE, WHOLE, AT),
    "two": lambda x: x[:, :, AT, TWICE],
    "two, broadcast": lambda x: x[:, :, AT[:, None], TWICE],
    "marks": lambda x: x[:, :, LOWER],
    "take": lambda x: x.take(torch.tensor([1, 60])),
    "cross": lambda x: torch.linalg.cross(x[:, :3], x[:, 1:], dim=1),
    "antialiased": lambda x: functional.interpolate(x, (3, 5), mode="bilinear", antialias=True),
    "antialiased, cubic": lambda x: functional.interpolate(x, scale_factor=1.7, mode="bicubic", antialias=True),
    "diagonal": lambda x: x.diagonal(1, 2, 3),
    "renorm": lambda x: x.renorm(2, 0, 1.0),
    "computed kernel": lambda x: functional.conv2d(x, x.mean((2, 3)).view(4, 1, 1, 1).expand(4, 4, 3, 3)),
    "lstm": Function(lambda layer, x: layer(x[0])[0], nn.LSTM(8, 5, batch_first=True)),
    "gru, both ways": Function(lambda layer, x: layer(x[0])[0], nn.GRU(8, 5, 2, bidirectional=True)),
    "rnn, its state": Function(lambda layer, x: layer(x[0])[1], nn.RNN(8, 5, batch_first=True)),
    "lstm cell": Function(lambda layer, x: layer(x[0, 0])[0], nn.LSTMCell(8, 5)),
    "read constants": lambda x: x * torch.ones(3).tolist()[0] if int(torch.ones(2).sum()) == 2 else x.mean(),
    "marked constants": lambda x: x * 2 if not (torch.arange(4) > 9).any() else x.mean(),
}
CAREFUL = {
    "masked attention": lambda x: functional.scaled_dot_product_attention(x, x, x, LOWER),
    "gather by numbers": lambda x: x.gather(2, x.argmax(2, keepdim=True)),
    "gather, each its own": lambda x: x.gather(2, (torch.arange(192) % 8).view(1, 4, 6, 8)),
    "sorted": lambda x: torch.take_along_dim(x, x.argsort(2), 2),
    "scatter": lambda x: x.scatter(2, ALONG, x[:, :, :3]),
    "scatter, cut": lambda x: x.scatter(2, ALONG[:, :2, :, :5], x[:, :, :3]),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(2, ALONG, x[:, :, :3]),
    "scatter_reduce": lambda x: torch.zeros_like(x).scatter_reduce(2, ALONG, x[:, :, :3], "amax"),
    "masked": lambda x: x.masked_fill(x > 0, 0),
    "set where positive": lambda x: written(x > 0)(x),
    "unpool": lambda x: functional.max_unpool2d(*functional.max_pool2d(x, 2, return_indices=True), 2),
    "index by numbers": lambda x: x[:, :, x[0, 0, 0].argsort()],
    "index by both": lambda x: x[:, :, x[0, 0, 0].argsort()[:, None], AT],
    "table": lambda x: torch.arange(80.0).view(8, 10)[x[0].argmax(0)],
    "apart": lambda x: x[:, AT, :, TWICE],
    "middle": lambda x: x.mode(2)[0] + x.kthvalue(2, 2)[0],
    "kernel and nothing else": lambda x: functional.conv2d(torch.ones(1, 4, 8, 8), x[:, :, :3, :3], padding=1),
    "grid": lambda x: functional.grid_sample(x, functional.affine_grid(torch.eye(2, 3)[None], (1, 4, 8, 8), False)),
    "masked_select": lambda x: x.masked_select(LOWER),
}


def changed(model, x):
    """(rows, columns, *output): whether an output changes with a sample of the input."""
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        expected = model(x)
        found = torch.zeros(*x.shape[2:], *expected.shape, dtype=torch.bool)
        for row, column in np.ndindex(*x.shape[2:]):
            for _ in range(4):
                other = x.clone()
                other[:, :, row, column] = 2 * torch.randn(x.shape[:2], generator=chance)
                found[row, column] |= model(other) != expected
    return found.numpy()


def told(model, x):
    """(rows, columns, *output): the box that tracing finds for every output, in flags."""
    found = trace(model, (x,))
    *_, last = propagate(found.network, goal=found.outputs[0], flags=True)
    assert last.node.name == found.outputs[0]
    assert all(getattr(node.operation, "known", True) for node in found.network.nodes)
    rows, columns = (np.broadcast_to(one, (*last.field.shape, 8)) for one in last.field.reads)
    return np.moveaxis(rows[..., :, None] & columns[..., None, :], (-2, -1), (0, 1))


@pytest.mark.parametrize("name", [*EXACT, *CAREFUL])
def test_what_an_operator_reads(name):
    torch.manual_seed(0)
    call = (EXACT | CAREFUL)[name]
    model = (call if isinstance(call, nn.Module) else Function(call)).eval()
    x = torch.randn(1, 4, 8, 8)
    changes, boxes = changed(model, x), told(model, x)
    assert not (changes & ~boxes).any()
    if name in EXACT:
        for axis in (0, 1):
            assert np.array_equal(changes.any(axis), boxes.any(axis)), f"axis {axis}"


def test_an_empty_choice():
    model = Function(lambda x: torch.cat([x, x[:, :, torch.zeros(0, dtype=torch.int64)]], 2))
    assert tc.inspect(model, (3, 8, 8)).complete


def counted(model, *inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() // 2


class Modulated(nn.Module):
    """A convolution whose kernels are scaled by the image, one for each image (StyleGAN2)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.style = nn.Parameter(torch.randn(6, 4, 3, 3)), nn.Linear(4, 4)

    def forward(self, x):
        weight = self.weight * self.style(x.mean((2, 3)))[:, None, :, None, None]
        found = functional.conv2d(x.reshape(1, -1, *x.shape[2:]), weight.flatten(0, 1), groups=len(x), padding=1)
        return found.view(len(x), 6, *x.shape[2:])


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.ConvTranspose2d(100, 64, 4, bias=False), (1, 100, 1, 1)),  # DCGAN's first layer
        (nn.ConvTranspose2d(8, 4, 4, 2, 1), (2, 8, 5, 5)),
        (Modulated(), (3, 4, 8, 8)),
        (Function(lambda layer, x: layer(x, x, x)[0], nn.MultiheadAttention(8, 2)), (5, 2, 8)),
        (Function(lambda layer, x: layer(x)[0], nn.LSTM(8, 5, proj_size=3)), (6, 2, 8)),
    ],
    ids=["dcgan", "transposed", "modulated", "attention", "lstm"],
)
def test_counts_are_those_of_torch(model, shape):
    x = torch.randn(shape)
    report = tc.inspect(model.eval(), x)
    assert report.complete
    expected = counted(model, x)
    if isinstance(getattr(model, "module", None), nn.LSTM):
        expected = 6 * 2 * sum(one.numel() for one in model.parameters() if one.ndim == 2)
    assert report.total_customary_macs == expected


class Constants(nn.Module):
    """A model that reads its buffers and parameters, and with `ahead` its input too."""

    def __init__(self, ahead: bool) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(3))
        self.table, self.ahead, self.conv = nn.Parameter(torch.tensor([2.0, 4.0])), ahead, nn.Conv2d(3, 4, 3)

    def forward(self, x):
        for _ in range(int(self.count)):
            x = x * self.table[1].item()
        if (self.count > 9).any() or self.table.sum() < 0:
            x = x.mean()
        if self.ahead and x.max() == 0:
            return self.conv(x[:, :2])
        return self.conv(x)


def test_constants_may_be_looked_at():
    report = tc.inspect(Constants(False), (3, 8, 8))
    assert [row.operation for row in report.rows if row.operation != "input"] == [
        "mul",
        "mul",
        "mul",
        "conv",
        "not used",
    ]
    assert report.complete


def test_what_depends_on_the_numbers_of_the_input_fails_in_its_layer():
    with pytest.raises(
        tc.TorchconvError, match=r"in layer conv \(Conv2d\).*numbers of the input at which the model looks"
    ):
        tc.inspect(Constants(True), (3, 8, 8))
