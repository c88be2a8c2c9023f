"""What RabbitMQ's management API tells of everything that taketurns depends on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from taketurns.doctor.policy import Policy
from taketurns.doctor.told import Told
from taketurns.topology import LOST_EXCHANGE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taketurns.management import Management, QueueInfo

_AWAY: Final = "RabbitMQ's management API can't be used"


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """The answers, each with its own fate: a user may be allowed some of them only.

    Attributes:
        reached: that the API can be used; without that nothing else was asked.
        overview: version and cluster name.
        user: whose credentials are used, with the tags.
        may_configure: which names it may declare and delete, as a regular expression; told to administrators only.
        queues: all queues of the vhost by name, as they are now.
        exchanges: all exchanges of the vhost by name.
        lost_is_bound: whether what comes to the lost exchange reaches the lost queue.
        policies: those of the vhost, operator policies included.
        deprecated: the deprecated features that are in use; None: this RabbitMQ does not tell.
        alarms: the resources of which an alarm is on, such as ``memory``.
    """

    reached: Told[None]
    overview: Told[Mapping[str, Any]]
    user: Told[Mapping[str, Any]]
    may_configure: Told[str]
    queues: Told[Mapping[str, QueueInfo]]
    exchanges: Told[Mapping[str, Mapping[str, Any]]]
    lost_is_bound: Told[bool]
    policies: Told[Sequence[Policy]]
    deprecated: Told[Sequence[str] | None]
    alarms: Told[Sequence[str]]


def gather(management: Management) -> BrokerFacts:
    """Ask for all of it. Costs the broker one listing of queues; an API that is away is waited for once."""
    reached = Told.ask(management.ping)

    def ask(question: Any) -> Told[Any]:
        return reached.then(partial(question, management), else_because=_AWAY)

    user = ask(lambda api: api.read("whoami"))
    return BrokerFacts(
        reached=reached,
        overview=ask(lambda api: api.read("overview", columns="rabbitmq_version,cluster_name")),
        user=user,
        may_configure=ask(lambda api: _may_configure(api, user.get())),
        queues=ask(lambda api: api.queues()),
        exchanges=ask(_exchanges),
        lost_is_bound=ask(_lost_is_bound),
        policies=ask(_policies),
        deprecated=ask(_deprecated),
        alarms=ask(_alarms),
    )


def _may_configure(management: Management, user: Mapping[str, Any]) -> str:
    """Return the pattern; one that no name matches if there are no permissions."""
    granted = management.read(f"permissions/{{vhost}}/{quote(str(user['name']), safe='')}") or {}
    return str(granted.get("configure") or "^$")


def _exchanges(management: Management) -> dict[str, Mapping[str, Any]]:
    listing = management.read("exchanges/{vhost}", columns="name,type,durable,arguments")
    return {str(each["name"]): each for each in listing}


def _lost_is_bound(management: Management) -> bool:
    bindings = management.read(f"exchanges/{{vhost}}/{LOST_EXCHANGE}/bindings/source") or []
    return any(each["destination"] == LOST_QUEUE for each in bindings)


def _policies(management: Management) -> list[Policy]:
    return [
        Policy(
            name=str(each["name"]),
            pattern=str(each["pattern"]),
            applies_to=str(each["apply-to"]),
            priority=int(each["priority"]),
            definition=dict(each["definition"]),
            is_operators=kind == "operator-policies",
        )
        for kind in ("policies", "operator-policies")
        for each in management.read(f"{kind}/{{vhost}}") or []
    ]


def _deprecated(management: Management) -> list[str] | None:
    used = management.read("deprecated-features/used")
    return None if used is None else [str(each["name"]) for each in used]


def _alarms(management: Management) -> list[str]:
    answer = management.read("health/checks/alarms") or {}
    return sorted({str(each["resource"]) for each in answer.get("alarms", [])})
