"""The language under stress: random and mutated texts, and the time of a long one. `python -m benchmarks.language`."""

from __future__ import annotations

import argparse
import random
import time

from rich.progress import track

from torchconv.errors import TorchconvError
from torchconv.language import zoo
from torchconv.language.network_module import build
from torchconv.language.parser import parse
from torchconv.language.words import WORDS
from torchconv.network.operations import Volume

SEEDS = [zoo.text(name) for name in zoo.names() if name not in ("googlenet", "resnet50")] + [
    "[INPUT - CONV - RELU - POOL - FC]",
    "[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K, SOFTMAX",
    "INPUT[32x32x3] - CONV[12, 5x5, same] - RELU - POOL[2x2, max] - FC[10] - SOFTMAX",
    "MARK[a] - SUM(CONV[8, 3x3, stride=2, padding=0:1] | FROM[a] - POOL) - CONCAT[crop](IDENTITY | UPSAMPLE[2])",
]
PIECES = [*WORDS, *"-,*?|()[]=:#\n 0123456789xX_é\0", "same", "stride=", "padding=", "99999999999", "1e999", "N", "??"]


def mutated(text: str, source: random.Random) -> str:
    """The text with a few pieces put in, taken out, moved or replaced."""
    for _ in range(source.randint(1, 4)):
        start, stop = sorted(source.choices(range(len(text) + 1), k=2))
        stop = min(stop, start + source.choice([0, 1, 3, 20]))
        piece = source.choice([source.choice(PIECES), text[start:stop] * 2, "", text[stop : stop + 30]])
        text = text[:start] + piece + text[stop:]
    return text


def one(number: int) -> str:
    """A text: mutated, or of random pieces."""
    source = random.Random(number)
    if number % 3:
        return mutated(source.choice(SEEDS), source)
    return "".join(source.choice(PIECES) for _ in range(source.randint(0, 30)))


def fuzz(count: int, first: int = 0) -> dict[str, int]:
    """How many texts were networks, were parsed only, or refused; any error but the family's own is raised."""
    found = {"networks": 0, "parsed": 0, "refused": 0}
    for number in track(range(first, first + count), "texts"):
        text, result = one(number), "refused"
        try:
            architecture = parse(text)
            result = "parsed"
            assert parse(str(architecture)) == architecture, text
            architecture.network(Volume(3, (32, 32)), 10)
            result = "networks"
        except TorchconvError:
            pass
        except BaseException:
            print(repr(text))
            raise
        found[result] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    count = parser.parse_args().texts
    start = time.perf_counter()
    build("INPUT[32x32x3] - " + "CONV[8] - RELU - " * 500 + "FC")
    print(f"parsing and building 1,000 layers: {time.perf_counter() - start:.2f} s")
    print(f"{count:,} random and mutated texts: {fuzz(count)}")


if __name__ == "__main__":
    main()
