"""Timing and memory for benchmarks: interleaved in one process, because machines are noisy and ratios are what lasts."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import date
from statistics import median

import torch


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


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median over the rounds of how many times longer `slow` took than `fast`."""
    return median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def peak_bytes(case: Callable[[], object]) -> int:
    """Most bytes of tensors alive at once during a call beyond those alive before, as torch's allocator reports them."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        case()
    alive = peak = 0
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def machine() -> str:
    """One line that says where and with what a number was measured."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    threads = torch.get_num_threads()
    return (
        f"{date.today()}, {processor}, {threads} threads, torch {torch.__version__}, Python {platform.python_version()}"
    )


__all__ = ["interleaved", "machine", "peak_bytes", "ratio"]
