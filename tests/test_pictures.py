"""Drawings: the same bytes every time, and what they show is what the matrix says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import torchconv as tc
from torchconv.drawing import svg
from torchconv.drawing.convolution import Layout, Scene
from torchconv.drawing.svg import Drawing, text

GOLDEN = Path(__file__).parent / "golden"
NAME = "{http://www.w3.org/2000/svg}"
C = tc.Convolution
DRAWINGS = {
    "strided": lambda: C(1, 1, (3, 3), stride=2, padding=1).draw((7, 7)),
    "tiled": lambda: C(1, 1, (3, 3), sharing=2, padding=1).draw((6, 6)),
    "unshared": lambda: C(1, 1, (2, 2), sharing="none").draw((4, 4)),
    "dilated": lambda: C(1, 1, (3,), dilation=2).draw((9,)),
    "window": lambda: C(1, 1, (3, 3), padding=1, stride=2).animate((5, 5)),
    "transposed_window": lambda: C(1, 1, (3, 3), input_dilation=2, padding=1).animate((3, 3)),
    "transposed_scatter": lambda: C(1, 1, (3, 3), input_dilation=2, padding=1).animate((3, 3), picture="scatter"),
    "from_below": lambda: C(1, 1, (3,), padding=1).draw_connections(5, below=2),
    "from_above": lambda: C(1, 1, (3,), padding=1).draw_connections(5, above=2),
    "toeplitz": lambda: C(1, 1, (3,)).draw_matrix(8),
    "doubly_block_circulant": lambda: C(1, 1, (3, 3), padding=1, padding_mode="circular").draw_matrix((4, 4)),
    "lenet5": lambda: tc.draw_network("lenet5"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_golden(name):
    drawing = DRAWINGS[name]()
    path = GOLDEN / f"{name}.svg"
    if os.environ.get("TORCHCONV_WRITE_GOLDEN"):
        drawing.save(path)
    assert drawing.svg == path.read_text(encoding="utf-8")
    tree = ElementTree.fromstring(drawing.svg)
    assert tree.tag == f"{NAME}svg"
    assert drawing._repr_svg_() == drawing.svg


STRIDED = C(1, 1, (3, 2), stride=2, padding=1)
TRANSPOSED = C(1, 1, (3, 3), dilation=2, input_dilation=3, padding=2)


@pytest.mark.parametrize("conv", [STRIDED, TRANSPOSED])
def test_windows_are_the_rows_of_the_matrix(conv):
    size = (6, 5)
    matrix = conv.matrix(np.ones(conv.weight_shape()), size).toarray()
    scene = Scene(conv.axes, conv.sharing, size)
    for row, output in enumerate(np.ndindex(*scene.outputs)):
        real = [tap for tap in scene.taps(output) if scene.is_real(tap)]
        steps = conv.input_dilation
        found = {np.ravel_multi_index([at // step for at, step in zip(tap, steps, strict=True)], size) for tap in real}
        assert found == {*np.flatnonzero(matrix[row]).tolist()}


def test_scattering_reaches_what_the_columns_say():
    conv = C(1, 1, (3,), input_dilation=2, padding=1)
    tree = ElementTree.fromstring(conv.animate((4,), picture="scatter").svg)
    moving = [one for one in tree.iter(f"{NAME}rect") if one.findall(f"{NAME}animate")]
    columns = conv.matrix(np.ones((1, 1, 3)), (4,)).toarray()
    layout = Layout(Scene(conv.axes, conv.sharing, (4,)))
    for step in range(4):
        places = {one.find(f"{NAME}animate").get("values").split(";")[step] for one in moving[1:]}
        expected = {f"{layout.output_at((row,))[0] + 2:g}" for row in np.flatnonzero(columns[:, step])}
        assert places - {"-998"} == expected


def test_phases_are_told_apart():
    shown = {}
    for sharing in ("full", 2, "none"):
        scene = Scene(C(1, 1, (2, 2), sharing=sharing).axes, C(1, 1, (2, 2), sharing=sharing).sharing, (5, 5))
        shown[sharing] = {svg.hue(scene.phase(output)) for output in np.ndindex(*scene.outputs)}
    assert [len(found) for found in shown.values()] == [1, 4, 16]


def test_files(tmp_path):
    drawing = Drawing(30, 20, (text(0, 10, "<&>"),), "a <title>")
    assert "&lt;&amp;&gt;" in drawing.save(tmp_path / "a.svg").read_text()
    with pytest.raises(tc.TorchconvError, match=r"a drawing's file: got .*, expected a name that ends in"):
        drawing.save(tmp_path / "a.gif")


@pytest.mark.parametrize("name", ["tiled", "from_below", "lenet5"])
def test_png(name, tmp_path):
    pytest.importorskip("matplotlib")
    assert DRAWINGS[name]().save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_png_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(tc.TorchconvError, match="a drawing as PNG: got no matplotlib"):
        DRAWINGS["tiled"]().save(tmp_path / "a.png")


def test_fields_over_images():
    field = tc.receptive_field(torch.nn.Conv2d(3, 4, 5, padding=2), (3, 16, 16))
    for image in (np.zeros((16, 16, 3)), torch.rand(16, 16).numpy(), np.zeros((16, 16), np.uint8)):
        assert tc.draw_field(image, field.of((0, 0)), field.of((8, 8))).svg.count("<rect") == 3
    with pytest.raises(tc.TorchconvError, match="fields to draw"):
        tc.draw_field(np.zeros((4, 4)))
    with pytest.raises(tc.TorchconvError, match="an image to draw"):
        tc.draw_field(np.zeros(4), field.of((0, 0)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: C(1, 1, (3, 3, 3)).draw((4, 4, 4)), "got 3 axes, expected one or two"),
        (lambda: C(1, 1, (3, 3)).draw((400, 400)), "got 400x400 cells, expected at most 4096"),
        (lambda: C(1, 1, (3, 3)).draw((5, 5), output=(9, 0)), "an output to draw"),
        (lambda: C(1, 1, (3, 3)).animate((5, 5), picture="film"), "picture: got 'film'"),
        (lambda: C(1, 1, (3, 3)).animate((5, 5), seconds=0), "seconds"),
        (lambda: C(1, 1, (3, 3)).animate((40, 40)), "an animation: got 38x38 steps"),
        (lambda: C(1, 1, (3, 3)).draw_connections(5), "got 2 axes, expected one"),
        (lambda: C(1, 1, (3,)).draw_connections(5, below=7), "the unit below: got 7"),
        (lambda: C(1, 1, (3,)).draw_connections(5, 1, 1), "expected one of them"),
        (lambda: C(8, 8, (3, 3)).draw_matrix((32, 32)), "a drawing of a matrix"),
    ],
)
def test_what_cannot_be_drawn(call, message):
    with pytest.raises(tc.TorchconvError, match=message):
        call()


def test_a_drawing_says_in_a_line_what_it_is():
    drawing = tc.Convolution(1, 1, (3, 3), padding=1).draw((8, 8))
    assert repr(drawing).startswith("Drawing(width=")
    assert len(repr(drawing)) < 200
