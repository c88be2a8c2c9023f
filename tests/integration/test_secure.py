"""RabbitMQ, its management API and Redis over TLS with client certificates, another vhost, and a path prefix."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from support.nodes import runs_on_the_tree
from support.secure import Permissions, SecureServers, secure_servers
from support.secure_app import build
from support.workers import worker
from taketurns import TakeTurns
from taketurns.errors import BrokerUnavailable, InvalidSettings, ManagementUnavailable, RegistryUnavailable
from taketurns.reaper.reaper import Reaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from support.servers import Servers
    from taketurns.settings import Settings

USER = "shop"


@pytest.fixture(scope="module")
def secure(servers: Servers) -> Iterator[SecureServers]:
    with secure_servers(on_the_tree=runs_on_the_tree(servers)) as secure:
        secure.add_user(USER, Permissions(".*", ".*", ".*"), "monitoring")
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
