"""The zoo: every text is built, counted against what is published, printed back, and trained for a few steps."""

from __future__ import annotations

import re

import pytest
import torch

import torchconv as tc
from torchconv.errors import ShapeError
from torchconv.language import zoo
from torchconv.language.network_module import NetworkModule, build
from torchconv.network.operations import Volume
from torchconv.network.propagation import propagate

# Parameters: of the papers, or, where these give none, of the implementation that the others are checked against
# (torchvision for the ResNets, the authors' Caffe files for GoogLeNet and FCN-8s).
PARAMETERS = {
    "alexnet": 60_965_224,
    "cifar10": 31_066,
    "dilated-context": 911_315,
    "fcn8s": 134_489_759,
    "googlenet": 6_998_552,
    "jain2007": 9_251,
    "lenet5": 60_000 + 850,
    "pinheiro2014": 215_061,
    "pinheiro2014-grid": 188_111,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "unet": 31_030_658,
    "unet-small": 2_499_099,
    "vgg16": 138_357_544,
}
CLASSES = {"cifar10": 10, "fcn8s": 21, "lenet5": 10, "unet": 2}
ANY = Volume(3, (360, 480))  # for texts that leave the size, and 11 classes, to the data
OUTPUTS = {
    **{"fcn8s": "500x500x21", "unet": "388x388x2"},
    **dict.fromkeys(("dilated-context", "jain2007", "unet-small"), "360x480x11"),
    **dict.fromkeys(("pinheiro2014", "pinheiro2014-grid"), "90x120x11"),
}
# Smaller images for a few steps of training on two cores.
SMALL = {"alexnet": 99, "fcn8s": 32, "googlenet": 64, "resnet18": 64, "resnet50": 64, "unet": 188, "vgg16": 32}


def test_the_zoo_is_complete() -> None:
    assert set(zoo.names()) == set(PARAMETERS)


@pytest.mark.parametrize("name", zoo.names())
def test_counts_are_the_published_ones(name: str) -> None:
    said = tc.parse(name).input
    classes = CLASSES.get(name, 1000 if said else 11)
    network = tc.parse(name).network(said or ANY, classes)
    assert network.parameters == PARAMETERS[name]
    assert str(network.output) == OUTPUTS.get(name, str(classes))
    assert f"{PARAMETERS[name]:,}" in zoo.text(name) or name == "lenet5"
    assert tc.parse(str(tc.parse(name))) == tc.parse(name)
    assert tc.parse(zoo.text(name)) == tc.parse(name)


def test_volumes_of_the_papers() -> None:
    def volumes(name: str, prefix: str) -> list[str]:
        rows = tc.parse(name).network(classes=1000).rows
        return [str(row.volume) for row in rows if row.node.name.startswith(prefix)]

    assert volumes("lenet5", "conv") == ["28x28x6", "10x10x16", "1x1x120"]
    assert volumes("alexnet", "conv") == ["55x55x96", "27x27x256", "13x13x384", "13x13x384", "13x13x256"]
    assert volumes("googlenet", "concat")[::4] == ["28x28x256", "14x14x512", "7x7x1024"]
    assert volumes("resnet50", "sum")[2:16:4] == ["56x56x256", "28x28x512", "14x14x1024", "7x7x2048"]
    assert volumes("unet", "concat") == ["56x56x1024", "104x104x512", "200x200x256", "392x392x128"]
    assert volumes("vgg16", "pool")[-1] == "7x7x512"


@pytest.mark.parametrize("name", zoo.names())
def test_a_few_steps_lower_the_loss(name: str) -> None:
    torch.manual_seed(0)
    size = SMALL.get(name, 32)
    model = build(name, input=(3, size, size), classes=4)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # so that one batch tells whether the loss falls
    volume = model.network.input
    count = 8 if "NORM -" in zoo.text(name) else 1  # batch normalisation needs a batch
    images = torch.randn(count, volume.channels, *volume.size)
    output = model.network.output
    target = torch.randint(0, output.channels, (count, *output.size))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4 if count > 1 else 1e-3)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model.scores(images), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_connections_of_c3_are_those_of_table_1() -> None:
    conv = build("lenet5").get_submodule("conv2")
    assert conv.weight.shape == (60, 5, 5)
    assert sum(parameter.numel() for parameter in conv.parameters()) == 1516


def test_the_input_may_still_be_the_datas() -> None:
    assert tc.parse("resnet18").input == Volume(3, (224, 224))


@pytest.mark.parametrize("name", zoo.names())
@pytest.mark.parametrize("input", [(1, 28, 28), (4, 231, 333), (3, 360, 480), (2, 191, 193)])
def test_every_network_takes_what_the_caller_says_or_names_the_layer(name: str, input: tuple[int, ...]) -> None:
    """On the meta device: nothing is computed, but every size comes out as told."""
    if name in ("alexnet", "lenet5", "unet", "vgg16") and input == (1, 28, 28):
        with pytest.raises(ShapeError, match=r"^layer \w+\d on a volume .*the window is larger than the input"):
            build(name, input=input, classes=7)
        return
    with torch.device("meta"):
        model = build(name, input=input, classes=7).eval()
        y = model(torch.empty(1, *input))
    assert model.network.input == Volume(input[0], input[1:])
    assert tuple(y.shape) == (1, 7, *model.network.output.size)
    if name in ("dilated-context", "fcn8s", "jain2007", "unet-small"):
        assert y.shape[2:] == input[1:]


@pytest.mark.parametrize("name", ["fcn8s", "googlenet", "pinheiro2014", "resnet18", "unet", "unet-small"])
def test_what_has_no_fc_on_places_takes_every_size_once_built(name: str) -> None:
    with torch.device("meta"):
        model = build(name, input=(3, 224, 224), classes=5).eval()
        for size in [(256, 320), (235, 301)]:
            assert tuple(model(torch.empty(1, 3, *size)).shape[2:]) == model.network.on(Volume(3, size)).output.size
            with pytest.raises(ShapeError, match=r"at layer fc1: got .* expected 7x7x512, as on an input 224x224x3"):
                build("vgg16")(torch.empty(1, 3, *size))


def test_the_parameters_of_jain2007_on_volumes() -> None:
    assert tc.parse("jain2007").network(Volume(1, (12, 12, 12)), 1).parameters == 34_041


def test_more_passes_see_further() -> None:
    model = build("pinheiro2014", input=(3, 96, 96), classes=5)
    sizes = []
    for passes in (1, 2, 3):
        model.passes = passes
        sizes.append(tc.receptive_field(model).size[0])
    assert sizes == [46, 70, 94]
    assert model.network.parameters == tc.parse("pinheiro2014").network(Volume(3, (96, 96)), 5).parameters


def test_the_authors_cuts_of_fcn8s() -> None:
    """Offsets of 5, 9 and 31 keep pixel, pool4 and pool3 above one another, whatever the size."""
    for size in [(500, 500), (361, 480), (224, 97)]:
        network = tc.parse("fcn8s").network(Volume(3, size), 21)
        assert network.output == Volume(21, size)
        notes = [note for one in propagate(network) for note in one.notes]
        assert not notes


def scaled(name: str, by: int) -> str:
    """The text of a network with so many times fewer filters."""
    return re.sub(r"CONV\[(\d+)", lambda found: f"CONV[{max(int(found[1]) // by, 1)}", zoo.text(name))


ODD = "INPUT[40x44x3] - MARK[a] - CONV[4] - RELU - POOL - MARK[b] - CONV[4, stride=2] - UPSAMPLE[to=b, linear]"
ODD += " - CONCAT(FROM[b] | IDENTITY) - CONV[4, 2x2, stride=2, valid, transposed, to=a]"
ODD += " - SUM(FROM[a] - CONV[4] | IDENTITY)"
ODD += " - RECUR(CONCAT[crop](IDENTITY | FROM[a]) - CONV[4] - CONV[classes, 1x1])[n=2, zeros] - SOFTMAX"
OPEN = {  # a text, and sizes to run it at; not square at first, or height and width would be one symbol
    "odd": (ODD, [(40, 44), (33, 47), (35, 36)]),
    "unet": (scaled("unet", 64), [(188, 190), (205, 189)]),
    "fcn8s": (scaled("fcn8s", 128), [(40, 50), (33, 65), (64, 37)]),
}


def opened(name: str) -> tuple[NetworkModule, list[torch.Tensor], list[torch.Tensor]]:
    """A small network, images of several sizes, and what it makes of them."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    text, sizes = OPEN[name]
    model = build(text, input=(3, *sizes[0]), classes=3).eval()
    images = [torch.randn(1, 3, *size) for size in sizes]
    with torch.no_grad():
        return model, images, [model(one) for one in images]


@pytest.mark.parametrize("name", OPEN)
def test_one_compiled_graph_is_for_all_sizes(name: str) -> None:
    model, images, outputs = opened(name)
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    compiled = torch.compile(model, dynamic=True, fullgraph=True, backend=backend)
    for image, output in zip(images, outputs, strict=True):
        torch.testing.assert_close(compiled(image), output)
    assert len(graphs) == 1
    if name == "odd":
        torch.testing.assert_close(compiled(images[1], passes=3), model(images[1], passes=3))


@pytest.mark.parametrize("name", OPEN)
def test_an_exported_network_takes_every_size(name: str) -> None:
    model, images, outputs = opened(name)
    open_sizes = {"x": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    program = torch.export.export(model, (images[1],), dynamic_shapes=open_sizes)
    for image, output in zip(images, outputs, strict=True):
        torch.testing.assert_close(program.module()(image), output)
    if name != "unet":  # as deep as the others together, and a minute to translate
        onnx = torch.onnx.export(program, dynamo=True, verbose=False)
        assert onnx is not None
        for image, output in zip(images, outputs, strict=True):
            torch.testing.assert_close(onnx(image)[0], output, atol=1e-5, rtol=1e-4)
