"""The management client against a real broker."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests
from pika import BasicProperties

from taketurns.errors import InvalidSettings, ManagementUnavailable
from taketurns.management import Management
from taketurns.tenants import queue_name
from taketurns.topology import TENANT_QUEUE_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker, Servers

AWKWARD_TENANTS = ["a.b", "A@b.co", "x+y", "u:7", "m-n_o", "z" * 128]


@pytest.fixture
def management(broker: Broker) -> Iterator[Management]:
    client = Management(broker.management_url, vhost=broker.vhost, timeout=10)
    yield client
    client.close()


@pytest.fixture
def powerless_user(servers: Servers) -> Iterator[tuple[str, Callable[..., str]]]:
    """Yield a user without tag and permissions, and a function that grants a tag and gives the user's URL."""
    user = f"test-{uuid.uuid4().hex[:8]}"
    address = f"{servers.management_url}/api/users/{user}"

    def grant(tag: str) -> str:
        requests.put(address, json={"password": "p@ss:/ü", "tags": tag}, timeout=10).raise_for_status()
        host = servers.management_url.rpartition("@")[2]
        return f"http://{user}:p%40ss%3A%2F%C3%BC@{host}"

    yield user, grant
    requests.delete(address, timeout=10).raise_for_status()


def declare(amqp: BlockingChannel, tenant: str, arguments: dict[str, Any] | None = None) -> str:
    name = queue_name(tenant)
    amqp.queue_declare(name, durable=True, arguments=arguments or dict(TENANT_QUEUE_ARGUMENTS["classic"]))
    return name


def test_version_and_ping(management: Management) -> None:
    """The version is that of the broker, and a ping of a good URL says nothing."""
    management.ping()
    assert [int(part) for part in management.version().split(".")[:2]] >= [3, 10]


def test_tenant_queues_are_ours_alone(management: Management, amqp: BlockingChannel) -> None:
    """The listing holds each tenant queue, whatever its characters, and no other queue."""
    names = {declare(amqp, tenant) for tenant in AWKWARD_TENANTS}
    for other in ("celery", "usersequence.lost", "usersequence_", "usersequence_not!ours", "xusersequence_a"):
        amqp.queue_declare(other, durable=True)
    listed = management.tenant_queues()
    assert set(listed) == names
    assert {queue.name for queue in listed.values()} == names
    assert all(
        queue.arguments == TENANT_QUEUE_ARGUMENTS["classic"] and queue.durable for queue in listed.values()
    )


def test_counts_are_live(management: Management, amqp: BlockingChannel, eventually: Any) -> None:
    """Ready and unacknowledged messages are counted as they are now, in the listing and for one queue."""
    name = declare(amqp, "a.b")
    amqp.confirm_delivery()
    for _ in range(3):
        amqp.basic_publish("", name, b"x")
    amqp.basic_get(name)

    def counts() -> set[tuple[int | None, int | None]]:
        one = management.queue(name)
        assert one is not None
        listed = management.tenant_queues()[name]
        return {(one.ready, one.unacknowledged), (listed.ready, listed.unacknowledged)}

    # The ordinary statistics would take 5 s.
    eventually(lambda: counts() == {(2, 1)}, within=2)


def test_one_queue_by_its_exact_name(management: Management, amqp: BlockingChannel) -> None:
    """A queue is found by its whole name, in which no character is a pattern."""
    declare(amqp, "axb")
    declare(amqp, "a.bc")
    assert management.queue(queue_name("a.b")) is None
    for tenant in AWKWARD_TENANTS:
        name = declare(amqp, tenant)
        found = management.queue(name)
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize("tenant", AWKWARD_TENANTS)
def test_delete_says_what_happened(management: Management, amqp: BlockingChannel, tenant: str) -> None:
    """An empty unused queue is deleted, and the second time gone."""
    name = declare(amqp, tenant)
    assert management.delete_queue(name, if_empty=True, if_unused=True) == "deleted"
    assert management.delete_queue(name, if_empty=True, if_unused=True) == "gone"
    assert management.tenant_queues() == {}


def test_delete_is_refused_by_its_conditions(management: Management, amqp: BlockingChannel) -> None:
    """A queue with a message, or with a consumer, stays; without conditions it goes."""
    amqp.confirm_delivery()
    full, used = declare(amqp, "full"), declare(amqp, "used")
    amqp.basic_publish("", full, b"x")
    amqp.basic_consume(used, lambda *_: None)
    assert management.delete_queue(full, if_empty=True, if_unused=True) == "refused"
    assert management.delete_queue(used, if_empty=True, if_unused=True) == "refused"
    assert set(management.tenant_queues()) == {full, used}
    assert management.delete_queue(full, if_empty=False, if_unused=True) == "deleted"


def test_a_queue_declared_otherwise_is_shown_as_it_is(management: Management, amqp: BlockingChannel) -> None:
    """A quorum queue of our name is listed with its own arguments, and its conditional removal is refused."""
    name = declare(amqp, "q", {"x-queue-type": "quorum"})
    assert management.tenant_queues()[name].arguments == {"x-queue-type": "quorum"}
    assert management.delete_queue(name, if_empty=True, if_unused=True) == "refused"


def test_other_vhosts_are_not_seen(broker: Broker, amqp: BlockingChannel) -> None:
    """A client of one vhost neither lists nor deletes the queues of another."""
    name = declare(amqp, "a")
    default = Management(broker.management_url, vhost="/")
    assert name not in default.tenant_queues()
    assert default.delete_queue(name, if_empty=True, if_unused=True) == "gone"


def test_an_unknown_vhost_is_named(broker: Broker) -> None:
    """A vhost that does not exist is named in the error."""
    client = Management(broker.management_url, vhost="no/such vhost")
    for call in (client.ping, client.tenant_queues, lambda: client.queue("x")):
        with pytest.raises(ManagementUnavailable, match="no vhost 'no/such vhost'"):
            call()


def test_the_user_is_told_what_it_lacks(
    broker: Broker, amqp: BlockingChannel, powerless_user: tuple[str, Callable[[str], str]]
) -> None:
    """A user without tag or permissions gets an error that says so; with both it reads but may not delete."""
    user, grant = powerless_user
    name = declare(amqp, "a")
    client = Management(grant(""), vhost=broker.vhost)
    with pytest.raises(ManagementUnavailable, match="tag 'management' or 'monitoring'"):
        client.ping()
    grant("management")
    with pytest.raises(ManagementUnavailable, match="permissions"):
        client.tenant_queues()
    nothing = {"configure": "", "write": "", "read": ""}
    url = broker.api(f"permissions/{{vhost}}/{user}")
    requests.put(url, json=nothing, timeout=10).raise_for_status()
    client.ping()
    assert list(client.tenant_queues()) == [name]
    with pytest.raises(ManagementUnavailable, match="configure"):
        client.delete_queue(name, if_empty=True, if_unused=True)


@pytest.mark.parametrize("path", ["", "/prefix/"])
def test_errors_never_show_the_password(broker: Broker, path: str) -> None:
    """A wrong password, a closed port and a wrong path are told with the address but without the password."""
    host = broker.management_url.rpartition("@")[2]
    for url in (f"http://guest:hushhush@{host}{path}", f"http://guest:hushhush@127.0.0.1:1{path}"):
        with pytest.raises(ManagementUnavailable) as raised:
            Management(url, vhost=broker.vhost, timeout=5).tenant_queues()
        assert "hushhush" not in str(raised.value)
        assert url.rpartition("@")[2].rstrip("/") in str(raised.value)


def test_a_port_of_something_else(servers: Servers, broker: Broker) -> None:
    """A URL that leads to RabbitMQ's AMQP port is told as an unreachable API, with what to look at."""
    port = servers.amqp_url.rpartition("@")[2].partition("/")[0]
    with pytest.raises(ManagementUnavailable, match="rabbitmq-plugins enable rabbitmq_management"):
        Management(f"http://guest:guest@{port}", vhost=broker.vhost, timeout=5).ping()


@pytest.mark.parametrize("url", ["amqp://guest:guest@localhost", "localhost:15672", "http://", ""])
def test_a_url_that_is_none_of_http(url: str) -> None:
    """A URL of another kind is refused when the client is made."""
    with pytest.raises(InvalidSettings, match="TAKETURNS_MANAGEMENT_URL"):
        Management(url, vhost="/")


def test_time_stamps_are_those_of_the_heads(
    management: Management, amqp: BlockingChannel, eventually: Any
) -> None:
    """Each tenant queue's first message, held ones included; no empty queue, and none without time stamps.

    RabbitMQ tells them every five seconds.
    """

    def publish(queue: str, *stamps: int | None) -> str:
        for stamp in stamps:
            amqp.basic_publish("", queue, b"{}", BasicProperties(timestamp=stamp, priority=1))
        return queue

    acme = publish(declare(amqp, "acme"), 1000, 2000)
    publish(declare(amqp, "unstamped"), None)
    beta = publish(declare(amqp, "beta"), 4000)
    corp = publish(declare(amqp, "corp"), 5000, 6000)
    declare(amqp, "empty")
    amqp.queue_declare("other")
    publish("other", 3000)
    eventually(lambda: management.head_timestamps() == {acme: 1000, beta: 4000, corp: 5000}, within=20)
    amqp.basic_get(acme)
    for emptier in (beta, corp):
        amqp.basic_get(emptier, auto_ack=True)
    eventually(lambda: management.head_timestamps() == {acme: 1000, corp: 6000}, within=20)
