"""RabbitMQ, its management API and Redis over TLS with client certificates, another vhost, and a path prefix."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from support.api_server import SECRET, serving
from support.nodes import runs_on_the_tree
from support.secure import SecureServers, secure_servers
from support.secure_app import build
from support.sse import Frames
from support.workers import worker
from taketurns import TakeTurns
from taketurns.errors import BrokerUnavailable, InvalidSettings, ManagementUnavailable, RegistryUnavailable
from taketurns.permissions import PERMISSIONS, Permissions
from taketurns.reaper.reaper import Reaper
from taketurns.reaper.service import ReaperService
from taketurns.services.ports import free_ports
from taketurns.settings import ApiSettings, ReaperSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from support.servers import Servers
    from taketurns.doctor import Finding
    from taketurns.settings import Settings

USER = "shop"


@pytest.fixture(scope="module")
def secure(servers: Servers) -> Iterator[SecureServers]:
    with secure_servers(on_the_tree=runs_on_the_tree(servers)) as secure:
        secure.add_user(USER, Permissions(".*", ".*", ".*"), "monitoring")
        for role, permissions in PERMISSIONS.items():
            secure.add_user(role, permissions, *([] if role == "publisher" else ["management"]))
        yield secure


@pytest.fixture
def secure_settings(secure: SecureServers, settings: Settings) -> Settings:
    return secure.settings(USER, settings.redis.redis_prefix)


@contextmanager
def turns_of(settings: Settings) -> Iterator[TakeTurns]:
    """Lend an app's extension; all of its connections are closed when the block ends."""
    app = build(settings)
    turns = TakeTurns.of(app)
    try:
        yield turns
    finally:
        turns.close()
        turns.management.close()
        app.close()


@pytest.fixture
def app(secure_settings: Settings) -> Iterator[Celery]:
    with turns_of(secure_settings) as turns:
        yield turns.app


def patient(settings: Settings) -> Settings:
    """Give submissions more time: 25 quorum queues may take more than three seconds on a busy machine."""
    return replace(settings, broker=settings.broker.model_copy(update={"publish_timeout": 20.0}))


def found_of_rabbitmq(turns: TakeTurns) -> Finding:
    """Return what the doctor says of the connection to RabbitMQ."""
    (found,) = [each for each in turns.doctor() if each.check == "RabbitMQ"]
    return found


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_tasks_run(
    pool: str, app: Celery, secure_settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """Many small ones, a delayed one, a retry and its dead letter; then the queue is removed when it is idle."""
    turns = TakeTurns.of(app)
    work: Any = app.tasks["work"]
    letters = turns.dead_letters.count()
    with worker(secure_settings, tmp_path, "-P", pool, "-c", "2", app="support.secure_worker"):
        results = [work.apply_async((f"{n}",), tenant=f"t{n % 20}") for n in range(400)]
        late = work.apply_async(("late",), tenant="acme", countdown=0.5)
        app.tasks["insist"].apply_async(("no",), tenant="acme")
        assert [result.get(timeout=60) for result in results] == [f"{n}" for n in range(400)]
        assert late.get(timeout=20) == "late"
        eventually(lambda: turns.dead_letters.count() == letters + 1)
        status = turns.status()
        assert status.workers is not None
        eventually(
            lambda: not any(q.ready or q.unacknowledged for q in turns.management.tenant_queues().values())
        )
    removed = Reaper(turns).remove("t1")
    assert removed is not None
    assert removed.remove, removed.reason
    assert turns.management.queue("usersequence_t1") is None


def test_the_main_job_with_the_least_permissions(
    secure: SecureServers, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """Four users that may do what docs/operations.md says, and no more, submit, run, see, replay, lose and remove."""
    prefix = settings.redis.redis_prefix
    api = ApiSettings(jwt_secret=SecretStr(SECRET))
    idle_at_once = ReaperSettings(idle_time=0)
    with (
        turns_of(replace(secure.settings("api", prefix), api=api)) as turns,
        turns_of(patient(secure.settings("publisher", prefix))) as submitting,
        turns_of(replace(secure.settings("reaper", prefix), reaper=idle_at_once)) as reaping,
        serving(turns) as client,
        client.as_("acme") as acme,
        client.as_("root", operator=True) as operator,
        worker(
            secure.settings("worker", prefix), tmp_path, "-E", "-c", "2", app="support.secure_worker"
        ) as crew,
    ):
        operator.delete("/dead-letters?all=true")  # those of the tests before, in the same vhost
        tasks: Any = submitting.app.tasks
        ids = [acme.post("/tasks", json={"name": "work", "args": [n]}).json()["task_id"] for n in range(50)]
        late = tasks["work"].apply_async(("late",), tenant="beta", countdown=0.3)
        child = tasks["parent"].apply_async(("child",), tenant="beta").get(timeout=60)
        tasks["insist"].apply_async(("no",), tenant="gamma")
        before = acme.post("/tasks", json={"name": "work", "args": ["b"], "countdown": 1}).json()["task_id"]
        ids.append(
            acme.post("/tasks", json={"name": "work", "args": ["a"], "depends_on": [before]}).json()[
                "task_id"
            ]
        )
        after = tasks["work"].apply_async(("after",), tenant="acme", depends_on=[before])
        assert after.get(timeout=60) == "after"
        assert late.get(timeout=60) == "late"
        assert submitting.app.AsyncResult(child).get(timeout=60) == "child"
        for each in ids:
            eventually(lambda id_=each: acme.get(f"/tasks/{id_}").json()["status"] == "SUCCESS", within=60)
        with Frames(acme, f"/tasks/{ids[0]}/events") as frames:
            assert frames.kinds()[-1] == "completed"
        eventually(lambda: operator.get("/dead-letters").json()["total"] == 1, within=60)
        assert operator.post("/dead-letters/replay", json={"all": True}).json()["replayed"] == 1
        assert operator.get("/health/ready").json()["status"] == "ready"
        eventually(lambda: secure.refusals() or operator.get("/status").json()["workers"])
        assert secure.refusals() == []
        assert operator.get("/tenants/acme/explain").json()["silent"] == []
        turns.registry.update("beta", max_backlog=10)
        eventually(
            lambda: operator.get("/dead-letters").json()["total"] == 1, within=60
        )  # it failed once more
        assert operator.delete("/dead-letters?all=true").json()["discarded"] == 1
        eventually(
            lambda: not any(q.ready or q.unacknowledged for q in turns.management.tenant_queues().values())
        )
        assert operator.delete("/tenants/beta").status_code == 204
        # This process does not know that the queue is gone: the task comes by the lost queue, and the reaper.
        tasks["work"].apply_async(("again",), tenant="beta")
        service = ReaperService(reaping)
        eventually(lambda: turns.management.queues()["usersequence.lost"].ready == 0 or service.run_once())
        eventually(lambda: service.run_once() and not turns.management.tenant_queues(), within=60)
        assert crew.stop() == 0
    assert secure.refusals() == []


def test_a_certificate_of_another_ca_is_not_accepted(
    secure: SecureServers, settings: Settings, tmp_path: Path
) -> None:
    """Each error names the setting; a file that is no certificate is refused at the start."""
    other = tmp_path / "other.pem"
    other.write_bytes((secure.certificates.directory / "client.pem").read_bytes())
    with turns_of(secure.settings(USER, settings.redis.redis_prefix, ca_file=other)) as turns:
        with pytest.raises(RegistryUnavailable, match="TAKETURNS_TLS_CA_FILE"):
            turns.registry.workers()
        with pytest.raises(BrokerUnavailable, match="TAKETURNS_TLS_CA_FILE"):
            turns.publisher.ensure("acme")
        with pytest.raises(ManagementUnavailable, match="TAKETURNS_TLS_CA_FILE"):
            turns.management.tenant_queues()
    other.write_text("nothing of the kind")
    with pytest.raises(InvalidSettings, match="TAKETURNS_TLS_CA_FILE"):
        build(secure.settings(USER, settings.redis.redis_prefix, ca_file=other))


def test_the_certificate_must_name_the_host(secure: SecureServers, secure_settings: Settings) -> None:
    """Unless that is switched off."""
    by_address = secure_settings.broker.model_copy(update={"amqp_url": secure.amqps_url(USER, "127.0.0.1")})
    strict = replace(secure_settings, broker=by_address)
    with (
        turns_of(strict) as turns,
        pytest.raises(BrokerUnavailable, match="TAKETURNS_TLS_CHECK_HOSTNAME"),
    ):
        turns.publisher.ensure("acme")
    lax = replace(strict, tls=strict.tls.model_copy(update={"check_hostname": False}))
    with turns_of(lax) as turns:
        assert turns.publisher.ensure("acme") == "usersequence_acme"


def test_without_a_client_certificate_nothing_is_answered(secure: SecureServers, settings: Settings) -> None:
    """The error says which setting names one."""
    bare = secure.settings(USER, settings.redis.redis_prefix, cert_file=None, key_file=None)
    with turns_of(bare) as turns:
        with pytest.raises(RegistryUnavailable, match="TAKETURNS_TLS_CERT_FILE"):
            turns.registry.workers()
        with pytest.raises(BrokerUnavailable, match="TAKETURNS_TLS_CERT_FILE"):
            turns.publisher.ensure("acme")


@pytest.mark.parametrize("first", ["nobody there", "another name"])
def test_the_next_host_takes_over(
    first: str, secure: SecureServers, secure_settings: Settings, tmp_path: Path
) -> None:
    """Each host's certificate must name that very host; publishers, workers and remote control go on to the next."""
    (closed,) = free_ports(1)
    good, bad = secure.amqps_url(USER), secure.amqps_url(USER, "127.0.0.1")
    if first == "nobody there":
        bad = bad.replace(f":{secure.broker.amqps}/", f":{closed}/")
    several = secure_settings.broker.model_copy(update={"amqp_url": f"{bad};{good}"})
    settings = replace(secure_settings, broker=several)
    with (
        turns_of(settings) as turns,
        worker(settings, tmp_path, "-P", "threads", "-c", "2", app="support.secure_worker") as crew,
    ):
        assert turns.app.tasks["work"].apply_async(("a",), tenant="acme").get(timeout=20) == "a"
        assert turns.app.tasks["ordinary"].delay("b").get(timeout=20) == "b"
        assert turns.app.control.ping([crew.name], timeout=5) == [{crew.name: {"ok": "pong"}}]
        assert found_of_rabbitmq(turns).level == "ok"


@pytest.mark.parametrize(
    ("changed", "unverified", "advice"),
    [
        (
            {"cert_reqs": ssl.CERT_NONE},
            "nobody verifies the server's certificate",
            "cert_reqs=ssl.CERT_REQUIRED",
        ),
        (
            {"cert_reqs": ssl.CERT_REQUIRED},
            "nobody verifies that the server's certificate names its host",
            "server_hostname=None",
        ),
    ],
)
def test_the_doctor_warns_where_nobody_verifies(
    changed: dict[str, Any], unverified: str, advice: str, secure: SecureServers, secure_settings: Settings
) -> None:
    """An app that configures TLS by itself, as is often copied, is told what it does not look at."""
    files = secure.certificates.directory
    with turns_of(secure_settings) as turns:
        assert found_of_rabbitmq(turns).level == "ok"
    with turns_of(secure_settings) as turns:
        turns.app.conf.broker_use_ssl = {
            "ca_certs": str(files / "ca.pem"),
            "certfile": str(files / "client.pem"),
            "keyfile": str(files / "client.key"),
            **changed,
        }
        found = found_of_rabbitmq(turns)
        assert found.level == "warning"
        assert unverified in found.found
        assert advice in found.advice
    lax = replace(secure_settings, tls=secure_settings.tls.model_copy(update={"check_hostname": False}))
    with turns_of(lax) as turns:
        found = found_of_rabbitmq(turns)
        assert "names its host" in found.found
        assert "TAKETURNS_TLS_CHECK_HOSTNAME=true" in found.advice
