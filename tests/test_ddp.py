"""Training in several processes: the same result as in one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from torchconv.errors import DataError, SettingError
from torchconv.training import api, member, processes
from torchconv.training.parallel import Share, SharedDropout, shared
from torchconv.training.processes import Place


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    """The default recipe, with NORM and DROPOUT, its weights and metrics; 101 images do not divide evenly.

    After more steps, noise of rounding decides here and there which of two equal values a POOL takes, and grows.
    """
    if processes._devices()[0] < 2:
        pytest.skip("one device")
    for devices in (1, 2):
        api.train(out=tmp_path / str(devices), progress=False, devices=devices, epochs=1, batch_size=101)
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in "12"]
    assert list(weights[0]) == list(weights[1])
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-5, atol=1e-5)
    rows = [json.loads((tmp_path / name / "metrics.json").read_text())["epochs"] for name in "12"]
    for one, two in zip(*rows, strict=True):
        del one["seconds"], two["seconds"]
        assert one == pytest.approx(two, abs=1e-5)
    assert {path.name for path in (tmp_path / "1").iterdir()} == {path.name for path in (tmp_path / "2").iterdir()}
    assert not torch.distributed.is_initialized()


def test_members_end_with_the_one_that_started_them() -> None:
    with processes._start({"config": {}}).process as started:
        started.stdin.close()
        assert started.wait(60) != 0


def test_a_member_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_start", lambda told: member_of("import sys; sys.exit('torchconv: no luck')"))
    with (
        pytest.raises(DataError, match="process 1 of the training has not started: got no luck"),
        processes.members(Place(2), {"path": str(tmp_path)}),
    ):
        pytest.fail("never gets here")


def test_a_member_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint.ckpt").touch()
    monkeypatch.setattr(processes, "_start", lambda told: member_of("import os; print(); os.kill(os.getpid(), 9)"))
    with (
        pytest.raises(DataError, match=r"process 1 .* has ended before it: got exit status -9. Go on with: .*--resume"),
        processes.members(Place(2), {"path": str(tmp_path)}),
    ):
        raise RuntimeError("Connection closed by peer")


def member_of(code: str) -> processes._Member:
    import tempfile

    complaint = tempfile.TemporaryFile()  # noqa: SIM115
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=complaint)
    return processes._Member(process, complaint)


def test_places() -> None:
    assert (Place.of().rank, Place.of().world) == (0, 1)
    with pytest.raises(SettingError, match=r"devices: got 100000, expected at most the .* of this machine"):
        Place.of(100_000)
    with pytest.raises(SettingError, match="nodes=2: got no MASTER_ADDR and no NODE_RANK"):
        Place.of(1, 2, {})
    there = {"MASTER_ADDR": "10.0.0.1", "NODE_RANK": "1", "MASTER_PORT": "1234"}
    found = Place.of(1, 2, there)
    assert (found.rank, found.world, found.address, found.port) == (1, 2, "10.0.0.1", 1234)
    with pytest.raises(SettingError, match="NODE_RANK: got 7, expected an integer from 0 to 1"):
        Place.of(1, 2, {**there, "NODE_RANK": "7"})
    with pytest.raises(SettingError, match="MASTER_PORT: got 'x', expected an integer"):
        Place.of(1, 2, {**there, "MASTER_PORT": "x"})
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2", "GROUP_RANK": "1"}
    found = Place.of(environment={**torchrun, **there, "LOCAL_RANK": "3"})
    assert (found.rank, found.local, found.node, found.world, found.launched) == (7, 3, 1, 8, True)
    with pytest.raises(SettingError, match="devices: got 2, expected 4, as torchrun says"):
        Place.of(2, environment={**torchrun, **there, "LOCAL_RANK": "3"})
    with pytest.raises(SettingError, match="batch size: got 1, expected at least one image for each of 2 processes"):
        Place(2).check(1)


def test_dropout_is_cut_from_the_whole_batch() -> None:
    def dropped(share: Share, x: torch.Tensor, spatial: bool) -> torch.Tensor:
        share.whole = 7
        torch.manual_seed(0)
        return SharedDropout(0.5, spatial, share)(x[share.rows])

    x = torch.randn(7, 4, 3, 3)
    for spatial in (False, True):
        whole = dropped(Share(), x, spatial)
        for rank in range(2):
            assert torch.equal(dropped(Share(rank, 2), x, spatial), whole[rank::2])
    assert set((dropped(Share(), torch.ones_like(x), True).flatten(2).std(2)).flatten().tolist()) == {0}


def test_replaced_layers_keep_their_state() -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Sequential(torch.nn.Dropout(), torch.nn.ReLU()))
    names, x = list(module.state_dict()), torch.randn(2, 3, 4, 4)
    expected = module.eval()(x)
    shared(module, Share(0, 2))
    assert list(module.state_dict()) == names
    assert type(module[0]).__name__ == "SyncedNorm"
    assert torch.equal(module(x), expected)
    assert callable(member.main)
