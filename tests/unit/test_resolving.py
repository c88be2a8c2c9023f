"""Which tenant a submission is for: who is asked first, and what is said when the answer is of no use. No servers."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery._state import _task_stack

from taketurns import TakeTurns
from taketurns.errors import InvalidInput, InvalidTenant, MissingTenant, ResolverFailed
from taketurns.resolving import Tenancy

if TYPE_CHECKING:
    from collections.abc import Iterator


def by_customer(task: str, args: Any, kwargs: Any, headers: Any) -> Any:
    """Be a team's resolver."""
    return kwargs["customer"] if kwargs.get("customer") is not None else None


@contextmanager
def running_for(tenant: str) -> Iterator[None]:
    """Be inside of a running task of a tenant's."""

    @Celery("other", set_as_current=False).task(name="other.parent", shared=False)
    def parent() -> None: ...

    parent.push_request(headers={"taketurns_tenant": tenant}, called_directly=False)
    _task_stack.push(parent)
    try:
        yield
    finally:
        _task_stack.pop()
        parent.pop_request()


@pytest.mark.parametrize(
    ("named", "header", "customer", "running", "default", "expected"),
    [
        ("named", "header", "customer", "running", "default", "named"),
        (None, "header", "customer", "running", "default", "header"),
        (None, None, "customer", "running", "default", "customer"),
        (None, None, None, "running", "default", "running"),
        (None, None, None, None, "default", "default"),
    ],
)
def test_who_comes_first(
    named: str | None,
    header: str | None,
    customer: str | None,
    running: str | None,
    default: str | None,
    expected: str,
) -> None:
    """The call's own word, a retry's header, the resolver, the task that submits, the default; in this order."""
    tenancy = Tenancy(by_customer, default)
    headers = {"taketurns_tenant": header} if header else {}
    ask = partial(tenancy.whose, "shop.work", (1,), {"customer": customer}, headers, named=named)
    if running is None:
        assert ask().tenant == expected
    else:
        with running_for(running):
            assert ask().tenant == expected


def test_without_any_the_error_says_who_did_not_know() -> None:
    """Strict is the default: the error names the task, and the resolver if it was asked."""
    with pytest.raises(
        MissingTenant, match=r"'shop.work' needs a tenant: pass .* a tenant_resolver or a default"
    ):
        Tenancy().whose("shop.work", (), {}, {})
    with pytest.raises(
        MissingTenant, match=r"'shop.work' needs a tenant \(.*by_customer returned None\): pass"
    ):
        Tenancy(by_customer).whose("shop.work", (), {}, {})


def test_a_resolver_is_told_of_the_call() -> None:
    """It gets the task's name, args, kwargs and headers; empty ones where the call has none."""
    told: list[Any] = []

    def listen(*call: Any) -> str:
        told.append(call)
        return "acme"

    tenancy = Tenancy(listen)
    assert tenancy.whose("shop.work", (1, 2), {"a": 3}, {"trace": "t-1"}).tenant == "acme"
    assert tenancy.whose("shop.work", None, None, {}).tenant == "acme"
    assert told == [("shop.work", (1, 2), {"a": 3}, {"trace": "t-1"}), ("shop.work", (), {}, {})]


def test_a_resolver_is_not_asked_where_the_tenant_is_known() -> None:
    """What the call names, or a retry's header, costs no call of it, and none of its errors."""
    tenancy = Tenancy(lambda *_: 1 / 0)  # type: ignore[arg-type]
    assert tenancy.whose("shop.work", (), {}, {}, named="acme").tenant == "acme"
    assert tenancy.whose("shop.work", (), {}, {"taketurns_tenant": "acme"}).tenant == "acme"


@pytest.mark.parametrize("bad", [42, "a b", "", b"acme", "x" * 129, ["acme"], True])
def test_a_resolvers_bad_result_names_the_task_and_the_resolver(bad: Any) -> None:
    """Anything but a tenant id or None is an error, also where a default would do."""
    with pytest.raises(InvalidTenant) as caught:
        Tenancy(by_customer, "default").whose("shop.work", (), {"customer": bad}, {})
    start = (
        f"what tenant_resolver {__name__}.by_customer returned for task 'shop.work': {bad!r} is not valid;"
    )
    assert str(caught.value).startswith(start)


def test_a_resolvers_error_names_the_task_and_the_resolver() -> None:
    """What it raises is the cause of ours, which a caller can tell from errors of the broker."""

    def broken(task: str, args: Any, kwargs: Any, headers: Any) -> str:
        return str(kwargs["customer"])

    with pytest.raises(ResolverFailed, match=r"broken failed for task 'shop.work': KeyError") as caught:
        Tenancy(broken, "default").whose("shop.work", (), {}, {})
    assert isinstance(caught.value.__cause__, KeyError)
    assert (caught.value.task, caught.value.reason) == ("shop.work", "KeyError('customer')")


async def later(task: str, args: Any, kwargs: Any, headers: Any) -> str:
    return "acme"


@pytest.mark.parametrize("bad", ["acme", lambda: "acme", lambda task, _, __: task, later])
def test_a_resolver_that_can_not_be_asked_is_refused_at_once(bad: Any) -> None:
    """Not at the first call: where TakeTurns is made, with what is accepted."""
    with pytest.raises(
        InvalidInput, match=r"^tenant_resolver: .* accepted is a function of task \(its name\), args"
    ):
        TakeTurns(Celery(set_as_current=False), tenant_resolver=bad)


class _Directory:
    def of(self, task: str, args: Any, kwargs: Any, headers: Any) -> str:
        return "acme"

    __call__ = of


@pytest.mark.parametrize(
    "resolver",
    [_Directory(), _Directory().of, lambda *_: "acme", partial(lambda tenant, *_: tenant, "acme"), max],
    ids=["object", "method", "lambda", "partial", "in C"],
)
def test_any_callable_will_do(resolver: Any) -> None:
    """A method, an object, a lambda or a partial is as good as a function."""
    Tenancy(resolver)


@pytest.mark.parametrize("bad", ["", "a b", 7, "../x"])
def test_a_default_tenant_is_checked_at_once(bad: Any) -> None:
    """A default that is no tenant id never gets as far as a call."""
    with pytest.raises(InvalidTenant, match=r"^default_tenant: .* accepted is 1 to 128 characters"):
        TakeTurns(Celery(set_as_current=False), default_tenant=bad)
