"""Timing and memory for benchmarks: interleaved in one process, because machines are noisy and ratios last."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable
from datetime import date
from statistics import median

import torch

from torchconv.compute.planning import wisdom


def interleaved(
    cases: dict[str, Callable[[], object]], rounds: int = 15, seconds: float = 0.2
) -> dict[str, list[float]]:
    """Seconds per call of every case, once a round; each round runs all cases before the next begins."""
    calls = {}
    for name, case in cases.items():
        case()
        start = time.perf_counter()
        case()
        calls[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-7) / rounds))
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                case()
            times[name].append((time.perf_counter() - start) / calls[name])
    return times


QUICK = 0.05  # seconds of a call that is run some more times before it is called hopeless


def raced(cases: dict[str, Callable[[], object]], seconds: float, rounds: int = 7) -> dict[str, list[float]]:
    """Seconds of every call; after a first round only what took less than four times the fastest goes on."""
    times: dict[str, list[float]] = {}
    for name, case in cases.items():
        case()
        times[name] = [_timed(case)]
        times[name] += [_timed(case) for _ in range(3) if times[name][0] < QUICK]  # the first may have been disturbed
    fastest = min(map(min, times.values()))
    hopeful = [name for name in cases if min(times[name]) < 4 * fastest]
    calls = max(1, int(seconds / rounds / len(hopeful) / max(fastest, 1e-7)))
    kept: dict[str, list[float]] = {name: times[name] if name not in hopeful else [] for name in cases}
    for _ in range(rounds):
        for name in hopeful:
            start = time.perf_counter()
            for _ in range(calls):
                cases[name]()
            kept[name].append((time.perf_counter() - start) / calls)
    return kept


def _timed(case: Callable[[], object]) -> float:
    start = time.perf_counter()
    case()
    return time.perf_counter() - start


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median over the rounds of how many times longer `slow` took than `fast`."""
    return median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def peak_bytes(case: Callable[[], object]) -> int:
    """Most memory of the process during a call beyond what it had before, whoever allocated it (Linux only)."""
    case()
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back, or it would be used again uncounted
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = _status("VmRSS")
    result = case()
    peak = _status("VmHWM") - before
    del result
    return max(peak, 1)


def _status(name: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def machine() -> str:
    """One line that says where and with what a number was measured."""
    threads = torch.get_num_threads()
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{date.today()}, {wisdom.processor('cpu')}, {threads} threads, {versions}"


__all__ = ["interleaved", "machine", "peak_bytes", "ratio"]
