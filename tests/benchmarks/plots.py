"""The plots, as PNG files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from benchmarks.systems import SYSTEMS
from benchmarks.workloads import newcomer, noisy, throughput

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.results import Results

mpl.use("agg")

from matplotlib import pyplot as plt  # after the choice of what draws

_SIZE = (8.0, 4.5)
_DPI = 120
_COLOURS = {"fifo": "#7f7f7f", "recipe": "#d95f02", "ranch": "#7570b3", "turns": "#1b9e77"}


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw what was measured; return the files."""
    drawn = []
    for broker in results.brokers():
        if broker == "Redis":
            continue
        stem = broker.lower().replace(" ", "-")
        for name, plot in (("throughput", _throughput), ("waits", _waits)):
            figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
            if plot(results, broker, axes):
                path = directory / f"{name}-{stem}.png"
                figure.savefig(path, dpi=_DPI)
                drawn.append(path)
            plt.close(figure)
    return drawn


def _throughput(results: Results, broker: str, axes: Any) -> bool:
    """Draw tasks per second over the number of tenants, a line for each system."""
    for key, kind in SYSTEMS.items():
        source = "Redis" if kind.on_redis else broker
        points = []
        for case in results.cases(throughput.NAME):
            rate = results.median(throughput.NAME, throughput.RATE, broker=source, system=key, case=case)
            if rate is not None:
                points.append((int(case.removeprefix("T=")), rate))
        if points:
            points.sort()
            axes.plot(*zip(*points, strict=True), "o-", label=kind.title, color=_COLOURS[key])
    axes.set(
        title=f"Throughput of no-op tasks, {broker}",
        xlabel="backlogged tenants",
        ylabel="tasks/s",
        xscale="log",
        ylim=(0, None),
    )
    return _finish(axes)


def _waits(results: Results, broker: str, axes: Any) -> bool:
    """Draw the 99th percentiles of waits, a group of bars for each case."""
    groups = [
        *((noisy.NAME, case) for case in results.cases(noisy.NAME)),
        *((newcomer.NAME, case) for case in results.cases(newcomer.NAME)),
    ]
    width = 0.8 / len(SYSTEMS)
    for offset, (key, kind) in enumerate(SYSTEMS.items()):
        source = "Redis" if kind.on_redis else broker
        found = [
            (number + offset * width, value)
            for number, (workload, case) in enumerate(groups)
            if (value := results.median(workload, "p99 ms", broker=source, system=key, case=case)) is not None
        ]
        if found:
            axes.bar(*zip(*found, strict=True), width, label=kind.title, color=_COLOURS[key])
    axes.set(title=f"Waits, 99th percentile, {broker}", ylabel="ms", yscale="log")
    places = [number + 0.3 for number in range(len(groups))]
    axes.set_xticks(places, [f"{workload}:\n{case}" for workload, case in groups], rotation=20, fontsize=8)
    return _finish(axes)


def _finish(axes: Any) -> bool:
    """Add legend and grid; tell whether there is anything to see."""
    if not axes.has_data():
        return False
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.legend()
    return True
