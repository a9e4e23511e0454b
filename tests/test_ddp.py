"""Training in several processes, which Lightning's launcher starts, and what ends them."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from torchconv.errors import DataError, SettingError
from torchconv.language.network_module import build
from torchconv.training import api, evaluate, preflight
from torchconv.training.data.parts import Batches, Samples
from torchconv.training.preflight import Processes
from torchconv.training.run.keep import CHECKPOINT, Keep

# Neither NORM nor DROPOUT, so that two processes compute what one does; and smooth: the noise of sums taken in another
# order decides which of two equal values a POOL takes, and on which side of 0 a RELU is.
PLAIN = "INPUT[8x8x1] - (CONV[16] - TANH)*2 - POOL[mean] - FC"
TWO = pytest.mark.skipif(preflight._devices()[0] < 2, reason="one device")


@TWO
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    """Weights, metrics and files; 101 images do not divide evenly."""
    for devices in (1, 2):
        api.train(text=PLAIN, out=tmp_path / str(devices), progress=False, devices=devices, epochs=1, batch_size=101)
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in "12"]
    assert list(weights[0]) == list(weights[1])
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-5, atol=2e-6)
    rows = [json.loads((tmp_path / name / "metrics.json").read_text())["epochs"] for name in "12"]
    for one, two in zip(*rows, strict=True):
        del one["seconds"], two["seconds"]
        assert one == pytest.approx(two, abs=1e-5)
    assert {path.name for path in (tmp_path / "1").iterdir()} == {path.name for path in (tmp_path / "2").iterdir()}
    assert len(list(csv.DictReader((tmp_path / "2" / "logs" / "metrics.csv").open()))) == 1
    assert not torch.distributed.is_initialized()


class Ending(Keep):
    """Ends the second process in the second epoch, as `how` says; other processes unpickle it from this module."""

    how = "kill"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.told = Ending.how

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_rank == 1 and trainer.current_epoch == 1:
            if self.told == "raise":
                raise DataError("an image", got="nothing", fix="Look.")
            os.kill(os.getpid(), signal.SIGKILL)


@TWO
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("kill", r"^process 1 of the training has ended before it: got SIGKILL. Go on with: torchconv train --resume"),
        ("raise", r"^process 1 of the training cannot go on: got an image: got nothing. Look. Go on with: .*--resume"),
    ],
)
def test_a_process_that_ends_ends_the_training_which_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str
) -> None:
    monkeypatch.setattr(api, "Keep", Ending)
    monkeypatch.setattr(Ending, "how", how)
    run, text = tmp_path / "run", "INPUT - CONV[4] - NORM - RELU - POOL - DROPOUT - FC"
    with pytest.raises(DataError, match=message) as ended:
        api.train(text=text, out=run, progress=False, devices=2, epochs=3)
    assert "\n" not in str(ended.value)
    monkeypatch.undo()
    assert (run / CHECKPOINT).exists()
    result = api.resume(run, progress=False)
    rows = json.loads((run / "metrics.json").read_text())["epochs"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert evaluate(run).score == result.test_accuracy
    assert result.validation_accuracy == rows[result.best_epoch - 1]["validation_accuracy"]


def test_the_processes_of_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Processes.of() == Processes()
    with pytest.raises(SettingError, match=r"devices: got 100000, expected at most the .* of this machine"):
        Processes.of(100_000)
    with pytest.raises(SettingError, match="nodes=2: got neither of them, expected torchrun or SLURM"):
        Processes.of(1, 2)
    with pytest.raises(SettingError, match="batch size: got 1, expected at least one image for each of 2 processes"):
        Processes(2).check(1)
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2", "RANK": "7", "LOCAL_RANK": "3"}
    with monkeypatch.context() as patch:
        for name, value in torchrun.items():
            patch.setenv(name, value)
        assert Processes.of() == Processes(4, 2, 7, launched=True)
        assert not Processes.of().starts
        with pytest.raises(SettingError, match="devices: got 2, expected 4, as torchrun or SLURM says"):
            Processes.of(2)
    slurm = {
        "SLURM_NTASKS": "6",
        "SLURM_NNODES": "3",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_PROCID": "4",
        "SLURM_JOB_NAME": "train",
    }
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert Processes.of() == Processes(2, 3, 4, launched=True)


def test_processes_share_a_batch() -> None:
    samples = Samples(torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1), torch.arange(7))
    whole = list(Batches(samples, 3))
    parts = [list(Batches(samples, 3, rank, 2)) for rank in range(2)]
    for (taken, rows, count), *own in zip(whole, *parts, strict=True):
        assert sorted(int(label) for part in own for label in part[0].labels) == taken.labels.tolist() == rows.tolist()
        assert all(part[2] == count for part in own)


def test_norm_that_is_synchronised_on_gpus_keeps_its_weights() -> None:
    """Under the names of plain NORM, and with its outputs, so that a run folder does not tell where it was trained."""
    module = build("INPUT[8x8x1] - CONV[4] - NORM - RELU - FC", classes=2).eval()
    names, x = list(module.state_dict()), torch.randn(2, 1, 8, 8)
    expected = module(x)
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
    assert isinstance(synchronised.norm1, torch.nn.SyncBatchNorm)
    assert list(synchronised.state_dict()) == names
    assert torch.equal(synchronised(x), expected)
