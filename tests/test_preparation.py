"""Changes of training images: what they do, and that they follow from their arguments and from nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from torchconv.errors import SettingError
from torchconv.training.augmentation import Affine, Augmentation, Cutout, Flip, Scaling, Shift

KINDS = ["affine", "flip", "shift", "cutout", "flip-shift", "flip-shift-cutout", "none"]


@pytest.fixture
def images() -> Tensor:
    return torch.rand(40, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_scaling_gives_mean_0_and_variance_1() -> None:
    pixels = torch.randint(0, 256, (50, 2, 6, 6), dtype=torch.uint8)
    pixels[:, 1] //= 2
    scaled = Scaling.of(pixels)(pixels)
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.var((0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)
    flat = torch.full((3, 1, 2, 2), 7, dtype=torch.uint8)
    assert torch.equal(Scaling.of(flat)(flat), torch.zeros(3, 1, 2, 2))


def test_affine_moves_by_pixels_and_nothing_is_nothing(images: Tensor) -> None:
    torch.testing.assert_close(Augmentation((Affine(0, 0, 0, 0),))(images), images)
    ramp = torch.arange(8.0).expand(64, 1, 8, 8)
    moved = (Augmentation((Affine(0, 0, 0, 1.0),))(ramp, generator=seeded()) - ramp)[:, :, :, 2:6]
    assert 0.8 < moved.abs().max() <= 1.0 + 1e-5
    assert torch.allclose(moved, moved[:, :, :1, :1].expand_as(moved), atol=1e-5)


def test_affine_turns_and_scales_about_the_middle() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[:, :, 4, :] = 1  # a line through the middle stays there, whatever its angle and scale
    for step in (Affine(45, 0, 0, 0), Affine(0, 0.3, 0, 0), Affine(0, 0, 0.3, 0)):
        found = Augmentation((step,))(image.expand(20, 1, 9, 9), generator=seeded())
        assert (found[:, 0, 4, 4] > 0.6).all()
    upright = Augmentation((Affine(0, 0, 0.3, 0),))(image.expand(20, 1, 9, 9), generator=seeded())
    torch.testing.assert_close(upright, image.expand(20, 1, 9, 9))  # rows are sheared along themselves


@pytest.mark.parametrize("kind", KINDS)
def test_equal_arguments_give_equal_images(kind: str, images: Tensor) -> None:
    augmentation = Augmentation.named(kind, seed=3)
    before = images.clone()
    torch.manual_seed(1)
    one = augmentation(images, indices=torch.arange(40), epoch=2, generator=seeded())
    torch.manual_seed(2)
    other = augmentation(images, indices=torch.arange(40), epoch=2, generator=seeded())
    assert torch.equal(one, other)
    assert torch.equal(images, before)
    assert one.shape == images.shape
    assert one.dtype == images.dtype
    assert torch.equal(one, images) == (kind == "none")
    if kind not in ("flip", "none"):
        assert not torch.equal(one, augmentation(images, indices=torch.arange(40), epoch=2, generator=seeded(9)))
    assert augmentation(images).shape == images.shape
    assert augmentation == Augmentation.named(kind, seed=3)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_changes_nothing(kind: str, images: Tensor) -> None:
    augmentation = Augmentation.named(kind)
    expected = augmentation(images, indices=torch.arange(40), generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        found = augmentation(images, indices=torch.arange(40), generator=seeded())
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shares", [[slice(0, 15), slice(15, 40)], [slice(rank, None, 3) for rank in range(3)]])
def test_processes_together_do_what_one_does(kind: str, shares: list[slice], images: Tensor) -> None:
    augmentation = Augmentation.named(kind)
    indices = torch.arange(40) * 7
    whole = augmentation(images, indices=indices, epoch=1, generator=seeded())
    for rows in shares:
        own = augmentation(
            images[rows], indices=indices[rows], epoch=1, generator=seeded(), whole=len(images), rows=rows
        )
        torch.testing.assert_close(own, whole[rows])


def test_mirror_images_alternate(images: Tensor) -> None:
    flip = Augmentation.named("flip", seed=5)
    for epoch in range(4):
        seen = [flip(images, indices=torch.arange(40), epoch=number) for number in (epoch, epoch + 1, epoch + 2)]
        assert torch.equal(seen[0], seen[2])
        assert torch.equal(seen[1], seen[0].flip(-1))
    flipped = (flip(images, indices=torch.arange(40)) != images).flatten(1).any(1)
    assert 10 < flipped.sum() < 30
    order = torch.randperm(40, generator=seeded())
    shuffled = (flip(images[order], indices=order) != images[order]).flatten(1).any(1)
    assert torch.equal(shuffled, flipped[order])
    chosen = [
        (Augmentation.named("flip", seed=seed)(images, indices=torch.arange(40)) != images).flatten(1).any(1)
        for seed in (5, 6, 2**32 - 1)
    ]
    assert not torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[1], chosen[2])
    by_chance = (flip(images, generator=seeded()) != images).flatten(1).any(1)
    assert 8 < by_chance.sum() < 32


def test_mirror_images_are_half_of_many() -> None:
    many = torch.arange(2.0).expand(50_000, 1, 1, 2)
    share = Flip(0), Augmentation.named("flip")(many, indices=torch.arange(50_000))[:, 0, 0, 0].mean()
    assert 0.49 < share[1] < 0.51


def test_shifts_are_whole_pixels_of_a_reflected_image(images: Tensor) -> None:
    found = Augmentation((Shift(2),))(images, generator=seeded())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    moves = set()
    for number in range(40):
        places = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(found[number], padded[number, :, down : down + 8, right : right + 10])
        ]
        assert len(places) == 1
        moves |= set(places)
    assert len(moves) > 15
    assert Augmentation((Shift(2),))(images[..., :1, :2]).shape == (40, 3, 1, 2)


def test_cutout_takes_a_square(images: Tensor) -> None:
    found = Augmentation((Cutout(0.5),))(images + 1, generator=seeded())
    gone = (found == 0).all(1)
    assert torch.equal(gone[:, None] | (found == images + 1), torch.ones(found.shape, dtype=torch.bool))
    assert gone.flatten(1).sum(1).min() > 0
    assert gone.flatten(1).sum(1).max() == 4 * 4
    assert (gone.any(1).sum(1) * gone.any(2).sum(1) == gone.flatten(1).sum(1)).all()


@pytest.mark.parametrize("kind", ["shift:a", "shift:1.5", "flip:2", "cutout:x", "none:1"])
def test_amounts_that_are_none(kind: str) -> None:
    with pytest.raises(SettingError, match=f"augmentation: got .*{kind}"):
        Augmentation.named(kind)


@pytest.mark.parametrize("kind", ["", "flop", "flip-flip", "none-flip", "flip_shift", "Affine"])
def test_unknown_kinds(kind: str) -> None:
    with pytest.raises(
        SettingError, match=r"augmentation: got .*expected none, or some of affine, flip, shift, cutout"
    ):
        Augmentation.named(kind)
    with pytest.raises(SettingError, match=r"Did you mean flip\?"):
        Augmentation.named("flop")
