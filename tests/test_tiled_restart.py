"""A tiled inference that ends at any moment, and goes on after its last finished tile to the same bits."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

import naive_tiles
from naive_tiles import Centred, conv
from torchconv.convert.tiled import destinations, work
from torchconv.convert.tiled.inference import tiled
from torchconv.errors import DataError, SettingError

SIZE, TILE, TILES = (40, 33), (8, 16), 15


@pytest.fixture(autouse=True)
def naive(monkeypatch):
    monkeypatch.setattr(work, "TiledModel", naive_tiles.NaiveTiles)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return conv()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).standard_normal((3, *SIZE), np.float32)


class Ending:
    """A hook that ends the work at one of its calls, and counts the tiles that it has let through."""

    def __init__(self, at: int | None = None, error: BaseException | None = None) -> None:
        self.at, self.error, self.done, self.calls = at, error or KeyboardInterrupt(), 0, 0

    def __call__(self, y):
        if y.shape[-1] == 2:  # the example by which the result is known beforehand
            return y
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        self.done += 1
        return y


def outs(path):
    raw = path / "y.raw"
    return {
        "npy": lambda: path / "y.npy",
        "zarr": lambda: path / "y.zarr",
        "memmap": lambda: np.memmap(raw, np.float32, "r+" if raw.exists() else "w+", 0, (4, *SIZE)),
        "zarr array": lambda: zarr.open(path / "z", mode="a", shape=(4, *SIZE), chunks=(4, 8, 16), dtype="f4"),
    }


@pytest.mark.parametrize("name", outs(Path()))
def test_finished_tiles_are_never_computed_again(model, image, tmp_path, name):
    whole, out = tiled(model, TILE)(image), outs(tmp_path)[name]
    done, ends = 0, 0
    while True:
        hook = Ending(5)
        try:
            found = tiled(model, TILE, postprocess=hook)(image, out=out())
            break
        except KeyboardInterrupt:
            ends += 1
            assert hook.done == 4
        finally:
            done += hook.done
    assert (done, ends) == (TILES, 3)
    assert np.array_equal(found[...], whole)
    assert not list(tmp_path.glob("*.tiles"))


def interrupted(model, image, out, at=6, **settings):
    with pytest.raises(KeyboardInterrupt):
        tiled(model, TILE, postprocess=Ending(at), **settings)(image, out=out)


def continued(model, image, out, **settings):
    hook = Ending()
    found = tiled(model, TILE, postprocess=hook, **settings)(image, out=out)
    return hook.done, found


def test_a_new_file_appears_when_it_is_whole(model, image, tmp_path):
    out = tmp_path / "y.npy"
    np.save(out, np.zeros(3))
    interrupted(model, image, out)
    assert np.load(out).shape == (3,)
    assert continued(model, image, out)[0] == TILES - 5
    assert np.array_equal(np.load(out), tiled(model, TILE)(image))
    assert [path.name for path in tmp_path.iterdir()] == ["y.npy"]


def test_nothing_is_left_where_nothing_was_finished(model, image, tmp_path):
    interrupted(model, image, tmp_path / "y.npy", at=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("harm", "again"),
    [
        (lambda text: text[:-9], 1),  # torn in the last line
        (lambda text: text.replace(b"[0, 2,", b"[0, 9,"), 1),  # a line of another tile's number
        (lambda text: text + b'[0, 14, 1] 00000000\n\xff\xfe {"', 0),
        (lambda text: b"", 5),
    ],
)
def test_a_torn_journal_costs_only_the_tiles_of_torn_lines(model, image, tmp_path, harm, again):
    out = tmp_path / "y.npy"
    interrupted(model, image, out)
    (lines,) = (tmp_path / "y.npy.tiles").glob("*.lines")
    lines.write_bytes(harm(lines.read_bytes()))
    done, found = continued(model, image, out)
    assert done == TILES - 5 + again
    assert np.array_equal(found, tiled(model, TILE)(image))


def test_values_that_did_not_reach_the_disk_are_computed_again(model, image, tmp_path):
    out = tmp_path / "y.npy"
    interrupted(model, image, out)
    np.load(tmp_path / "y.npy.tiles" / "unfinished.npy", mmap_mode="r+")[0, 9, 3] = 7
    done, found = continued(model, image, out)
    assert done == TILES - 4
    assert np.array_equal(found, tiled(model, TILE)(image))


def test_an_array_that_was_made_anew_is_begun_anew(model, image, tmp_path):
    interrupted(model, image, np.memmap(tmp_path / "y", np.float32, "w+", 0, (4, *SIZE)))
    done, found = continued(model, image, np.memmap(tmp_path / "y", np.float32, "w+", 0, (4, *SIZE)))
    assert done == TILES
    assert np.array_equal(found, tiled(model, TILE)(image))


def test_a_journal_of_another_job_is_refused_by_what_differs(model, image, tmp_path):
    out, other = tmp_path / "y.npy", conv()
    other.load_state_dict(model.state_dict())
    interrupted(model, image, out)
    other.weight[0, 0, 0, 0] += 1
    for what, call in {
        "model": lambda: continued(other, image, out),
        "image": lambda: continued(model, image + 1, out),
        "tile": lambda: tiled(model, 8, postprocess=Ending())(image, out=out),
        "result": lambda: tiled(model, TILE, postprocess=torch.Tensor.double)(image, out=out),
        "preprocess or postprocess": lambda: tiled(model, TILE, postprocess=lambda y: y)(image, out=out),
    }.items():
        with pytest.raises(DataError, match=f"y.npy.tiles holds unfinished tiles of another job: got another {what},"):
            call()
    (out.parent / "y.npy.tiles" / "job.json").write_text("[]")
    with pytest.raises(DataError, match="holds unfinished tiles of another job"):
        continued(model, image, out)


def scaled(by, bias, seen=None):
    return lambda y: (seen.append(1) if seen is not None else None, y * by + bias)[1]


@pytest.mark.parametrize(
    "other",
    [lambda y: y * 2, lambda y: y + 1, scaled(2.0, torch.ones(1)), scaled(1.0, torch.zeros(1)),
     partial(torch.add, other=2), partial(torch.mul, other=1)],
)  # fmt: skip
def test_functions_are_known_by_what_they_do(model, image, tmp_path, other):
    """Two of one name, such as two lambdas, do not put their tiles into one result."""
    stop = Ending(4)

    def calling(function):
        return tiled(model, TILE, preprocess=lambda x: stop(x) if x.shape[-1] > 5 else x, postprocess=function)

    for function in (scaled(1.0, torch.ones(1)), lambda y: y + 2, partial(torch.add, other=1)):
        stop.calls, stop.at, out = 0, 4, tmp_path / "y.npy"
        with pytest.raises(KeyboardInterrupt):
            calling(function)(image, out=out)
        stop.at = None
        with pytest.raises(DataError, match="got another preprocess or postprocess"):
            calling(other)(image, out=out)
        found = calling(function)(image, out=out)
        assert np.array_equal(found, tiled(model, TILE, postprocess=function)(image))


def test_what_a_function_counts_does_not_make_it_another(model, image, tmp_path):
    seen, stop = [], Ending(3)
    interrupting = partial(scaled, 1.0, 0)
    with pytest.raises(KeyboardInterrupt):
        tiled(model, TILE, preprocess=stop, postprocess=interrupting(seen))(image, out=tmp_path / "y.npy")
    assert seen
    tiled(model, TILE, preprocess=Ending(), postprocess=interrupting([]))(image, out=tmp_path / "y.npy")


def test_a_journal_whose_result_is_gone_is_forgotten(model, image, tmp_path):
    interrupted(model, image, tmp_path / "y.npy")
    (tmp_path / "y.npy.tiles" / "unfinished.npy").unlink()
    assert continued(model, image, tmp_path / "y.npy")[0] == TILES


def test_the_file_of_an_image_is_known_by_its_name_size_and_time(model, image, tmp_path):
    np.save(tmp_path / "x.npy", image)
    interrupted(model, tmp_path / "x.npy", tmp_path / "y.npy")
    os.utime(tmp_path / "x.npy", (1, 1))
    with pytest.raises(DataError, match="another image"):
        continued(model, tmp_path / "x.npy", tmp_path / "y.npy")


def test_strips_go_on_too(model, image, tmp_path):
    def strips():
        return (image[:, start : start + 4] for start in range(0, SIZE[0], 4))

    with pytest.raises(KeyboardInterrupt):
        tiled(model, TILE, postprocess=Ending(9))(strips(), shape=image.shape, out=tmp_path / "y.npy")
    hook = Ending()
    found = tiled(model, TILE, postprocess=hook)(strips(), shape=image.shape, out=tmp_path / "y.npy")
    assert hook.done == TILES - 8
    assert np.array_equal(found, tiled(model, TILE)(image))


class Counted(naive_tiles.NaiveTiles):
    """Ends at one of the calls, of both passes together."""

    at, count = None, 0

    def accumulate(self, number, tile_index, read):
        self._call()
        return super().accumulate(number, tile_index, read)

    def compute(self, box, read):
        self._call()
        return super().compute(box, read)

    @classmethod
    def _call(cls):
        if cls.count == cls.at:
            raise KeyboardInterrupt
        cls.count += 1


@pytest.mark.parametrize("at", [1, 14, 15, 16, 29])
def test_passes_for_statistics_go_on_too(model, image, tmp_path, monkeypatch, at):
    monkeypatch.setattr(work, "TiledModel", Counted)
    monkeypatch.setattr(Counted, "count", 0)
    call = tiled(Centred(model), TILE, statistics="two-pass")
    whole = call(image)
    np.testing.assert_allclose(whole, Centred(model)(torch.from_numpy(image)[None])[0], atol=1e-5)
    monkeypatch.setattr(Counted, "count", 0)
    monkeypatch.setattr(Counted, "at", at)
    with pytest.raises(KeyboardInterrupt):
        call(image, out=tmp_path / "y.npy")
    monkeypatch.setattr(Counted, "at", None)
    assert np.array_equal(call(image, out=tmp_path / "y.npy"), whole)
    assert Counted.count == 2 * TILES


def test_a_pass_for_statistics_needs_an_image_that_can_be_read_again(model, image):
    def strips():
        return (image[:, start : start + 4] for start in range(0, SIZE[0], 4))

    call = tiled(Centred(model), TILE, statistics="two-pass")
    with pytest.raises(SettingError, match=r"^an image that is read 2 times: got an iterator, which is read once\."):
        call(strips(), shape=image.shape)
    assert np.array_equal(call(strips, shape=image.shape), call(image))


def test_a_full_disk_is_one_line_and_keeps_finished_tiles(model, image, tmp_path, monkeypatch):
    real, left = os.pwrite, [100]

    def pwrite(file, data, place):
        left[0] -= 1
        if left[0] == 0:
            return real(file, data[: len(data) // 2], place)  # as a disk that is nearly full does
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data, place)

    out = tmp_path / "y.npy"
    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(DataError) as full:
        tiled(model, TILE, postprocess=Ending())(image, out=out)
    fix = "Make room and call again: 3 of 15 tiles are finished and kept."
    assert str(full.value) == f"out {out} cannot be written: got no room on the disk. {fix}"
    assert not out.exists()
    monkeypatch.undo()
    monkeypatch.setattr(work, "TiledModel", naive_tiles.NaiveTiles)
    done, found = continued(model, image, out)
    assert done == TILES - 3
    assert np.array_equal(found, tiled(model, TILE)(image))


def test_a_disk_without_room_for_the_result_is_said_before_anything_is_computed(model, image, tmp_path, monkeypatch):
    monkeypatch.setattr(destinations.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 1000))
    hook = Ending()
    with pytest.raises(DataError, match=r"^out .*y.npy: got 1.0 kB free, expected 21.1 kB. Make room, or give out="):
        tiled(model, TILE, postprocess=hook)(image, out=tmp_path / "y.npy")
    assert hook.done == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full(model, tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        image, counted = torch.randn(3, 120, 100), Ending()

        def hook(y):
            if counted.done == 4:
                with pytest.raises(OSError, match="No space"):
                    (tmp_path / "other").write_bytes(bytes(2**18))
            return counted(y)

        call, out = tiled(model, (24, 50), postprocess=hook), tmp_path / "y.npy"
        with pytest.raises(DataError, match=r"no room on the disk\. Make room and call again: 4 of 10 tiles"):
            call(image, out=out)
        (tmp_path / "other").unlink()
        call(image, out=out)
        assert counted.done == 10 + 1  # the one that had no room
        assert np.array_equal(np.load(out), tiled(model, (24, 50))(image))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


KILLED = """
import gc, os, random, signal, time
import numpy as np, torch, naive_tiles
torch.set_num_threads(1)
from torchconv.convert.tiled import work
from torchconv.convert.tiled.inference import tiled

work.TiledModel = naive_tiles.NaiveTiles
torch.manual_seed(0)
model, image = naive_tiles.conv(), np.random.default_rng(0).standard_normal((3, 40, 33), np.float32)
chance = random.Random(0)

def slow(y):
    if y.shape[-1] != 2:
        os.write(counted, b".")
        time.sleep(0.01)
    return y

def run(out):
    tiled(model, (8, 16), postprocess=slow)(image, out=out)

tiled(model, (8, 16))(image, out="whole.npy")  # whatever takes long to import is there before there are forks
gc.collect()
gc.freeze()  # or every fork would copy all that is there when it looks for garbage
counted = os.open("count", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
begun, child = time.monotonic(), os.fork()
if not child:
    run("other.npy")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
longest = time.monotonic() - begun
os.ftruncate(counted, 0)
kills = 0
for number in range(100):
    child = os.fork()
    if not child:
        if not os.path.exists("y.npy"):  # else it was killed after its work
            run("y.npy")
        os._exit(0)
    time.sleep(chance.uniform(0.1, 0.35) * longest * (1 + number / 10))  # longer, as others may take the processor
    os.kill(child, signal.SIGKILL)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
    kills += 1
print(kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes that can be forked")
def test_killed_at_any_moment(model, image, tmp_path):
    folders = [Path(__file__).parent, Path(__file__).parent.parent / "src"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    found = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    kills = int(found.stdout)
    assert kills >= 1
    assert TILES <= (tmp_path / "count").stat().st_size <= TILES + kills  # of a tile under way nothing is known
    assert np.array_equal(np.load(tmp_path / "y.npy"), tiled(model, TILE)(image))
