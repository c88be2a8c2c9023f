"""The command: ``make bench``, or ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bars import Bar, Judge
from benchmarks.bench import Bench
from benchmarks.brokers import NEWER, OWN, brokers
from benchmarks.conditions import describe
from benchmarks.plots import draw
from benchmarks.profile import PROFILES
from benchmarks.results import Results
from benchmarks.systems import SYSTEMS
from benchmarks.tables import show
from benchmarks.workloads import COMPARED, WORKLOADS, start
from support.progress import say
from support.uninterrupted import interrupt_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from benchmarks.lab import Broker

_RESULTS = Path("bench-results")
_MISSED, _FAILED, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results; return the exit status.

    It is 0 if all bars that were measured are kept, 1 if one is missed, 2 if a workload failed.
    """
    options = _options(arguments)
    interrupt_on_signals()
    results = Results()
    failed = False
    bars: list[Bar] = []
    try:
        with brokers(options.broker) as found:
            results.conditions = describe(PROFILES[options.profile], found)
            for number, broker in enumerate(found):
                failed |= _measure(broker, options, results, first=number == 0)
            for each in found:
                judge = Judge(results, each.name, each.version)
                bars += judge.bars() if set(options.only) & set(COMPARED) else []
                bars += judge.start_bars() if start.NAME in options.only else []
    except KeyboardInterrupt:
        say("interrupted; everything was ended")
        return _INTERRUPTED
    _report(results, bars, options.results)
    if failed:
        return _FAILED
    return _MISSED if any(bar.kept is False for bar in bars) else 0


def _measure(broker: Broker, options: argparse.Namespace, results: Results, *, first: bool) -> bool:
    """Run the workloads on one broker; tell whether one failed."""
    # celery-ranch does not use RabbitMQ: once is enough.
    systems = [key for key in options.systems if first or not SYSTEMS[key].on_redis]
    profile = PROFILES[options.profile]
    profile = replace(profile, cost_tenants=options.tenants or profile.cost_tenants)
    bench = Bench(broker, profile, systems, results)
    failed = False
    for name in options.only:
        say(f"{name} on {broker.name}")
        try:
            WORKLOADS[name](bench)
        except Exception as error:  # noqa: BLE001  # what the others measured must not be lost
            traceback.print_exception(error)
            say(f"{name} on {broker.name} failed")
            failed = True
    return failed


def _report(results: Results, bars: Sequence[Bar], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    show(results, bars)
    judged = [
        {
            "broker": bar.broker,
            "what": bar.text,
            "figure": bar.figure,
            "bar": f"{bar.sign} {bar.limit:g}",
            "verdict": bar.verdict,
        }
        for bar in bars
    ]
    results.write(directory / "results.json", judged)
    for path in [directory / "results.json", *draw(results, directory)]:
        say(f"wrote {path}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description="Compare taketurns with its alternatives."
    )
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="quick",
        help="how much is measured: quick takes a quarter of an hour, full is make bench FULL=1, and smoke shows "
        "only that everything works (its figures mean nothing)",
    )
    parser.add_argument(
        "--only", type=_some(WORKLOADS), default=list(COMPARED), help=f"of {', '.join(WORKLOADS)}"
    )
    parser.add_argument(
        "--systems", type=_some(SYSTEMS), default=list(SYSTEMS), help=f"of {', '.join(SYSTEMS)}"
    )
    parser.add_argument(
        "--broker",
        action="append",
        default=[],
        help=f"{OWN}: that of TAKETURNS_AMQP_URL and TAKETURNS_MANAGEMENT_URL, or a private one; {NEWER}: the node "
        "of ../shared/brokers/rabbitmq-4.3; or AMQP_URL,MANAGEMENT_URL; may be repeated",
    )
    parser.add_argument(
        "--tenants", type=_numbers, help="how many tenants the workload costs measures, such as 1000,10000"
    )
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder for JSON and plots")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _some(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return a reader of a list of known names, separated by commas."""

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return chosen

    return names
