"""What a training cannot do on this machine, or with these settings, said in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import DataError, ShapeError, TorchconvError
from ..language.build import build, no_memory
from ..network.graph import Network
from ..text import megabytes
from .augmentation import shrunk

BYTES = 20  # for a parameter: weight, gradient, AdamW's two moments, average


def check_memory(network: Network, images: int, batch: int = 0, value_bytes: int = 4) -> None:
    """Raise ShapeError or DataError where weights, decoded images or a step's volumes do not fit into the memory.

    images: all of them. batch: images in one step of a training. value_bytes: of one value of a layer's output.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return  # a system that does not say
    expected = f"at most the {megabytes(memory)} of this machine"
    if (needed := BYTES * network.parameters) > memory:
        got = f"about {megabytes(needed)} for {network.parameters:,} parameters"
        raise ShapeError("the network's memory", got=got, expected=expected, fix="POOL more before FC.")
    kept = sum(row.volume.numel for row in network.rows)  # what the layers' gradients need
    if (needed := value_bytes * batch * kept) > memory:
        largest = max(network.rows, key=lambda row: row.volume.numel)
        got = f"about {megabytes(needed)} for the outputs of the layers, the largest {largest.node.name}, "
        got += f"{largest.volume}"
        fix = "Lower --batch-size, or make the volumes smaller."
        raise ShapeError(f"the memory of a step of {batch} images", got=got, expected=expected, fix=fix)
    if (needed := images * network.input.numel) > memory:
        got = f"{megabytes(needed)} for {images:,} images of {network.input}"
        raise DataError("the images' memory", got=got, expected=expected, fix="Give INPUT a smaller size.")


def takes_shrunk(network: Network, share: float) -> bool:
    """Whether a network built for images of one size also runs on ones with sides of this share."""
    with torch.device("meta"):
        try:
            module = build(network).eval()
            module.scores(shrunk(torch.empty(1, network.input.channels, *network.input.size), share), any_size=True)
        except (RuntimeError, ValueError):
            return False
    return True


@contextmanager
def explained() -> Iterator[None]:
    """What torch raises during a training as an error of one line that says what may help."""
    try:
        yield
    except TorchconvError:
        raise
    except (RuntimeError, ValueError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0]
        if "more than 1 value per channel" in reason:
            got, expected = "one value per channel", "at least two"
            fix = "Raise --batch-size, or leave out the NORM where the volume is 1x1."
            raise ShapeError("NORM in a batch of one image", got=got, expected=expected, fix=fix) from error
        smaller = "Lower --batch-size, or make the network smaller."
        fix = smaller if no_memory(error) else "Try another text or other settings."
        raise DataError("the training cannot go on", got=reason, fix=fix) from error
