"""The command line, as a user meets it: one line for each mistake, exit status 2, and nothing left behind."""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from test_data import write_folder
from torchconv import __version__
from torchconv.cli import app


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command line inside an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as stopped:
            app.main(arguments)
        return Outcome(int(stopped.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.raises(SystemExit) as stopped:
        app.main(["train", "--epochs", "2", "--out", str(path)])
    assert not stopped.value.code
    return path


def test_train_evaluate_predict_on_real_scans(call: Callable[..., Outcome], digits_run: Path) -> None:
    trained = call("train", "INPUT - CONV[8] - RELU - POOL - FC - SOFTMAX", "--epochs", "2", "--seed", "1")
    assert trained.status == 0
    assert trained.err == ""
    for words in ("validation accuracy", "test accuracy", "parameters", "kB", "run folder: runs/digits-1",
                  "torchconv predict runs/digits-1 runs/digits-1/examples/7.png"):  # fmt: skip
        assert words in trained.out
    assert Path("runs/digits-1/architecture.txt").read_text() == "INPUT - CONV[8] - RELU - POOL - FC - SOFTMAX\n"
    evaluated = call("evaluate", str(digits_run))
    assert evaluated.status == 0
    assert "of 360 images (test)" in evaluated.out
    assert "recall" in evaluated.out
    scan = str(digits_run / "examples" / "7.png")
    predicted = call("predict", str(digits_run), scan, "--json", "--top", "2")
    (found,) = json.loads(predicted.out)
    assert predicted.status == 0
    assert found["image"] == scan
    assert found["class"] == "7"
    assert len(found["top"]) == 2
    table = call("predict", str(digits_run), scan, scan)
    assert table.status == 0
    assert table.out.count("7.png") == 2


def test_a_folder_of_images(call: Callable[..., Outcome], tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    trained = call("train", "INPUT[8x8x3]-CONV[4]-RELU-POOL-FC", "--data", "pets", "--epochs", "2", "--batch-size", "8")
    assert trained.status == 0
    assert "run folder: runs/pets-1" in trained.out
    assert call("evaluate", "runs/pets-1", "--data", "pets").status == 0
    assert call("predict", "runs/pets-1", "pets/cat/1.png").status == 0


def test_the_size_of_images_and_the_classes_may_be_said(call: Callable[..., Outcome], tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    text = "INPUT[8x8x3] - CONV[4] - RELU - FC[9] - SOFTMAX"
    trained = call("train", text, "--data", "pets", "--epochs", "1", "--batch-size", "8", "--size", "10x12")
    assert trained.status == 0
    assert json.loads((tmp_path / "runs/pets-1/config.json").read_text())["input"] == "10x12x3"
    assert (tmp_path / "runs/pets-1/architecture.txt").read_text().startswith("INPUT[10x12x3] - CONV[4]")
    assert call("predict", "runs/pets-1", "pets/cat/1.png").status == 0
    looked = call("inspect", text, "--input", "1x20x20", "--classes", "5", "--csv")
    assert looked.status == 0
    assert "20x20x1" in looked.out
    assert looked.out.splitlines()[-1].startswith("softmax,softmax,,fc1,5,")
    refused = call("inspect", "runs/pets-1", "--classes", "5")
    assert (refused.status, "classes: got 5, expected a text" in refused.err) == (2, True)


MISTAKES = {
    "no size": (["train", "FC", "--size", "10"], ["size: got 10, expected height and width, as in 64x64"]),
    "no sizes": (["train", "FC", "--size", "0x8"], ["size: got 0, expected an integer >= 1"]),
    "a size the data lack": (["train", "FC", "--size", "9x9"], ["got 9x9x1, expected 8x8x1"]),
    "unknown word": (["train", "INPUT - CONVV - FC"], ["'CONVV'", "Did you mean CONV?", "column 9", "^"]),
    "unknown setting": (["train", "INPUT - CONV[strid=2] - FC"], ["Did you mean stride?"]),
    "too small": (["train", "INPUT - CONV[4, 9x9, valid] - FC"], ["layer conv1 on a volume 8x8x1", "at least 9"]),
    "channels of the data": (["train", "INPUT[8x8x3] - FC"], ["got 8x8x3, expected 8x8x1"]),
    "channels of a group": (["train", "INPUT - CONV[4, groups=3] - FC"], ["groups: got 3", "in_channels=1"]),
    "scores": (["train", "CONCAT(FC[3] | FC[4])"], ["got 10, expected 7, which concat1 gives", "End the text with FC"]),
    "no scores": (["train", "INPUT - CONV"], ["an output of 8x8x10", "End with GLOBALPOOL - FC"]),
    "unbound": (["train", "INPUT - (CONV)*N - FC"], ["got N", "column 16"]),
    "no epochs": (["train", "--epochs", "0"], ["--epochs", "greater than or equal to 1"]),
    "no number": (
        ["train", "--batch-size", "many"],
        ["--batch-size: got 'many', expected an integer. Try: torchconv train --help"],
    ),
    "empty text": (["train", ""], ["got the end of the text", "expected a layer such as CONV"]),
    "empty data": (["train", "--data", ""], ["data: got an empty name"]),
    "nearly digits": (["train", "--data", "Digits"], ["Did you mean digits?"]),
    "too many epochs": (["train", "--epochs", "1000001"], ["epochs: got 1000001, expected an integer from 1 to"]),
    "full out of torn images": (["train", "--data", "torn", "--out", "pets"], ["run folder pets"]),
    "sign": (["train", "--data", "a\x1b[31m"], ["data a\ufffd[31m: got no such folder"]),
    "rate": (["train", "--learning-rate", "nan"], ["learning rate: got nan, expected a number above 0"]),
    "option": (["train", "--epoch", "3"], ["No such option: --epoch"]),
    "precision": (["train", "--precision", "fp16"], ["precision: got fp16, expected 32-true, bf16-mixed or auto"]),
    "recipe": (["train", "--recipe", "fats"], ["recipe: got fats, expected default or fast", "Did you mean fast?"]),
    "devices": (["train", "--devices", "1000"], ["devices: got 1000, expected at most the"]),
    "nodes": (["train", "--nodes", "2"], ["nodes=2: got neither of them, expected torchrun or SLURM"]),
    "no patience": (["train", "--patience", "0"], ["--patience: got '0', expected"]),
    "no text": (["train", "none.net"], ["text none.net cannot be read: got No such file"]),
    "resume nothing": (["train", "--resume", "nothing"], ["run nothing: got no such folder"]),
    "resume no run": (["train", "--resume", "pets"], ["run pets: got no config.json"]),
    "resume otherwise": (["train", "--resume", "RUN", "--seed", "1"], ["--resume: got --seed beside it, expected not"]),
    "command": (["tran"], ["No such command 'tran'", "train"]),
    "no folder": (["train", "--data", "nothing"], ["data nothing: got no such folder, expected digits, a folder"]),
    "empty folder": (["train", "--data", "empty"], ["data empty: got an empty folder"]),
    "one class": (["train", "--data", "one"], ["one class only (cat)", "at least two"]),
    "unreadable": (["train", "--data", "torn"], ["torn/cat/0.png cannot be read", "Repair or remove it."]),
    "full out": (["train", "--out", "pets"], ["run folder pets: got a folder that is not empty"]),
    "huge volumes": (
        ["train", "UPSAMPLE[5000] - CONV[1] - GLOBALPOOL - FC", "--data", "pets"],
        ["the memory of a step of", "the largest", "Lower --batch-size"],
    ),
    "four channels": (["train", "INPUT[8x8x4]-FC", "--data", "pets"], ["got 8x8x4", "1 channel (grey) or 3"]),
    "no run": (["evaluate", "nothing"], ["run nothing: got no such folder"]),
    "other folder": (["predict", "pets", "pets/cat/0.png"], ["run pets: got no config.json"]),
    "missing image": (["predict", "RUN", "nothing.png"], ["image nothing.png: got no such file"]),
    "torn image": (["predict", "RUN", "torn/cat/0.png"], ["torn/cat/0.png cannot be read"]),
    "folder as image": (["predict", "RUN", "pets"], ["image pets cannot be read"]),
    "other classes": (["evaluate", "RUN", "--data", "pets"], ["got class cat", "classes of the run: 0, 1"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, call: Callable[..., Outcome], digits_run: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 3, "dog": 3})
    write_folder(tmp_path / "one", {"cat": 3})
    write_folder(tmp_path / "torn", {"cat": 3, "dog": 3})
    whole = (tmp_path / "torn/cat/0.png").read_bytes()
    (tmp_path / "torn/cat/0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    arguments, words = MISTAKES[name]
    found = call(*[str(digits_run) if word == "RUN" else word for word in arguments])
    assert found.status == 2
    assert found.out == ""
    assert all(word in found.err for word in words), found.err
    assert found.err.startswith("torchconv: ")
    assert "Traceback" not in found.err
    _, *rest = found.err.rstrip("\n").split("\n")
    assert len(rest) in (0, 3), "one line, or three more that show the place"
    assert sorted(tmp_path.rglob("*")) == before


def test_weights_of_another_network(call: Callable[..., Outcome], digits_run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(digits_run, "run")
    Path("run/architecture.txt").write_text("INPUT - CONV[3] - FC")
    found = call("evaluate", "run")
    assert found.status == 2
    assert found.err.count("\n") == 1
    assert "weights of another network: got conv1.weight (32, 1, 3, 3) for (3, 1, 3, 3)" in found.err


@pytest.mark.parametrize("package", ["lightning", "PIL", "safetensors"])
def test_missing_packages_say_how_to_install_them(
    package: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments)

    for name in [name for name in sys.modules if name.startswith("torchconv.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    found = call("train")
    assert found.status == 2
    assert found.out == ""
    assert f"needs the package {package}" in found.err
    assert 'pip install ".[train]"' in found.err


def test_few_images_are_trained_for_300_steps(call: Callable[..., Outcome], tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"[red]cat": 20, "[bold]dog": 20})
    trained = call("train", "INPUT[8x8x3]-FC", "--data", "pets", "--out", "my run")
    assert trained.status == 0, trained.err
    assert "torchconv evaluate 'my run'" in trained.out
    settings = json.loads(Path("my run/config.json").read_text())["settings"]
    assert (settings["batch_size"], settings["epochs"]) == (4, 38)
    evaluated = call("evaluate", "my run")
    assert "[red]cat" in evaluated.out
    assert "[bold]dog" in evaluated.out


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_is_gone_ends_the_training_in_one_line(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "torchconv", "train", "INPUT - FC", "--epochs", "1"]
    found = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert found.returncode == 141
    assert found.stderr.endswith("continue with: torchconv train --resume runs/digits-1\n")
    assert found.stderr.count("\n") == 1


def test_version_and_help(call: Callable[..., Outcome]) -> None:
    assert call("--version").out == f"torchconv {__version__}\n"
    for arguments in (["--help"], *([name, "--help"] for name in ("train", "evaluate", "predict", "plan", "tune"))):
        found = call(*arguments)
        assert found.status == 0
        assert "Usage: torchconv" in found.out
    assert "torchconv train resnet18 --data pets" in call("train", "-h").out
    assert call() == call("--help") == call("-h")


def test_help_imports_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from torchconv.cli import app\n"
        "try: app.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'lightning', 'lark', 'numpy', 'PIL') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.rstrip().endswith("[]"), found.stdout


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal on POSIX systems only")
def heed_ctrl_c() -> None:
    """What a shell starts in the background ignores SIGINT, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_with_one_line_and_the_weights(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torchconv",
        "train",
        "INPUT - CONV[2] - FC",
        "--epochs",
        "100000",
        "--out",
        "run",
    ]
    program = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "metrics.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=60)
    finally:
        program.kill()
    assert program.returncode == 130
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert "best weights so far are kept in run; continue with: torchconv train --resume run" in lines[0]
    assert (tmp_path / "run" / "weights.safetensors").exists()
    assert not list((tmp_path / "run").glob(".*"))


def test_plan_prints_the_table(call: Callable[..., Outcome]) -> None:
    found = call("plan", "64->64, 31x31, padding=15, groups=64", "--input", "8x64x56x56")
    assert (found.status, found.err) == (0, "")
    assert "fft" in found.out
    assert "declines" in found.out
    tight = call("plan", "64->64, 31x31, padding=15, groups=64", "--input", "8x64x56x56", "--workspace", "100")
    assert (tight.status, "MB, limit 0.1 kB" in tight.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("1->1, 3x3", "--input", "1x1x8"), "input_shape of plan for convolution 1->1, 3x3: got (1, 1, 8)"),
        (("1->1, 3x3", "--input", "1x1x8xq"), "input: got 1x1x8xq, expected batch, channels and sizes joined by x"),
        (("1->1, 3x3", "--input", "1x1x8x8", "--dtype", "int"), "dtype: got int, expected one of float32"),
        (("1->1, 3x3", "--input", "1x1x8x8", "--precision", "low"), "precision: got 'low', expected one of auto, fast"),
        (("1-1", "--input", "1x1x8x8"), "1-1"),
    ],
)
def test_plans_that_cannot_be_made(call: Callable[..., Outcome], arguments: tuple[str, ...], message: str) -> None:
    found = call("plan", *arguments)
    assert found.status == 2
    assert message in found.err
    assert found.err.count("\n") == 1


def test_tune_a_run(call: Callable[..., Outcome], digits_run: Path) -> None:
    found = call("tune", str(digits_run), "--batch", "8")
    assert (found.status, found.err) == (0, "")
    assert "whole model" in found.out


def test_doctor_says_what_is_there_and_what_is_off(call: Callable[..., Outcome], monkeypatch) -> None:
    from torchconv.compute.native import loader

    found = call("doctor")
    assert found.status == 0
    assert found.err == ""
    for words in (f"torchconv         {__version__}", "torch  ", "processor", "threads", "compiled kernels"):
        assert words in found.out
    off = loader.Library(None, "there was no C++ compiler")
    monkeypatch.setattr(loader, "library", lambda: off)
    rows = {row["name"]: row for row in json.loads(call("doctor", "--json").out)}
    assert rows["compiled kernels"]["found"] == "off"
    assert "no C++ compiler; large kernels take" in rows["compiled kernels"]["note"]
