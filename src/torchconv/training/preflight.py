"""Pre-flight checks: what a training cannot do on this machine, or with these settings, said before it begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..description.axis import positive
from ..errors import DataError, SettingError, ShapeError, TorchconvError
from ..language.network_module import build, no_memory
from ..network.graph import Network
from ..text import megabytes
from .augmentation import resized

BYTES = 20  # for a parameter: weight, gradient, AdamW's two moments, average


@dataclass(frozen=True)
class Processes:
    """The processes of a training, `devices` on each of `nodes`, and the number of this one; 0 writes the run folder.

    launched: whether torchrun or SLURM has started all of them; otherwise Lightning's launcher does.
    """

    devices: int = 1
    nodes: int = 1
    rank: int = 0
    launched: bool = False

    @property
    def world(self) -> int:
        """How many there are."""
        return self.devices * self.nodes

    @property
    def starts(self) -> bool:
        """Whether this process starts those that train, and trains nothing itself."""
        return self.world > 1 and not self.launched

    @classmethod
    def of(cls, devices: int = 1, nodes: int = 1) -> Processes:
        """As asked for, or as torchrun or SLURM says; raises SettingError where the two differ, or devices lack."""
        positive("devices", devices)
        positive("nodes", nodes)
        if (found := _launched()) is not None:
            for name, given, there in (("devices", devices, found.devices), ("nodes", nodes, found.nodes)):
                if given not in (1, there):
                    expected = f"{there}, as torchrun or SLURM says"
                    raise SettingError(name, got=given, expected=expected, fix="Leave it out.")
            return found
        if nodes > 1:
            expected = "torchrun or SLURM, which start the processes on all nodes"
            fix = f"Try: torchrun --nnodes {nodes} --nproc-per-node {devices} ... -m torchconv train ..."
            raise SettingError(f"nodes={nodes}", got="neither of them", expected=expected, fix=fix)
        known, kind = _devices()
        if devices > known:
            fix = f"Give --devices {known} or fewer." if known > 1 else "Leave --devices out."
            raise SettingError("devices", got=devices, expected=f"at most the {known} {kind} of this machine", fix=fix)
        return cls(devices)

    def check(self, batch_size: int) -> None:
        """Raise SettingError for batches of which some process would get nothing."""
        if batch_size < self.world:
            expected = f"at least one image for each of {self.world} processes"
            raise SettingError("batch size", got=batch_size, expected=expected, fix="Raise --batch-size.")


def _launched() -> Processes | None:
    """What torchrun or SLURM says in the environment."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        found, nodes = TorchElasticEnvironment(), int(os.environ.get("GROUP_WORLD_SIZE", 1))
    elif SLURMEnvironment.detect():
        try:
            found, nodes = SLURMEnvironment(), int(os.environ.get("SLURM_NNODES", 1))
        except RuntimeError as error:
            raise SettingError("SLURM", got=str(error)) from None
    else:
        return None
    return Processes(found.world_size() // nodes, nodes, found.global_rank(), launched=True)


def _devices() -> tuple[int, str]:
    if torch.cuda.is_available():
        return torch.cuda.device_count(), "GPUs"
    if torch.backends.mps.is_available():
        return 1, "GPU"
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count() or 1), "cores"


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


def takes_any_size(network: Network, share: float) -> bool:
    """Whether a network built for images of one size also runs on ones with sides of this share."""
    with torch.device("meta"):
        try:
            module = build(network).eval()
            module.scores(resized(torch.empty(1, network.input.channels, *network.input.size), share))
        except (RuntimeError, ValueError):
            return False
    return True


def fast_bfloat16() -> bool:
    """Whether matrices of bfloat16 are multiplied in hardware here: AMX on a processor, or a GPU with such units."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]


@contextmanager
def explained() -> Iterator[None]:
    """What torch raises during a training as an error of one line that says what may help."""
    try:
        yield
    except TorchconvError:
        raise
    except (RuntimeError, ValueError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        if "more than 1 value per channel" in reason:
            got, expected = "one value per channel", "at least two"
            fix = "Raise --batch-size, or leave out the NORM where the volume is 1x1."
            raise ShapeError("NORM in a batch of one image", got=got, expected=expected, fix=fix) from error
        smaller = "Lower --batch-size, or make the network smaller."
        fix = smaller if no_memory(error) else "Try another text or other settings."
        raise DataError("the training cannot go on", got=reason, fix=fix) from error
