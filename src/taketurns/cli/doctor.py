"""``taketurns doctor``: what is wrong with all that taketurns depends on, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from taketurns.cli.output import Json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taketurns.doctor import Finding


def doctor(context: typer.Context, *, as_json: Json = False) -> None:
    """Say what is wrong with servers, queues, workers and app, and what to do; exit with 1 if there is a problem.

    It changes nothing. Warnings alone exit with 0.
    """
    from pydantic import TypeAdapter  # what only some commands need is not imported for all

    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.doctor import Finding

    turns = load_turns_once(context.obj)
    turns.app.loader.import_default_modules()  # as a worker does, so that all tasks are known
    turns.app.finalize(auto=True)
    findings = turns.doctor()
    turns.close()
    if as_json:
        typer.echo(TypeAdapter(list[Finding]).dump_json(findings))
    else:
        _print(findings)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    print_table(
        ("", "looked at", "found, and what to do"),
        (
            (each.level, each.check, f"{each.found}\n→ {each.advice}" if each.advice else each.found)
            for each in findings
        ),
    )
