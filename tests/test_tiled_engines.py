"""Tiles as tasks of Ray, and shared by the ranks of torchrun: processes are killed, and their tiles are done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import naive_tiles
from naive_tiles import Centred, conv
from torchconv.convert.tiled import engines, work
from torchconv.convert.tiled.inference import tiled
from torchconv.errors import SettingError, UnsupportedError

SIZE, TILE, TILES = (40, 33), (8, 16), 15


def an_image():
    return np.random.default_rng(0).standard_normal((3, *SIZE), np.float32)


def noting(folder: str, end_at: int | None):
    """A hook that notes the process of each tile, and ends it once, at a tile that none was ended at before."""

    def hook(y):
        if y.shape[-1] != 2:  # not the example by which the result is known beforehand
            with open(f"{folder}/calls", "a+") as calls:
                calls.write(f"{os.getpid()}\n")
                calls.seek(0)
                if len(calls.readlines()) == end_at:
                    os.kill(os.getpid(), signal.SIGKILL)
        return y

    return hook


def test_actors_of_ray_compute_and_one_that_is_killed_is_made_up_for(tmp_path):
    pytest.importorskip("ray", reason='the extra "cluster" is not installed')
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)).eval()
    alone = tiled(model, TILE)(an_image())
    found = tiled(model, TILE, engine="ray", workers=2, postprocess=noting(str(tmp_path), 5))(
        an_image(), out=tmp_path / "y.npy"
    )
    processes = (tmp_path / "calls").read_text().split()
    assert np.array_equal(found, alone)
    assert len(processes) == TILES + 1
    assert len(set(processes)) == 3
    assert str(os.getpid()) not in processes


def test_ray_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r'^engine="ray": got no package ray, .* pip install ".\[cluster\]"$'):
        engines.engine_of("ray", None)


RANKS = """
import os, sys, time
import torch
torch.set_num_threads(1)
import naive_tiles, test_tiled_engines as given
from torchconv.convert.tiled import work
from torchconv.convert.tiled.inference import tiled
from torchconv.errors import SettingError

rank, attempt = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
calls = []

class Ending(naive_tiles.NaiveTiles):
    def accumulate(self, number, tile_index, read):
        self.call("statistics", "0")
        return super().accumulate(number, tile_index, read)

    def compute(self, box, read):
        self.call("tiles", "1")
        return super().compute(box, read)

    def call(self, what, ends):
        time.sleep(0.02)  # so that there is something for both
        calls.append(what)
        with open("calls", "a") as file:
            file.write(f"{what} {attempt} {rank}\\n")
        if rank == "1" and attempt == ends and calls.count(what) == 3:
            os.kill(os.getpid(), 9)

work.TiledModel = Ending
torch.manual_seed(0)
call = tiled(naive_tiles.Centred(naive_tiles.conv()), given.TILE, statistics="two-pass", engine="torch.distributed")
assert call(given.an_image(), out="y.npy").shape == (4, *given.SIZE)
work.TiledModel = naive_tiles.NaiveTiles
assert tiled(naive_tiles.conv(), given.TILE, engine="torch.distributed")(given.an_image(), out="z.npy").shape[0] == 4
for out in (None, print):
    try:
        call(given.an_image(), out=out)
    except SettingError as error:
        print(error)
"""


def test_ranks_of_torchrun_share_the_tiles_and_those_of_a_killed_one_are_done_again(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(RANKS)
    folders = [Path(__file__).parent, Path(__file__).parent.parent / "src"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    found = subprocess.run(
        [*torchrun, "--max-restarts", "3", "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr[-3000:]
    monkeypatch.setattr(work, "TiledModel", naive_tiles.NaiveTiles)
    torch.manual_seed(0)
    alone = tiled(Centred(conv()), TILE, statistics="two-pass")(an_image())
    assert np.array_equal(np.load(tmp_path / "y.npy"), alone)
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    for what, attempts in (("statistics", "01"), ("tiles", "12")):
        rows = [(attempt, rank) for name, attempt, rank in calls if name == what]
        assert TILES + 1 <= len(rows) <= TILES + 2  # the one that was killed, and perhaps one that torchrun ended
        assert {attempt for attempt, _ in rows} == set(attempts)
        assert {rank for _, rank in rows} == {"0", "1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "program.py", "y.npy", "z.npy"]
    assert found.stdout.count("of a tiled inference by several processes: got one process's own") == 2
    assert found.stdout.count("out of several processes: got a function") == 2


def test_ranks_write_whole_chunks_only():
    import zarr

    array = zarr.create_array({}, shape=(4, *SIZE), chunks=(4, 8, 10), dtype="f4")
    from torchconv.convert.tiled.array_layout import ArrayLayout
    from torchconv.convert.tiled.destinations import GivenArray, Outcome

    sink = GivenArray(array)
    sink.folder = Path("z.tiles")
    outcome = Outcome(ArrayLayout(2, batch=False), (4, *SIZE), torch.float32, (4, *TILE), torch.device("cpu"))
    with pytest.raises(SettingError, match=r"got tiles of \(4, 8, 16\) in chunks of \(4, 8, 10\), .* divide the tile"):
        sink.check_shared(outcome)
