"""Receptive fields against the table of what every output reads."""

from hypothesis import given, strategies as st

from test_shapes import axes, sizes
from torchconv.description import shapes
from torchconv.description.axis import Axis
from torchconv.description.convolution import Convolution
from torchconv.description.interval import EMPTY, Interval, read_by


@given(axes, sizes, st.data())
def test_read_by_is_the_hull_of_the_samples(axis, size, data):
    table = shapes.sources(axis, size)
    if not len(table):
        return
    output = data.draw(st.integers(0, len(table) - 1))
    read = table[output][table[output] >= 0]
    expected = Interval(int(read.min()), int(read.max())) if len(read) else EMPTY
    assert read_by(axis, output, size) == expected


@given(axes.filter(lambda axis: axis.padding != "same"), st.integers(0, 6))
def test_without_a_size_the_input_goes_on(axis, output):
    """Far from the borders a long input gives the same interval, moved."""
    positions = [output * axis.stride + tap * axis.dilation - axis.padding[0] for tap in range(axis.kernel)]
    read = [position // axis.input_dilation for position in positions if position % axis.input_dilation == 0]
    expected = Interval(min(read), max(read)) if read else EMPTY
    assert read_by(axis, output) == expected


def test_fields_through_input_dilation_differ_between_neighbours():
    axis = Axis(3, padding=1, input_dilation=2)
    assert [read_by(axis, p, 4).size for p in range(1, 5)] == [2, 1, 2, 1]


def test_field_of_a_unit():
    conv = Convolution(3, 8, (3, 5), stride=2, padding=1)
    assert conv.field((0, 3)) == (Interval(-1, 1), Interval(5, 9))
    assert conv.field((0, 3), (16, 9)) == (Interval(0, 1), Interval(5, 8))
