"""The canary, rollback and adopt on the command line, run as people run them, on real servers."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from pika import BlockingConnection, URLParameters

from support.command import WITHIN, assert_one_line, run, started
from support.publishing import close
from support.workers import environment
from taketurns import TakeTurns, TenantTask

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker
    from taketurns.settings import Settings

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Eventually = Callable[..., None]

SHOP = """
from celery import Celery
from taketurns import TakeTurns, TenantTask
app = Celery("shop")
TakeTurns(app, tenant_resolver=lambda task, args, kwargs, headers: kwargs.get("customer"))
@app.task(base=TenantTask, name="shop.work")
def work(label, customer=None): ...
"""
MANY = 600


@pytest.fixture
def amqp(broker: Broker) -> Iterator[BlockingChannel]:
    with closing(BlockingConnection(URLParameters(broker.amqp_url))) as connection:
        channel = connection.channel()
        channel.queue_declare("celery", durable=True)
        yield channel


@pytest.fixture
def arguments(settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """The folder and the environment of a command."""
    (tmp_path / "shop.py").write_text(SHOP)
    return {"cwd": tmp_path, **environment(settings)}


@pytest.fixture
def command(arguments: dict[str, Any]) -> Run:
    """Return a function that runs ``taketurns -A shop ARGUMENTS`` on the test's own servers."""

    def command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return run("-A", "shop", *words, **{**arguments, **variables})

    return command


@pytest.fixture
def work(settings: Settings) -> Iterator[Any]:
    """The task, to be submitted in this process."""
    app = Celery("shop", set_as_current=False)
    TakeTurns(app, settings)

    @app.task(base=TenantTask, name="shop.work", shared=False)
    def work(label: str, customer: str | None = None) -> None: ...

    yield work
    close(app)


def parsed(result: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON that a command printed, which succeeded."""
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return json.loads(result.stdout)


def ids(amqp: BlockingChannel, *queues: str) -> list[str]:
    """Empty queues, and return the ids of their tasks."""
    found = []
    for queue in queues:
        while (message := amqp.basic_get(queue, auto_ack=True))[0] is not None:
            found.append(str(message[1].headers["id"]))
    return found


def waiting(amqp: BlockingChannel, queue: str) -> int:
    return int(amqp.queue_declare(queue, passive=True).method.message_count)


# ---- canary


def test_the_canary_is_seen_set_and_unset(command: Run) -> None:
    """In words and as JSON; what is not named stays, and the settings hold where nothing is set."""
    assert command("canary").stdout == "In the canary: every tenant.\n"
    expected = {"percent": 10.0, "tenants": ["acme", "bolt"], "excluded": []}
    assert parsed(command("canary", "--percent", "10", "--tenants", "acme,bolt", "--json")) == expected
    result = command("canary", "--excluded", "carl", "--tenants", "none")
    assert result.stdout == "In the canary: 10 % of the tenants but for carl.\n"
    assert command("canary").stdout == result.stdout
    assert command("canary", "--unset", TAKETURNS_CANARY_PERCENT="5").stdout == (
        "In the canary: 5 % of the tenants.\n"
    )


def test_a_wrong_canary_is_refused(command: Run, nowhere: str) -> None:
    """With the field and what is accepted; and without Redis nothing can be set."""
    assert_one_line(command("canary", "--tenants", "a b"), "tenant: 'a b' is not valid; accepted is .*")
    for wrong in (("--percent", "101"), ("--unset", "--percent", "1")):
        result = command("canary", *wrong)
        assert (result.returncode, result.stdout) == (2, "")
    away = command("canary", "--percent", "1", TAKETURNS_REDIS_URL=f"redis://{nowhere}/0")
    assert_one_line(away, "Redis .*")


# ---- rollback


def test_backlogs_are_counted_and_moved(command: Run, work: Any, amqp: BlockingChannel) -> None:
    """First counted, then moved, and counted by tenant."""
    for label in "abc":
        work.apply_async((label,), tenant="acme")
    work.apply_async(("x",), tenant="bolt")
    work.apply_async(("later",), tenant="bolt", countdown=600)
    dry = {"waiting": {"acme": 3, "bolt": 1}, "delayed": 1, "lost": 0, "held": 0}
    assert parsed(command("rollback", "--dry-run", "--json")) == dry
    assert command("rollback", "--dry-run").stdout.splitlines()[-1] == (
        "5 tasks would be moved, 1 of them delayed; workers have 0 more."
    )
    assert_one_line(command("rollback", "--yes"), "tasks still go into tenant queues, .* every tenant; .*")
    assert_one_line(command("rollback"), ".* nobody can be asked here: pass --yes, or --dry-run")
    command("canary", "--percent", "0", "--tenants", "none")
    some = parsed(command("rollback", "--yes", "--json", "--tenant", "acme"))
    assert (some["moved"], some["waiting"]) == (3, {"acme": 3})
    result = command("rollback", "--yes", "--queue", "celery")
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["tenant", "waiting", "delayed"],
        ["bolt", "1", "1"],
        ["2", "tasks", "moved."],
    ]
    assert len(ids(amqp, "celery")) == 5
    nothing = {"waiting": {}, "delayed": 0, "lost": 0, "held": 0}
    assert parsed(command("rollback", "--yes", "--json")) == {
        "moved": 0,
        "waiting": {},
        "delayed": {},
        "left": nothing,
    }


def test_a_rollback_that_cannot_be_says_why(command: Run, nowhere: str) -> None:
    """In one line, which names what the reason is and nothing else."""
    assert_one_line(command("rollback", "--yes", "--queue", "old"), "there is no queue 'old': .*")
    no_redis = {"TAKETURNS_REDIS_URL": f"redis://{nowhere}/0"}
    assert_one_line(command("rollback", "--yes", **no_redis), "Redis failed .*")
    assert parsed(command("rollback", "--yes", "--json", TAKETURNS_CANARY_PERCENT="0", **no_redis))
    assert_one_line(command("rollback", "--dry-run", "--tenant", "a b"), "tenant: 'a b' is not valid; .*")
    command("canary", "--percent", "0")
    away = command("rollback", "--yes", TAKETURNS_AMQP_URL=f"amqp://guest:guest@{nowhere}/%2F")
    assert away.returncode == 1
    assert away.stderr.startswith("taketurns: "), away.stderr
    assert away.stderr.count("\n") == 1
    assert "Redis" not in away.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_rollback_that_is_ended_in_the_middle_loses_nothing(
    number: signal.Signals,
    command: Run,
    arguments: dict[str, Any],
    work: Any,
    amqp: BlockingChannel,
    eventually: Eventually,
) -> None:
    """Each task is in one of the queues; after a kill one of them may be in both, after Ctrl-C none is."""
    submitted = {work.apply_async((label,), tenant=f"t{label % 3}").id for label in range(MANY)}
    command("canary", "--percent", "0")
    ended = killed("rollback", "--yes", number=number, arguments=arguments, amqp=amqp, eventually=eventually)
    tenants = [f"usersequence_t{which}" for which in range(3)]
    moved = waiting(amqp, "celery")
    eventually(lambda: moved + sum(waiting(amqp, name) for name in tenants) >= MANY)
    found = ids(amqp, "celery", *tenants)
    assert set(found) == submitted
    assert len(found) - MANY <= (1 if number == signal.SIGKILL else 0)
    if number == signal.SIGINT:
        assert ended == (130, f"Interrupted: {moved} tasks moved, the rest is still there.\n")


# ---- adopt


def send(amqp: BlockingChannel, settings: Settings, *customers: str | None) -> set[str]:
    """Submit a task for each as the old code did; return their ids."""
    with Celery("old", broker=settings.broker.amqp_url, set_as_current=False) as old:
        old.conf.task_create_missing_queue_type = "classic"
        old.conf.broker_transport_options = {
            "confirm_publish": True
        }  # or the next command may be there before them
        with old.producer_pool.acquire() as producer:
            sent = [
                old.send_task("shop.work", ("a",), {"customer": customer}, producer=producer).id
                for customer in customers
            ]
        old.pool.force_close_all()
    return set(sent)


def test_an_old_queue_is_split(command: Run, settings: Settings, amqp: BlockingChannel) -> None:
    """First what would be, then what was; what is nobody's is told with the reason."""
    send(amqp, settings, "acme", None, "acme", "bolt")
    expected = {
        "moved": 3,
        "tenants": {"acme": 2, "bolt": 1},
        "stayed": [{"reason": "no_tenant", "task": "shop.work", "count": 1, "details": ""}],
    }
    assert parsed(command("adopt", "celery", "--dry-run", "--json")) == expected
    assert waiting(amqp, "celery") == 4
    result = command("adopt", "celery")
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["tenant", "moved"],
        ["acme", "2"],
        ["bolt", "1"],
        ["task", "left", "why"],
        ["shop.work", "1", "nothing", "tells", "its", "tenant"],
        ["3", "tasks", "moved,", "1", "left."],
    ]
    queues = ("celery", "usersequence_acme", "usersequence_bolt")
    assert [waiting(amqp, queue) for queue in queues] == [1, 2, 1]
    assert parsed(command("adopt", "celery", "--json"))["moved"] == 0


def test_tenants_outside_of_the_canary_are_named(
    command: Run, settings: Settings, amqp: BlockingChannel
) -> None:
    """Five of them, and how many there are besides."""
    send(amqp, settings, *(f"t{number}" for number in range(7)), "t0", "acme")
    command("canary", "--percent", "0", "--tenants", "acme")
    left = parsed(command("adopt", "celery", "--json"))["stayed"]
    named = "t0, t1, t2, t3, t4 and 2 more"
    assert left == [{"reason": "outside_canary", "task": "shop.work", "count": 8, "details": named}]


@pytest.mark.parametrize("words", [("adopt", "celery"), ("rollback", "--yes")])
def test_ctrl_c_before_the_work_is_told_in_one_line(
    words: tuple[str, ...], arguments: dict[str, Any], tmp_path: Path, eventually: Eventually
) -> None:
    """While the app is imported, which takes some its time."""
    here = tmp_path / "here"
    (tmp_path / "shop.py").write_text(f"open({str(here)!r}, 'w').close()\nimport time\ntime.sleep(60)\n")
    variables = {name: value for name, value in arguments.items() if name != "cwd"}
    with started("-A", "shop", *words, cwd=tmp_path, env=variables) as process:
        eventually(here.exists, within=WITHIN)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=WITHIN)
    assert (process.returncode, *said) == (130, "", "Interrupted: nothing was moved.\n")


def test_an_adoption_that_cannot_be_says_why(command: Run, nowhere: str) -> None:
    """In one line."""
    assert_one_line(command("adopt", "old"), "there is no queue 'old': .*")
    assert_one_line(command("adopt", "usersequence_acme"), "queue: 'usersequence_acme' is not valid; .*")
    away = command("adopt", "celery", TAKETURNS_AMQP_URL=f"amqp://guest:guest@{nowhere}/%2F")
    assert_one_line(away, "RabbitMQ could not be reached at .*")


def test_an_adoption_that_is_killed_in_the_middle_loses_nothing(
    arguments: dict[str, Any],
    settings: Settings,
    amqp: BlockingChannel,
    eventually: Eventually,
) -> None:
    """As with a rollback; what belongs to nobody is in the old queue."""
    customers = ["acme", "bolt", None] * (MANY // 3)
    submitted = send(amqp, settings, *customers)
    amqp.queue_declare(
        "usersequence_acme", durable=True, arguments={"x-queue-type": "classic", "x-max-priority": 2}
    )
    killed(
        "adopt",
        "celery",
        number=signal.SIGKILL,
        arguments=arguments,
        amqp=amqp,
        eventually=eventually,
        into="usersequence_acme",
    )
    tenants = ("usersequence_acme", "usersequence_bolt")
    moved = sum(waiting(amqp, name) for name in tenants)
    eventually(lambda: moved + waiting(amqp, "celery") >= MANY)
    found = ids(amqp, "celery", *tenants)
    assert set(found) == submitted
    assert len(found) - MANY <= 1


def killed(
    *words: str,
    number: signal.Signals,
    arguments: dict[str, Any],
    amqp: BlockingChannel,
    eventually: Eventually,
    into: str = "celery",
) -> tuple[int, str]:
    """Run a command until some tasks have come into a queue, and end it there; return its code and what it said."""
    variables = {name: value for name, value in arguments.items() if name != "cwd"}
    with started("-A", "shop", *words, cwd=arguments["cwd"], env=variables) as process:
        eventually(lambda: waiting(amqp, into) > 20, within=WITHIN)
        process.send_signal(number)
        said = process.communicate(timeout=WITHIN)[1]
    assert waiting(amqp, into) < MANY, "it was done before the signal came"
    return process.returncode, said
