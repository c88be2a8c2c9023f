"""The command: ``make chaos``, or ``python -m chaos``."""

from __future__ import annotations

import argparse
import random
import shutil
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.performance import perform
from chaos.results import Row, show, write
from chaos.scenarios import SCENARIOS, SOAK
from chaos.scene import Ground, Plan
from chaos.settings import settings_for
from support.nodes import TREE, TreeRabbitMQ, fresh_nodes
from support.progress import say
from support.uninterrupted import interrupt_on_signals
from taketurns.services.rabbitmq import RabbitMQ

if TYPE_CHECKING:
    from collections.abc import Sequence


BROKERS: Final[dict[str, type[RabbitMQ]]] = {"own": RabbitMQ, "4.3": TreeRabbitMQ}
_RESULTS = Path("chaos-results")
_MISSED, _FAILED, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the scenarios, print what became of every task, and write it down; return the exit status.

    It is 0 if all bars were kept and all control runs lost something, 1 if not, 2 if a scenario failed.
    """
    options = _options(arguments)
    if options.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:22} {scenario.title}")
        return 0
    interrupt_on_signals()
    say(f"seed {options.seed}")
    rows: list[Row] = []
    failed = False
    try:
        for broker in options.broker or [name for name in BROKERS if name != "4.3" or TREE.exists()]:
            for name in options.only:
                failed |= _play(name, broker, options, rows)
    except KeyboardInterrupt:
        say("interrupted; everything was ended")
        return _INTERRUPTED
    finally:
        show(rows)
        write(rows, options.results, seed=options.seed)
    if failed:
        return _FAILED
    return _MISSED if any(row.verdict.missed for row in rows) else 0


def _play(name: str, broker: str, options: argparse.Namespace, rows: list[Row]) -> bool:
    """Play one scenario on one broker, and its control run; tell whether one failed."""
    scenario = SCENARIOS[name]
    plan = Plan(
        faults=(options.faults or scenario.faults) if scenario.breakages else 0,
        seconds=options.seconds or scenario.seconds,
        seed=options.seed,
    )
    plans = [plan]
    if scenario.control is not None and not options.no_controls:
        plans.append(
            replace(plan, faults=plan.faults // 3, seconds=plan.seconds / 4, control=scenario.control)
        )
    for each in plans:
        say(f"{name} on RabbitMQ {broker}" + (f", without {each.control}" if each.control else ""))
        try:
            with fresh_nodes(BROKERS[broker]) as nodes:
                ground = Ground(settings_for(nodes), _directory(options.results, broker, name, each), nodes)
                hits, races = min(scenario.hits, each.faults), scenario.races
                if options.seconds:  # cut short by hand
                    hits, races = min(hits, 1), min(races, 1)
                verdict = perform(scenario, ground, each, hits=hits, races=races)
        except Exception as error:  # noqa: BLE001  # what the others showed must not be lost
            traceback.print_exception(error)
            say(f"{name} on RabbitMQ {broker} failed")
            return True
        rows.append(Row(name, broker, verdict))
    return False


def _directory(results: Path, broker: str, name: str, plan: Plan) -> Path:
    """Return an empty folder for the ledger and the logs, which stay there."""
    directory = results / broker / (f"{name}-control" if plan.control else name)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory.resolve()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make chaos", description="Break what can break under load, and account for every task."
    )
    parser.add_argument(
        "--only",
        type=_scenarios,
        default=[name for name in SCENARIOS if name != SOAK],
        help=f"scenarios, separated by commas; by default all but {SOAK}, which is make chaos SOAK=1",
    )
    parser.add_argument("--soak", action="store_true", help=f"add {SOAK}")
    parser.add_argument("--list", action="store_true", help="say which scenarios there are, and end")
    parser.add_argument(
        "--broker",
        action="append",
        choices=BROKERS,
        help="private nodes of the machine's own RabbitMQ, or of the 4.3 that ../shared/brokers/rabbitmq-4.3 has "
        "installed; may be repeated; by default both, where there are both",
    )
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="what all choices depend on; printed"
    )
    parser.add_argument("--faults", type=int, help="faults in each scenario")
    parser.add_argument("--seconds", type=float, help="seconds after which no more faults come")
    parser.add_argument("--no-controls", action="store_true", help="leave out the runs that must lose tasks")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder for JSON, ledgers and logs")
    options = parser.parse_args(arguments)
    if options.soak and SOAK not in options.only:
        options.only.append(SOAK)
    return options


def _scenarios(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(SCENARIOS)}")
    return chosen
