"""What an operation says of itself is what its torch module does: volume, parameters, access pattern, locality."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from torchconv.description.convolution import Convolution
from torchconv.description.pooling import Pooling
from torchconv.errors import UnsupportedError
from torchconv.inspection.network_of import network_of
from torchconv.language.network_module import made
from torchconv.network import branches, mean_field, operations as ops, pooling, recurrence
from torchconv.network.base import Elementwise, Locality, Operation, Recorded, Unlearned, Volume
from torchconv.network.graph import Network, Node
from torchconv.network.propagation import propagate, shape_of
from torchconv.receptive.access import Pointwise
from torchconv.receptive.field import Field

FLAT, LINE, WIDE = Volume(4), Volume(4, (9,)), Volume(4, (6, 7))
EXAMPLES: list[tuple[Operation, tuple[Volume, ...]]] = [
    (ops.Input(WIDE), ()),
    (ops.Convolve(Convolution(4, 2, (3, 2), stride=(1, 2), padding=1)), (WIDE,)),
    (ops.Convolve(Convolution(4, 2, (3,), sharing="none")), (LINE,)),
    (ops.Convolve(Convolution(4, 2, (3,), sharing=2, input_dilation=2)), (LINE,)),
    (ops.Upsample((2, 3)), (WIDE,)),
    (ops.Upsample((2,), "linear"), (LINE,)),
    (ops.ShufflePixels(), (WIDE,)),
    (ops.ShufflePixels(2), (LINE,)),
    (ops.ShufflePixels(2), (Volume(16, (2, 3, 4)),)),
    (ops.ShufflePixels(3), (Volume(18, (4, 3)),)),
    (ops.FullyConnected(5), (WIDE,)),
    *((ops.Activation(word), (LINE,)) for word in ops.Activation.words),
    *((ops.Norm(kind, groups=2), (WIDE,)) for kind in ops.Norm.kinds),
    (ops.Norm(), (FLAT,)),
    (ops.ScaleChannels(), (LINE,)),
    (ops.Dropout(), (WIDE,)),
    (ops.Softmax(), (WIDE,)),
    (branches.Sum(), (WIDE, WIDE)),
    (branches.Sum(crop=True), (WIDE, Volume(4, (3, 4)))),
    (branches.Concat(), (WIDE, Volume(1, (6, 7)))),
    (branches.Concat(crop=True), (Volume(4, (8, 8)), WIDE)),
    (branches.Concat(crop=True, low=1), (Volume(4, (8, 8)), WIDE)),
    (recurrence.Again(), (WIDE,)),
    (recurrence.Zeros(5), (WIDE,)),
    (branches.Crop(), (WIDE, Volume(2, (3, 5)))),
    (branches.Crop(1), (LINE, Volume(2, (5,)))),
    (ops.Upsample((2, 3), to_size=True), (WIDE, Volume(1, (13, 19)))),
    (ops.Upsample((2,), "linear", to_size=True), (LINE, Volume(1, (19,)))),
    (ops.Upsample((3,), to_size=True), (LINE, Volume(1, (25,)))),
    (pooling.PoolWindows(Pooling((3, 2), stride=2, padding=((1, 0), (0, 0)))), (WIDE,)),
    (pooling.PoolLearned(Pooling((2, 2), statistic="mean"), per_channel=True), (WIDE,)),
    (pooling.PoolChannels(Pooling((2,), statistic="l2")), (WIDE,)),
    (pooling.PoolAll("lp", 3.0), (WIDE,)),
    (pooling.PoolGrid(((2, 2),)), (WIDE,)),
    (pooling.PoolGrid(((1,), (3,)), pooling.Summary("mean")), (LINE,)),
    (pooling.PoolClusters(3, (2, 2)), (WIDE,)),
    (pooling.PoolClusters(3, (2,), codes=True), (LINE, Volume(2, (9,)))),
    (mean_field.MeanField(4, (3, 5), (1, 1), 1, learned=6), (WIDE, Volume(2, (6, 7)))),
    (mean_field.MeanField(4, (3,), (2,), 2, appearance=False, matrix=True, learned=19), (LINE,)),
    (pooling.PoolRegions((2, 3)), (WIDE,)),
    (pooling.PoolRegions((2, 3), "mean", ((0, 1), (2, 3))), (WIDE,)),
]
NAMES = [f"{operation.title} {operation}" for operation, _ in EXAMPLES]


def kinds(base: type = Operation) -> Iterator[type]:
    """Every operation of the package that is not abstract."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("torchconv") and not getattr(kind, "__abstractmethods__", ()):
            yield kind
        yield from kinds(kind)


def built(operation: Operation, volumes: tuple[Volume, ...]) -> torch.nn.Module:
    """Its module, with positive weights, so that no maximum hides a change."""
    module = made(operation.torch_module(*volumes)).double().eval()
    for parameter in module.parameters():
        parameter.data = torch.rand_like(parameter) + 0.1
    if isinstance(operation, pooling.PoolClusters):
        module.centers = torch.rand(operation.clusters, volumes[0].channels, dtype=torch.double)  # type: ignore[assignment]
    return module


def inputs_of(volumes: tuple[Volume, ...]) -> list[torch.Tensor]:
    torch.manual_seed(3)
    return [torch.rand(1, one.channels, *one.size, dtype=torch.double) + 1 for one in volumes or (WIDE,)]


def field_of(operation: Operation, volumes: tuple[Volume, ...]) -> Field:
    """What its output reads of the first input, each sample told apart."""
    nodes = [Node("x", ops.Input(volumes[0]))]
    others = [Node(f"x{number}", ops.Input(volume)) for number, volume in enumerate(volumes[1:])]
    last = Node("y", operation, ("x", *(node.name for node in others)))
    *_, found = propagate(Network((*nodes, *others, last)), "x", "y", flags=True)
    assert not [note for note in found.notes if "not known" in note]
    return found.field


def test_every_operation_is_among_the_examples():
    assert {type(operation) for operation, _ in EXAMPLES} == {*kinds()} - {Recorded}


@pytest.mark.parametrize(("operation", "volumes"), EXAMPLES, ids=NAMES)
def test_volume_parameters_and_access_are_those_of_the_module(operation, volumes):
    module = built(operation, volumes)
    output = operation.output(*volumes)
    with torch.no_grad():
        y = module(*inputs_of(volumes))
    assert tuple(y.shape) == shape_of(output)
    assert sum(one.numel() for one in module.parameters()) == operation.parameters(*volumes)
    assert operation.macs_ignoring_borders(*volumes) >= operation.macs(*volumes) >= 0
    if volumes and volumes[0].size:
        assert field_of(operation, volumes).shape == shape_of(output)


@pytest.mark.parametrize(("operation", "volumes"), EXAMPLES, ids=NAMES)
def test_what_it_reads_is_what_changes_it(operation, volumes):
    if not volumes or not volumes[0].size or isinstance(operation, pooling.PoolClusters):
        return  # which clusters change depends on the numbers: tests/test_cluster_pool.py
    module, (x, *others), size = built(operation, volumes), inputs_of(volumes), volumes[0].size
    step = torch.arange(1, x.shape[1] + 1, dtype=torch.double) * 1000
    with torch.no_grad():
        y = module(x, *others)
        moved = torch.zeros(*size, *y.shape, dtype=torch.bool)
        for place in np.ndindex(*size):
            for amount in (step, -step):
                other = x.clone()
                other[(0, slice(None), *place)] += amount
                moved[place] |= (module(other, *others) - y).abs() > 1e-9
    field = field_of(operation, volumes)
    for axis in range(len(size)):
        expected = moved.numpy().any(axis=tuple(at for at in range(len(size)) if at != axis))
        marks = np.broadcast_to(field.reads[axis], (*y.shape, size[axis]))
        read = np.moveaxis(expected, 0, -1)
        assert (marks == read).all() if channels_alike(operation) else (marks.any(1) == read.any(1)).all()


def channels_alike(operation: Operation) -> bool:
    """Whether all channels of an output place read the same places; else fields are compared place by place."""
    return not isinstance(operation, branches.Concat)


@pytest.mark.parametrize(("operation", "volumes"), EXAMPLES, ids=NAMES)
def test_locality_is_what_it_reads(operation, volumes):
    """Pointwise: the same place. Windowed: as much, however large the input. Global: everything."""
    if not volumes or not volumes[0].size or isinstance(operation, branches.Merge):
        return
    field, size = field_of(operation, volumes), volumes[0].size
    reads = [np.broadcast_to(marks, (*field.shape, length)) for marks, length in zip(field.reads, size, strict=True)]
    if isinstance(operation, recurrence.Zeros):
        assert not any(marks.any() for marks in reads)
    elif operation.locality is Locality.POINTWISE:
        assert operation.output(*volumes).size == size
        for axis, marks in enumerate(reads):
            place = np.eye(size[axis], dtype=bool).reshape(
                [1, 1, *(-1 if at == axis else 1 for at in range(len(size))), size[axis]]
            )
            assert (marks == place).all()
    elif operation.locality is Locality.GLOBAL:
        assert all(marks.all() for marks in reads)
    elif operation.locality is Locality.WINDOWED:
        larger = tuple(Volume(one.channels, tuple(3 * length for length in one.size)) for one in volumes)
        if isinstance(operation, ops.Upsample) and operation.to_size:
            longer = tuple(3 * length * by + 1 for length, by in zip(size, operation.factors, strict=True))
            larger = (larger[0], Volume(1, longer))
        assert largest(field_of(operation, larger)) == largest(field) < size


def largest(field: Field) -> tuple[int, ...]:
    return tuple(int(marks.sum(-1).max()) for marks in field.reads)


def test_what_is_forgotten_is_an_error():
    class Forgetful(Elementwise):
        word = "forgetful"

    class Complete(Forgetful):
        def torch_module(self, *volumes):
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"abstract method '?torch_module"):
        Forgetful()  # type: ignore[abstract]
    assert Complete().locality is Locality.POINTWISE
    needed = {"word", "locality", "output", "parameters", "macs", "access", "torch_module"}
    assert needed == Operation.__abstractmethods__  # type: ignore[attr-defined]
    assert needed - {"parameters", "macs"} == Unlearned.__abstractmethods__  # type: ignore[attr-defined]


def test_a_recorded_operation_has_no_module_of_its_own():
    recorded = Recorded("odd", Pointwise(), WIDE)
    assert (recorded.word, recorded.title, recorded.output(), recorded.access()) == ("odd", "odd", WIDE, Pointwise())
    with pytest.raises(UnsupportedError, match="odd, which was recorded"):
        recorded.torch_module()


@pytest.mark.parametrize(("operation", "volumes"), EXAMPLES, ids=NAMES)
def test_a_traced_module_has_the_locality_of_its_operation(operation, volumes):
    """Where it is one operator to torch; views around it are left out, and dropout does nothing."""
    if not volumes or isinstance(operation, ops.Dropout):
        return
    nodes = network_of(built(operation, volumes), [shape_of(volume) for volume in volumes]).network.nodes
    traced = [node.operation for node in nodes if node.operation.word not in ("input", "reshape", "permute", "slice")]
    views = ops.ShufflePixels | branches.Crop | recurrence.Again | recurrence.Zeros  # made of views, or of nothing
    assert traced or isinstance(operation, views)
    if len(traced) == 1 and not isinstance(operation, ops.FullyConnected):
        expected = Locality.POINTWISE if isinstance(operation, branches.Merge) else operation.locality
        assert traced[0].locality is expected
