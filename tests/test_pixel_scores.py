"""Scores of pixels: outputs stand where their receptive fields have their middles, and every pixel gets its scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchconv.errors import ShapeError
from torchconv.language.network_module import build
from torchconv.language.parser import parse
from torchconv.network.operations import Volume
from torchconv.training.augmentation import Draw
from torchconv.training.crops import Crops
from torchconv.training.data.parts import MaskedSamples
from torchconv.training.objectives.pixel_scores import PixelScores, reflected, resampled

VALID = "INPUT[40x40x1] - CONV[1, valid, bias=no] - CONV[1, 5x5, valid, bias=no]"
UNET = (
    "INPUT[44x44x1] - CONV[2, valid] - RELU - MARK[a] - POOL - CONV[2, valid] - RELU"
    " - CONV[2, 2x2, stride=2, valid, transposed] - CONCAT[crop](FROM[a] | IDENTITY) - CONV[2, valid]"
)
COARSE = "INPUT[40x40x1] - CONV[1, 4x4, stride=2, valid, bias=no] - CONV[1, 3x3, valid, bias=no]"
SIZES = [(40, 40), (31, 45), (9, 17), (1, 3)]


def averaging(text: str) -> torch.nn.Module:
    """The network with weights that take means, which leave a ramp as it is."""
    model = build(text).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1 / parameter[0].numel())
    return model


def ramp(height: int, width: int) -> torch.Tensor:
    return (torch.arange(height)[:, None] * 1.0 + torch.arange(width) * 0.01)[None, None]


@pytest.mark.parametrize("text", [VALID, COARSE, "INPUT[40x40x1] - CONV[1, 2x2, stride=2, bias=no]"])
@pytest.mark.parametrize("size", [(40, 40), (33, 46)])
def test_the_score_of_a_pixel_is_the_one_of_its_place(text: str, size: tuple[int, int]) -> None:
    """Means over fields of a ramp are the ramp at their middles; away from the borders, where it is mirrored."""
    model = averaging(text)
    found = PixelScores(model.network)(model.scores, ramp(*size))
    assert found.shape[2:] == size
    torch.testing.assert_close(found[..., 8:-8, 8:-8], ramp(*size)[..., 8:-8, 8:-8], rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", [VALID, UNET])
def test_valid_networks_see_the_image_mirrored_at_its_borders(text: str, size: tuple[int, int]) -> None:
    """As numpy.pad(mode="reflect") says it, and one score for each pixel, whatever the size."""
    model = build(text).eval()
    image = torch.rand(1, 1, *size)
    scores = PixelScores(model.network)
    found = scores(model.scores, image)
    fitted = scores.fitted(*size)
    places = [(start, length - start - own) for start, length, own in zip(fitted.low, fitted.size, size, strict=True)]
    padded = torch.from_numpy(np.pad(image.numpy(), [(0, 0), (0, 0), *places], mode="reflect"))
    wanted = model.scores(padded)[..., : size[0], : size[1]]
    torch.testing.assert_close(found, wanted)


def test_networks_that_keep_the_size_are_asked_as_they_are() -> None:
    text = "INPUT[16x16x1] - CONV[4] - MARK[a] - POOL - CONV[4] - UPSAMPLE[to=a] - CONCAT(FROM[a] | IDENTITY) - CONV[2]"
    model = build(text).eval()
    for size in ((16, 16), (17, 31)):
        image = torch.rand(2, 1, *size)
        assert torch.equal(PixelScores(model.network)(model.scores, image), model.scores(image))


def test_the_paper_s_unet() -> None:
    """Ronneberger et al. 2015, figure 1: 92 pixels of context on each side."""
    network = parse("unet").network(Volume(3, (572, 572)), 5)
    fitted = PixelScores(network).fitted(388, 388)
    assert fitted.low == (92, 92)
    assert fitted.size == (572, 572)
    assert PixelScores(network).fitted(100, 101).low == (92, 92)


def test_half_the_resolution() -> None:
    model = averaging("INPUT[16x16x1] - CONV[1, 1x1, bias=no]")
    image = ramp(33, 30)
    seen = []

    def ask(shown: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(shown.shape[2:]))
        return model.scores(shown)

    found = PixelScores(model.network, 0.5)(ask, image)
    assert seen == [(16, 15)]
    torch.testing.assert_close(found[..., 4:-4, 4:-4], image[..., 4:-4, 4:-4], rtol=0, atol=0.1)


def test_an_image_that_the_network_cannot_take() -> None:
    network = parse("INPUT[8x8x1] - LOCAL[2, 3x3]").network(Volume(1, (8, 8)))
    with pytest.raises(ShapeError, match="an image for the network: got 9 pixels on axis 0"):
        PixelScores(network).fitted(9, 8)


def test_reflected_places() -> None:
    assert reflected(torch.arange(-5, 9), 4).tolist() == [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert reflected(torch.arange(-2, 3), 1).tolist() == [0] * 5


def test_targets_of_outputs_are_the_labels_in_the_middle_of_their_fields() -> None:
    scores = PixelScores(parse(COARSE).network(Volume(1, (40, 40))))
    (axis, _) = scores.axes_of(40, 40)
    assert (axis.centre, axis.apart, axis.outputs) == (3.5, 2, 17)
    assert axis.nearest().tolist() == [round(3.5 + 2 * number) for number in range(17)]


def test_resampling_is_bilinear() -> None:
    """As torch has it where outputs tile the image."""
    scores = PixelScores(parse("INPUT[24x24x1] - CONV[1, 4x4, stride=4, valid]").network(Volume(1, (24, 24))))
    axes, coarse = scores.axes_of(24, 24), torch.rand(2, 3, 6, 6)
    found = resampled(coarse, axes, [(0, 24), (0, 24)])
    torch.testing.assert_close(found, torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear"))


def coloured(height: int, width: int) -> MaskedSamples:
    """An image of large squares whose grey is ten times their class."""
    mask = (torch.arange(height)[:, None] // 8 + torch.arange(width) // 8) % 4
    return MaskedSamples([(mask * 60).to(torch.uint8)[None]], [mask.to(torch.uint8)])


@pytest.mark.parametrize("seed", range(12))
def test_images_and_masks_are_cut_alike(seed: int) -> None:
    """Where the image has one colour around a pixel, the mask has its class; all else is of no class or an edge."""
    samples = coloured(45, 60)
    size, inside = (40, 36), ((3, 38), (2, 33))
    crops = Crops(size, inside, resolution=0.8, scale=(0.5, 2.5), aspect=0.3, flip=True)
    generator = torch.Generator().manual_seed(seed)
    images, masks = crops(samples, Draw(1, slice(None), torch.device("cpu"), generator=generator))
    assert images.shape == (1, 1, *size)
    assert masks.shape == (1, *size)
    flat = torch.nn.functional.max_pool2d(images.float(), 3, 1, 1) == -torch.nn.functional.max_pool2d(
        -images.float(), 3, 1, 1
    )
    labelled = flat[:, 0] & (masks != 255)
    assert labelled.any()
    assert torch.equal(images[:, 0][labelled], masks[labelled] * 60)


def test_what_enters_is_of_no_class() -> None:
    samples = coloured(16, 16)
    crops = Crops((32, 32), ((0, 32), (0, 32)))
    _, masks = crops(samples, Draw(1, slice(None), torch.device("cpu"), generator=torch.Generator().manual_seed(0)))
    assert int((masks != 255).sum()) == 16 * 16
    inside = masks[masks != 255].view(16, 16)
    assert torch.equal(inside, samples.labels[0])


def test_processes_draw_what_one_would() -> None:
    one = coloured(20, 24)
    samples = MaskedSamples([*one.images] * 4, [*one.labels] * 4)
    crops = Crops((12, 12), ((0, 12), (0, 12)), scale=(0.5, 2), flip=True)

    def cut(part: MaskedSamples, rows: slice) -> torch.Tensor:
        return crops(part, Draw(4, rows, torch.device("cpu"), generator=torch.Generator().manual_seed(7)))[0]

    whole = cut(samples, slice(None))
    for rank in range(2):
        own = samples.take(torch.arange(rank, 4, 2))
        assert torch.equal(cut(own, slice(rank, None, 2)), whole[rank::2])
