"""What a TenantTask may declare, and what an app gets from TakeTurns. No servers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import OperationalError

from taketurns import TakeTurns, TenantTask
from taketurns.errors import (
    BrokerUnavailable,
    InvalidInput,
    InvalidRate,
    InvalidSettings,
    InvalidTenant,
    TaketurnsError,
)
from taketurns.settings import Settings

celery_warns_of_priority = pytest.mark.filterwarnings("ignore:(?s).*'priority' task attribute is deprecated")
"""Celery 6 wants it in task_routes, which tenant tasks don't go by."""


def new_app(**conf: Any) -> Celery:
    app = Celery("shop", set_as_current=False)
    app.conf.update(conf)
    return app


def register(app: Celery, **options: Any) -> Any:
    @app.task(base=TenantTask, name="shop.work", shared=False, **options)
    def work() -> None: ...

    return app.tasks["shop.work"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acks_late": False}, "acks_late=False"),
        ({"reject_on_worker_lost": False}, "reject_on_worker_lost=False"),
        ({"retry_on_worker_lost": True}, "retry_on_worker_lost=True"),
        ({"rate_limit": "10/m"}, "rate_limit_per_tenant"),
        ({"serializer": "pickle"}, "serializer='pickle'"),
    ],
)
def test_what_breaks_a_promise_is_refused(options: dict[str, Any], message: str) -> None:
    """An attribute that would lose tasks or hold them in the worker is an error that names task and attribute."""
    with pytest.raises(TaketurnsError, match=message) as caught:
        register(new_app(), **options)
    assert "'shop.work'" in str(caught.value)


def test_a_queue_of_its_own_is_refused() -> None:
    """A tenant task belongs into its tenant's queue."""

    class Elsewhere(TenantTask):
        abstract = True
        queue = "elsewhere"

    app = new_app()

    @app.task(base=Elsewhere, name="shop.work", shared=False)
    def work() -> None: ...

    with pytest.raises(TaketurnsError, match="queue='elsewhere'"):
        app.finalize()


@pytest.mark.parametrize("rate", ["100", "100/m", "0/1m", "", 100])
def test_a_malformed_rate_is_refused_with_the_name_of_its_task(rate: Any) -> None:
    """The error at registration says which task's rate it is, and what form it may have."""
    with pytest.raises(InvalidRate, match=r"rate_limit_per_tenant of shop\.work.*100/1m"):
        register(new_app(), rate_limit_per_tenant=rate)


@celery_warns_of_priority
@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("expose", "yes", "True or False"),
        ("expose", 1, "True or False"),
        ("expose", None, "True or False"),
        ("priority", "x", "low, normal, high or 0 to 2"),
        ("priority", 7, "low, normal, high or 0 to 2"),
        ("priority", -1, "low, normal, high or 0 to 2"),
        ("priority", True, "low, normal, high or 0 to 2"),
        ("priority", 1.0, "low, normal, high or 0 to 2"),
        ("priority", None, "low, normal, high or 0 to 2"),
        ("time_limit", "1m", "seconds above zero, or None"),
        ("retry_for", ValueError, "a tuple of exception classes"),
        ("retry_for", ("ValueError",), "a tuple of exception classes"),
        ("retry_backoff", 0, "a number of seconds above 0, at most 3342336"),
        ("retry_backoff_max", 1e10, "a number of seconds above 0, at most 3342336"),
        ("retry_jitter", "yes", "True or False"),
        ("singleton", "arguments", "True, False or 'args'"),
        ("singleton", 1, "True, False or 'args'"),
        ("singleton", None, "True, False or 'args'"),
        ("singleton_when_busy", "skip", "'wait' or 'drop'"),
        ("singleton_when_busy", ["drop"], "'wait' or 'drop'"),
        ("time_limit", True, "seconds above zero, or None"),
        ("soft_time_limit", "5", "seconds above zero, or None"),
        ("soft_time_limit", 0, "seconds above zero, or None"),
        ("max_retries", "3", "a whole number from 0 to 1000000"),
        ("max_retries", -1, "a whole number from 0 to 1000000"),
        ("soft_time_limit", -1, "seconds above zero, or None"),
        ("time_limit", float("inf"), "seconds above zero, or None"),
        ("time_limit", float("nan"), "seconds above zero, or None"),
    ],
)
def test_a_value_of_another_form_is_refused_with_the_accepted_one(
    name: str, value: Any, accepted: str
) -> None:
    """A value that would mean nothing, or fail at each call, is told at registration with its attribute and task."""
    with pytest.raises(InvalidInput, match=f"^{name} of shop.work: .* accepted is .*{accepted}$") as caught:
        register(new_app(), **{name: value})
    assert caught.value.value is value


@celery_warns_of_priority
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("priority", each) for each in ("low", "normal", "high", 0, 1, 2)],
        *[("singleton", each) for each in (True, False, "args")],
        *[("singleton_when_busy", each) for each in ("wait", "drop")],
        *[("time_limit", each) for each in (None, 1, 0.5)],
        *[("soft_time_limit", each) for each in (None, 1, 0.5)],
    ],
)
def test_a_value_of_the_accepted_form_stays_as_it_is(name: str, value: Any) -> None:
    """Every form that the errors name can be declared."""
    assert getattr(register(new_app(), **{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("rate_limit_per_tenants", "rate_limit_per_tenant"),
        ("rate_limits_per_tenant", "rate_limit_per_tenant"),
        ("rate_limit_per_tennant", "rate_limit_per_tenant"),
        ("exposed", "expose"),
        ("singletons", "singleton"),
        ("singleton_when_bussy", "singleton_when_busy"),
    ],
)
def test_a_misspelt_attribute_is_told_with_the_right_one(name: str, meant: str) -> None:
    """A limit that would be missed in silence is refused, whether the task or a base class of it declares it."""
    says = rf"'shop\.work' has an attribute {name}: did you mean {meant}\?"
    with pytest.raises(TaketurnsError, match=says):
        register(new_app(), **{name: "1/1s"})

    base = type("Base", (TenantTask,), {name: "1/1s", "abstract": True, "__module__": "shop"})
    app = new_app()

    @app.task(base=base, name="shop.work", shared=False)
    def work() -> None: ...

    with pytest.raises(TaketurnsError, match=says):
        app.finalize()


def test_attributes_of_ones_own_are_left_alone() -> None:
    """A task may have what attributes and methods its author likes, if none is nearly one of ours."""

    class Base(TenantTask):
        abstract = True
        exposure = 0.5

        def exposes(self) -> str:
            return "a method declares nothing"

    own = {"rate_limit_per_user": "1/1s", "rate_limit_by_tenant": 1, "explode": True, "tenants": ()}
    app = new_app()

    @app.task(base=Base, name="shop.work", shared=False, **own)
    def work() -> None: ...

    task = app.tasks["shop.work"]
    assert {name: getattr(task, name) for name in own} == own
    assert task.exposure == 0.5


def test_the_configuration_of_ordinary_tasks_does_not_reach_tenants_tasks() -> None:
    """App-wide defaults for rate, priority, serialiser and acknowledgement leave a tenant task as it is."""
    app = new_app(
        task_default_rate_limit="1/m",
        task_default_priority=9,
        task_serializer="pickle",
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_retry_on_worker_lost=True,
    )
    task = register(app, rate_limit_per_tenant="100/1m:5")
    assert task.acks_late
    assert task.reject_on_worker_lost
    assert not task.retry_on_worker_lost
    assert (task.serializer, task.priority, task.rate_limit) == ("json", 1, "")
    assert str(task.task_rate) == "100/1m:5"


def test_a_task_is_not_exposed_unless_it_says_so() -> None:
    """Only a task with expose=True can be submitted by HTTP."""
    assert register(new_app()).expose is False
    assert register(new_app(), expose=True).expose is True


@pytest.mark.parametrize("name", ["map", "starmap", "chunks"])
def test_map_and_its_like_are_refused(name: str) -> None:
    """They would run the items inside of one ordinary task; the error says what to use instead."""
    task = register(new_app())
    with pytest.raises(TaketurnsError, match="group"):
        getattr(task, name)(*([[1, 2]] if name != "chunks" else [[1, 2], 1]))


def test_for_tenant_checks_the_tenant() -> None:
    """A bad tenant id is refused where it is named."""
    with pytest.raises(InvalidTenant):
        register(new_app()).for_tenant("a/b")


def test_a_tenants_signature_carries_the_tenant() -> None:
    """for_tenant makes signatures of every kind, and set() overrides."""
    bound = register(new_app()).for_tenant("acme")
    assert bound.s().options["tenant"] == "acme"
    assert bound.si().immutable
    assert bound.signature((), countdown=3).options == {"countdown": 3, "tenant": "acme"}
    assert bound.s().set(tenant="beta").options["tenant"] == "beta"


def test_installing_reads_no_configuration() -> None:
    """The app may be configured after TakeTurns(app), and is not configured by it."""
    app = new_app()
    TakeTurns(app, Settings.load())
    assert not app.configured
    app.config_from_object({"broker_url": "amqp://later//", "worker_concurrency": 3})
    assert app.conf.broker_url == "amqp://later//"
    assert app.conf.worker_consumer == "taketurns.worker.consumer:TenantConsumer"
    assert app.conf.control_queue_exclusive is False


def test_installing_in_a_configured_app_is_the_same() -> None:
    """The order of configuring and installing does not matter."""
    app = new_app(broker_url="amqp://earlier//")
    assert app.conf.broker_url == "amqp://earlier//"
    TakeTurns(app, Settings.load())
    assert app.conf.broker_url == "amqp://earlier//"
    assert app.conf.worker_consumer == "taketurns.worker.consumer:TenantConsumer"


def test_the_brokers_url_is_the_apps_or_else_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """TAKETURNS_AMQP_URL is for an app that names no broker."""
    monkeypatch.setenv("TAKETURNS_AMQP_URL", "amqp://settings/vhost")
    nameless, named = new_app(), Celery("shop", broker="amqp://own/other", set_as_current=False)
    assert TakeTurns(nameless, Settings.load()).vhost == "vhost"
    assert TakeTurns(named, Settings.load()).vhost == "other"


def test_installing_twice_is_refused() -> None:
    """A second TakeTurns on one app is a mistake, and said to be one."""
    app = new_app()
    turns = TakeTurns(app, Settings.load())
    assert TakeTurns.of(app) is turns
    with pytest.raises(TaketurnsError, match="already"):
        TakeTurns(app, Settings.load())


def test_an_app_without_taketurns_says_what_is_missing() -> None:
    """A tenant task of an app that is not prepared for tenants tells how to prepare it."""
    app = new_app(task_always_eager=False)
    with pytest.raises(TaketurnsError, match=r"TakeTurns\(app\)"):
        register(app).apply_async(tenant="acme")


def test_task_protocol_1_is_refused() -> None:
    """The first protocol has no headers to carry a tenant in."""
    with pytest.raises(InvalidSettings, match="task_protocol"):
        register(new_app(task_protocol=1))


def test_an_app_with_a_consumer_of_its_own_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    """TakeTurns replaces Celery's consumer and nobody else's, and says that tenants are not served then."""
    app = new_app(worker_consumer="shop.consumer:Consumer")
    TakeTurns(app, Settings.load())
    assert app.conf.worker_consumer == "shop.consumer:Consumer"
    assert "will not serve tenants" in caplog.text


def test_importing_the_package_loads_nothing() -> None:
    """The package's name and version cost no import of Celery."""
    code = "import sys, taketurns; taketurns.__version__; print('celery' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n"


def test_every_public_name_is_there() -> None:
    """What the package lists can be imported from it, and nothing else."""
    import taketurns

    for name in taketurns.__all__:
        assert getattr(taketurns, name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = taketurns.nothing


def test_a_failed_publish_is_what_celery_expects() -> None:
    """Celery, and code written for it, handle BrokerUnavailable as the error of a failed publish."""
    assert issubclass(BrokerUnavailable, OperationalError)
