"""The ways in which an app's tasks become tenants' tasks: base=, task_cls, classes of a team's own. No servers."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from taketurns import TakeTurns, TenantTask
from taketurns.errors import InvalidRate, TaketurnsError


class Reporting:
    """A team's mixin."""

    alarm = "office@shop.example"


class Base(Reporting, TenantTask):
    """A team's own base class, as their tasks' classes name it."""

    abstract = True
    rate_limit_per_tenant = "100/1m"


def tasks_of(app: Celery) -> tuple[Any, Any]:
    """Register one task without a base, and one that wants to be ordinary."""

    @app.task(name="shop.work", shared=False)
    def work() -> None: ...

    @app.task(base=Task, name="shop.ordinary", shared=False)
    def ordinary() -> None: ...

    return app.tasks["shop.work"], app.tasks["shop.ordinary"]


@pytest.mark.parametrize("base", [TenantTask, "taketurns:TenantTask", Base], ids=["class", "name", "own"])
def test_with_task_cls_all_tasks_are_tenants_but_those_that_say_otherwise(base: Any) -> None:
    """Celery(task_cls=) adopts an app's tasks at once; base=Task leaves one as it was."""
    app = Celery("shop", task_cls=base, set_as_current=False)
    TakeTurns(app)
    work, ordinary = tasks_of(app)
    assert isinstance(work, TenantTask)
    assert getattr(work, "alarm", None) == (Base.alarm if base is Base else None)
    assert str(work.task_rate) == ("100/1m" if base is Base else "None")
    assert not isinstance(ordinary, TenantTask)
    assert work.app is ordinary.app is app


def test_task_cls_may_be_set_later() -> None:
    """It holds from the first task on, so also for an app that somebody else has made."""
    app = Celery("shop", set_as_current=False)
    app.task_cls = TenantTask
    assert isinstance(tasks_of(app)[0], TenantTask)


def test_celerys_own_tasks_stay_ordinary() -> None:
    """Where task_cls makes all tasks tenants', chord_unlock and the like have no tenant, and need none."""
    app = Celery("shop", task_cls=Base, set_as_current=False)
    plain = Celery("plain", set_as_current=False)
    own = {name for name in app.tasks if name.startswith("celery.")}
    assert own == {name for name in plain.tasks if name.startswith("celery.")} != set()
    for name in own:
        task = app.tasks[name]
        assert type(task).__mro__[1:] == type(plain.tasks[name]).__mro__[2:]
        assert task.app is app
        assert (task.name, task.acks_late, task.max_retries) == (name, False, plain.tasks[name].max_retries)


def test_a_registered_class_is_checked_like_a_decorated_function() -> None:
    """Classes without a name of their own get one from register_task; what they declare is heeded all the same."""

    class Work(TenantTask):
        rate_limit_per_tenant = "5/1s"

        def run(self) -> None: ...

    class Often(TenantTask):
        rate_limit_per_tenant = "often"

        def run(self) -> None: ...

    class Early(TenantTask):
        acks_late = False

        def run(self) -> None: ...

    app = Celery("shop", set_as_current=False)
    assert str(app.register_task(Work()).task_rate) == "5/1s"
    with pytest.raises(InvalidRate, match="rate_limit_per_tenant of Often"):
        app.register_task(Often())
    with pytest.raises(TaketurnsError, match="'Early' can't have acks_late=False"):
        app.register_task(Early())
