"""Networks as torch modules: names, values of the pooling at its borders, and refusals."""

from __future__ import annotations

import pickle

import pytest
import torch

import torchconv as tc
from torchconv.description import shapes
from torchconv.description.axis import Axis
from torchconv.errors import SettingError, ShapeError, TextError
from torchconv.language.parser import parse
from torchconv.network.operations import Pool, Volume
from torchconv.translate.build import Pooling, build

TEXT = "INPUT[8x8x1] - (CONV[16, 3x3, same] - NORM - RELU)*2 - POOL[2x2, max] - DROPOUT - FC[10] - SOFTMAX"


def test_children_carry_the_names_of_the_nodes() -> None:
    model = build(TEXT)
    assert list(model.state_dict())[:2] == ["conv1.weight", "conv1.bias"]
    assert model.state_dict()["fc1.weight"].shape == (10, 256)
    assert sum(parameter.numel() for parameter in model.parameters()) == model.network.parameters
    assert [name for name, _ in model.named_children()] == [node.name for node in model.network.nodes[1:]]


def test_it_is_what_torch_itself_computes() -> None:
    torch.manual_seed(0)
    model = build("INPUT[9x9x2] - CONV[3, 3x3, stride=2] - RELU - POOL[2] - FC[4] - SOFTMAX").eval()
    x = torch.randn(5, 2, 9, 9)
    state = model.state_dict()
    y = torch.conv2d(x, state["conv1.weight"], state["conv1.bias"], stride=2, padding=1).relu()
    y = torch.max_pool2d(y, 2).flatten(1) @ state["fc1.weight"].T + state["fc1.bias"]
    torch.testing.assert_close(model.scores(x), y)
    torch.testing.assert_close(model(x), y.softmax(1))


def test_without_softmax_scores_are_all() -> None:
    model = build("INPUT - CONV[4] - FC", input=(3, 8, 8), classes=2)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(model(x), model.scores(x))
    assert model(x).shape == (2, 2)


@pytest.mark.parametrize("statistic", ["max", "mean"])
@pytest.mark.parametrize(
    "axes",
    [
        (Axis(3, 2, padding=(0, 1)),),
        (Axis(2, 2), Axis(3, 1, padding=(2, 0))),
        (Axis(3, 2, padding="same"), Axis(2, 1, dilation=3, padding=(1, 1))),
        (Axis(2, 2, padding=(0, 1)), Axis(2, 1), Axis(3, 3, padding=(1, 1))),
    ],
)
def test_padding_never_counts(statistic: str, axes: tuple[Axis, ...]) -> None:
    torch.manual_seed(0)
    volume = Volume(2, (7, 6, 5)[: len(axes)])
    x = torch.randn(3, 2, *volume.size) - 5  # a zero from the padding would be the maximum
    pool = Pool(axes, statistic)
    found = Pooling(pool, volume)(x)
    assert found.shape[2:] == pool.output(volume).size
    reads = [shapes.sources(axis, size) for axis, size in zip(axes, volume.size, strict=True)]
    for place in torch.cartesian_prod(*(torch.arange(size) for size in found.shape[2:])).view(-1, len(axes)).tolist():
        window = x
        for number, position in enumerate(place):
            row = torch.tensor(reads[number][position])
            window = window.index_select(2 + number, row[row >= 0])
        expected = window.flatten(2).amax(2) if statistic == "max" else window.flatten(2).mean(2)
        torch.testing.assert_close(found[(..., *place)], expected)


@pytest.mark.parametrize(
    "text", ["INPUT[40x2]-CONV[3]-NORM-POOL-FC", "INPUT[6x6x6x1]-CONV[2]-NORM-POOL[mean]-FC", "INPUT[5]-FC"]
)
def test_every_rank_trains(text: str) -> None:
    model = build(text, classes=3)
    volume = model.network.input
    torch.nn.functional.cross_entropy(
        model.scores(torch.randn(4, volume.channels, *volume.size)), torch.arange(4) % 3
    ).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_texts_architectures_and_networks_build_alike() -> None:
    architecture = parse("INPUT-(CONV[2])*N-FC")
    bound = architecture.bind(N=2)
    keys = [list(build(what).state_dict()) for what in (bound, bound.network(Volume(3, (32, 32)), 10))]
    assert keys[0] == keys[1] == list(tc.build("INPUT-(CONV[2])*N-FC", N=2).state_dict())


def test_modules_can_be_pickled() -> None:
    model = build(TEXT).eval()
    x = torch.randn(1, 1, 8, 8)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="input: got"):
        build(TEXT)(torch.randn(1, 3, 8, 8))
    with pytest.raises(TextError, match="CONVV"):
        build("INPUT - CONVV")
    with pytest.raises(SettingError, match="binding"):
        build("INPUT - FC", N=2)
    with pytest.raises(SettingError, match="none with a network"):
        build(build(TEXT).network, N=2)
    with pytest.raises(ShapeError, match="fits into memory"):
        build("INPUT[99999x99999x999] - FC[99999]")
