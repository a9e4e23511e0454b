"""Images and results of every kind, given to `tiled`: the values are those of the whole, whatever holds them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image
from torch import nn

import naive_tiles
from naive_tiles import conv
from torchconv.convert.tiled import image_files, work
from torchconv.convert.tiled.inference import bytes_of, tiled
from torchconv.errors import DataError, SettingError, ShapeError

SIZE = (23, 31)


@pytest.fixture(autouse=True)
def naive(monkeypatch):
    monkeypatch.setattr(work, "TiledModel", naive_tiles.NaiveTiles)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return conv()


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 3, *SIZE)


@pytest.fixture(scope="module")
def whole(model, image):
    return model(image)


def close(found, expected):
    given = found if isinstance(found, torch.Tensor) else torch.from_numpy(np.array(found))
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


LAYOUTS = {
    "batch first": (lambda x: x, {}),
    "first": (lambda x: x[0], {}),
    "last": (lambda x: x[0].permute(1, 2, 0), {"channels": "last"}),
    "batch last": (lambda x: x.permute(0, 2, 3, 1), {"channels": "last"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["tensor", "numpy"])
def test_the_result_is_laid_out_as_the_image_is(model, image, whole, layout, kind):
    turn, said = LAYOUTS[layout]
    given = turn(image)
    found = tiled(model, tile=(7, 9))(given if kind == "tensor" else given.numpy(), **said)
    assert isinstance(found, torch.Tensor if kind == "tensor" else np.ndarray)
    close(found, turn(whole))


@pytest.mark.parametrize("tile", [(1, 1), (23, 31), (100, 100), (23, 1), 8])
def test_any_tile_gives_the_same(model, image, whole, tile):
    close(tiled(model, tile)(image), whole)


def test_a_grey_image_needs_no_axis_of_channels(image):
    grey, one, two = image[0, 0], conv(1, 1), conv(1, 2)
    close(tiled(one, (8, 8))(grey), one(grey[None, None])[0, 0])
    close(tiled(two, (8, 8))(grey), two(grey[None, None])[0])


def test_a_real_model_whatever_mode_torch_is_in(monkeypatch, image):
    monkeypatch.undo()
    two = nn.Sequential(conv(), nn.MaxPool2d(2), nn.ReLU(), nn.Upsample(scale_factor=2), conv(4, 2)).eval()
    expected = two(image[..., :22, :30])
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            found = tiled(two, (8, 8))(image[..., :22, :30])
        close(found, expected)
        assert not found.requires_grad
        assert not found.is_inference() or mode is torch.inference_mode


def test_several_images_at_once(model):
    batch = torch.randn(3, 3, *SIZE)
    close(tiled(model, (8, 8))(batch), model(batch))


def test_arrays_of_others(model, image, whole, tmp_path):
    np.save(tmp_path / "a.npy", image[0].numpy())
    zarr.create_array(tmp_path / "a.zarr", data=image[0].numpy(), chunks=(1, 8, 8))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = image[0].numpy()
        file.create_dataset("labels", (4, *SIZE), "f4")
        tiled(model, (8, 8))(file["image"], out=file["labels"])
        close(file["labels"], whole[0])
    for given in (np.load(tmp_path / "a.npy", mmap_mode="r"), tmp_path / "a.npy", str(tmp_path / "a.zarr")):
        close(tiled(model, (8, 8))(given), whole[0])
    close(tiled(model, (8, 8))(zarr.open(tmp_path / "a.zarr", mode="r")), whole[0])


def test_arrays_in_another_order_of_bytes_or_backwards(model, image, whole):
    given = image[0].numpy()
    close(tiled(model, (8, 8))(given.astype(">f4")), whole[0])
    close(tiled(model, (8, 8))(given[:, ::-1][:, ::-1]), whole[0])
    close(tiled(model, (8, 8))(given[:, ::-1]), model(image.flip(2))[0])


@pytest.mark.parametrize("how", ["memmap", "tiles", "zlib", "planes", "grey"])
def test_tiff_files_are_read_in_parts(tmp_path, how):
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    path, given, model = tmp_path / "a.tif", torch.from_numpy(pixels).permute(2, 0, 1), conv()
    if how == "grey":
        tifffile.imwrite(path, pixels[..., 0])
        given, model = given[:1], conv(1)
    elif how == "planes":
        tifffile.imwrite(path, pixels.transpose(2, 0, 1).copy(), planarconfig="separate", photometric="rgb")
    else:
        more = {"memmap": {}, "tiles": {"tile": (16, 16)}, "zlib": {"compression": "zlib", "rowsperstrip": 4}}[how]
        tifffile.imwrite(path, pixels, photometric="rgb", **more)
    found = tiled(model, (8, 8), preprocess=lambda x: x.float() / 255)(path)
    expected = model(given[None].float() / 255)[0]
    close(found, expected if how in ("planes", "grey") else expected.permute(1, 2, 0))


def test_a_tiff_in_one_compressed_block_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "BLOCK", 1000)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8), compression="zlib")
    with pytest.raises(DataError, match=r"a.tif cannot be read in parts: got one compressed block of 4.1 kB, "):
        tiled(conv(1), (8, 8))(tmp_path / "a.tif")


def test_images_that_pillow_reads(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    model = conv()
    found = tiled(model, (8, 8), preprocess=lambda x: x.float())(tmp_path / "a.png")
    close(found, model(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0))


def test_photographs_are_turned_as_their_camera_was(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    Image.new("RGB", (12, 8)).save(tmp_path / "turned.jpg", exif=exif)
    assert image_files.open_image(tmp_path / "turned.jpg")[0].shape == (12, 8, 3)


@pytest.mark.parametrize("strip", [1, 4, 23])
@pytest.mark.parametrize("last", [False, True])
def test_strips_of_rows_are_held_only_while_they_are_needed(model, image, whole, strip, last):
    given = image[0].permute(1, 2, 0) if last else image[0]
    alive, most = set(), 0

    def strips():
        nonlocal most
        for start in range(0, SIZE[0], strip):
            part = (given[start : start + strip] if last else given[:, start : start + strip]).clone()
            alive.add(start)
            most = max(most, len(alive))
            finalize(part, alive, start)
            yield part
            del part

    found = tiled(model, (5, 9))(strips(), shape=tuple(given.shape), channels="last" if last else "first")
    close(found, whole[0].permute(1, 2, 0) if last else whole[0])
    assert most <= -(-(5 + 2 * 2) // strip) + 2  # of a row of tiles with its halo


def finalize(part, alive, start):
    import weakref

    weakref.finalize(part, alive.discard, start)


def test_tiles_are_computed_as_soon_as_their_rows_are_there(model, image):
    taken, firsts = [], {}

    def strips():
        for start in range(0, SIZE[0], 4):
            taken.append(start)
            yield image[0, :, start : start + 4]

    for place, _ in tiled(model, (5, 31)).tiles(strips(), shape=image[0].shape):
        firsts[place[1].start] = len(taken)
    assert firsts == {0: 2, 5: 3, 10: 5, 15: 6, 20: 6}


def test_every_output_is_computed_once(model, image):
    call = tiled(model, (7, 9))
    count = torch.zeros(4, *SIZE, dtype=torch.int)

    def note(place, tile):
        count[place] += 1
        assert tile.shape == count[place].shape

    assert call(image[0], out=note) is None
    assert (count == 1).all()
    places = [place for place, _ in call.tiles(image[0])]
    assert len(places) == 4 * 4


@pytest.mark.parametrize("name", ["memmap", "npy", "zarr", "zarr array", "tensor"])
def test_results_of_every_kind(model, image, whole, tmp_path, name):
    path = tmp_path / "b"
    made = {
        "memmap": lambda: np.lib.format.open_memmap(path, "w+", np.float32, (4, *SIZE)),
        "npy": lambda: path.with_suffix(".npy"),
        "zarr": lambda: str(path.with_suffix(".zarr")),
        "zarr array": lambda: zarr.create_array(path, shape=(4, *SIZE), chunks=(4, 8, 8), dtype="f4"),
        "tensor": lambda: torch.empty(4, *SIZE),
    }
    out = made[name]()
    found = tiled(model, (8, 8))(image[0].numpy(), out=out)
    close(found[...], whole[0])
    if name == "npy":
        close(np.load(out), whole[0])
    assert not list(tmp_path.glob("*.tiles"))


def test_hooks_change_type_and_channels(model, image, whole, tmp_path):
    labels = tiled(model, (8, 8), preprocess=lambda x: x / 2, postprocess=lambda y: y.argmax(1).to(torch.uint8))
    expected = model(image / 2).argmax(1).to(torch.uint8)
    assert torch.equal(labels(image), expected)
    assert torch.equal(labels(image[0].permute(1, 2, 0), channels="last"), expected[0])
    labels(image[0], out=tmp_path / "labels.npy")
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "labels.npy")), expected[0])
    two = tiled(model, (8, 8), postprocess=lambda y: y[:, :2])
    close(two(image[0].permute(1, 2, 0), channels="last"), whole[0, :2].permute(1, 2, 0))


def test_memory_chooses_the_tile(model, image):
    call = tiled(model, memory=4 * 4 * 16 * 16 + 3 * 4 * 20 * 20)
    assert len(list(call.tiles(image))) == 2 * 2
    tiled(model, (16, 16), memory="100kB")(image)


BAD = {
    "no tile": (lambda m, x: tiled(m), SettingError, r'^tile: got None, .* Or give memory=, such as "2GB"'),
    "model": (
        lambda m, x: tiled(torch.relu, 8),
        SettingError,
        "^model: got an object of builtin_function",
    ),
    "text": (lambda m, x: tiled(m, "1024"), SettingError, "^tile: got '1024', expected samples along each axis, such"),
    "nothing": (lambda m, x: tiled(m, (8, 0)), SettingError, r"^tile: got \(8, 0\), expected samples along each axis"),
    "memory": (lambda m, x: tiled(m, memory="2 lots"), SettingError, "^memory: got '2 lots', expected bytes, or text"),
    "too little": (
        lambda m, x: tiled(m, memory=10)(x),
        SettingError,
        "^memory: got 10 bytes, expected at le",
    ),
    "tile": (
        lambda m, x: tiled(m, (16, 16), memory=1000)(x),
        SettingError,
        r"^tile: got .* bytes for a tile of 16x16",
    ),
    "engine": (lambda m, x: tiled(m, 8, engine="rai")(x), SettingError, "^engine: got 'rai', .* Did you mean ray"),
    "workers": (
        lambda m, x: tiled(m, 8, workers=2)(x),
        SettingError,
        "^workers of engine=None: got 2, ",
    ),
    "statistics": (lambda m, x: tiled(m, 8, statistics="three"), SettingError, "^statistics: got 'three', expected"),
    "axes": (lambda m, x: tiled(m, (8, 8))(x[0, 0, 0]), ShapeError, "^image: got 1 axes, expected 2 axes, with chann"),
    "channels": (lambda m, x: tiled(m, 8)(x, channels="middle"), SettingError, "^channels: got 'middle', expected"),
    "image": (lambda m, x: tiled(m, 8)(7), SettingError, "^image: got an object of int, expected a tensor, an array,"),
    "bytes": (lambda m, x: tiled(m, 8)(x.byte()), SettingError, "^image: got values of torch.uint8, .* preprocess="),
    "missing": (lambda m, x: tiled(m, 8)("no.npy"), DataError, "^image no.npy: got no such file$"),
    "preprocess": (lambda m, x: tiled(m, 8, preprocess=lambda x: x[..., 1:])(x), ShapeError, "^what preprocess="),
    "postprocess": (
        lambda m, x: tiled(m, 8, postprocess=lambda y: y.mean())(x),
        ShapeError,
        "^what postprocess=",
    ),
    "bfloat16": (
        lambda m, x: tiled(m, 8, postprocess=lambda y: y.bfloat16())(x, out="b.npy"),
        SettingError,
        "^a result for NumPy: got torch.bfloat16, .* postprocess=torch.Tensor.float",
    ),
    "out": (lambda m, x: tiled(m, 8)(x, out=7), SettingError, "^out: got an object of int, expected an array, a path"),
    "suffix": (lambda m, x: tiled(m, 8)(x, out="b.png"), SettingError, r"^out: got b.png, expected a path that ends"),
    "folder": (lambda m, x: tiled(m, 8)(x, out="no/b.npy"), DataError, "^out no/b.npy: got no folder no, expected"),
    "shape": (
        lambda m, x: tiled(m, 8)(x, out=torch.zeros(3)),
        ShapeError,
        r"^out: got \(3,\), expected \(1, 4, 23",
    ),
    "type": (
        lambda m, x: tiled(m, 8)(x.numpy(), out=np.zeros((1, 4, *SIZE), np.uint8)),
        SettingError,
        r"^out: got an array of uint8, expected float32. Give postprocess=, such as lambda y: y.to\(torch.uint8\)",
    ),
    "strips": (
        lambda m, x: tiled(m, 8)(iter([x])),
        SettingError,
        "^an image that comes in strips: got no",
    ),
    "few strips": (
        lambda m, x: tiled(m, 8)(iter([x[0, :, :4]]), shape=x[0].shape),
        DataError,
        "^the strips of an image: got 4 rows, expected 23, as shape= says$",
    ),
    "many strips": (
        lambda m, x: tiled(m, 8)(iter([x[0]] * 2), shape=(3, 30, 31)),
        DataError,
        "^the strips of an image: got 46 rows, expected 30, as shape= says$",
    ),
    "strip": (
        lambda m, x: tiled(m, 8)(iter([x[0, :2]]), shape=x[0].shape),
        ShapeError,
        r"^the strip from row 0: got \(2, 23, 31\), expected \(3, rows, 31\)$",
    ),
    "alone": (
        lambda m, x: tiled(m, 8, engine="torch.distributed")(x),
        SettingError,
        "got no torchrun, .*torchrun --n",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(model, image, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, error, message = BAD[name]
    with pytest.raises(error, match=message) as raised:
        call(model, image)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_damaged_files_are_named(model, tmp_path):
    for name in ("a.npy", "a.tif", "a.png", "a.zarr"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match=f"^image .*{name} cannot be read: got .*"):
            tiled(model, (8, 8))(tmp_path / name)


def test_a_memory_is_read_as_people_write_it():
    assert [bytes_of(text) for text in ("2GB", "512 MiB", "3000", "1.5g", 7)] == [2 * 10**9, 2**29, 3000, 15 * 10**8, 7]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_shown_on_a_terminal_only(model, image, monkeypatch, capsys, terminal):
    monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
    tiled(model, (8, 8))(image)
    shown = capsys.readouterr()
    assert ("tiles" in shown.err and "12/12" in shown.err) is terminal
    tiled(model, (8, 8), progress=False)(image)
    assert shown.out + capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["tensor", "numpy", "both", "map", "part"])
def test_the_image_cannot_be_written_over_while_it_is_read(image, tmp_path, kind):
    torch.manual_seed(0)
    model = nn.Conv2d(3, 3, 3, padding=1)
    given = out = image.clone()
    if kind == "numpy":
        given = out = given.numpy()
    elif kind == "both":
        out = given.numpy()
    elif kind == "part":
        room = np.zeros((1, 6, *SIZE), np.float32)
        room[:, 1:4] = image
        given, out = room[:, 1:4], room[:, 3:]
    elif kind == "map":
        given = tmp_path / "x.npy"
        np.save(given, image.numpy())
        out = np.load(given, mmap_mode="r+")
    with pytest.raises(SettingError, match="out: got the image, which tiles are still to read"):
        tiled(model, 16)(given, out=out)


def test_a_part_of_the_memory_of_an_image_that_is_not_read_can_be_written(model, image, whole):
    found = np.zeros((1, 8, *SIZE), np.float32)
    found[:, 1:6:2] = image
    tiled(model, 16)(found[:, 1:6:2], out=found[:, ::2])
    close(found[:, ::2], whole)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, image, path: tiled(model, 8)(image, shape=(3, 5, 5)), r"shape of an image: got \(3, 5, 5\)"),
        (lambda model, image, path: tiled(model, 8)(np.array([[None] * 9] * 9)), "image: got values of object"),
        (lambda model, image, path: tiled(model, 8)(image, out=path), "y.npy: got a folder, expected a file"),
        (lambda model, image, path: tiled(model, 8)(image, out=np.broadcast_to(np.float32(0), (1, 4, *SIZE))),
         "out: got an array that is only to be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_computed(model, image, tmp_path, call, message):
    (tmp_path / "y.npy").mkdir()
    with pytest.raises((SettingError, ShapeError, DataError), match=message):
        call(model, image, tmp_path / "y.npy")
    assert [one.name for one in tmp_path.iterdir()] == ["y.npy"]
