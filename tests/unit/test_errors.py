"""The errors: one base, fields, messages that help, and a way through pickle (Celery sends errors that way)."""

from __future__ import annotations

import inspect
import pickle

import pytest

from taketurns import errors
from taketurns.errors import (
    BacklogFull,
    BrokerRefused,
    InvalidBatch,
    InvalidInput,
    InvalidRate,
    InvalidTenant,
    InvalidWeight,
    KeyConflict,
    KeyInUse,
    LockLost,
    LockNotHeld,
    LockTaken,
    MissingTenant,
    NoSuchQueue,
    ResolverFailed,
    ScheduleExists,
    StillInCanary,
    TaketurnsError,
    TaskNotFound,
    TenantExists,
    TenantInUse,
    TenantKeyFailed,
    TooManySchedules,
    UnknownSchedule,
    UnknownTask,
    UnknownTenant,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]

EXAMPLES = [
    InvalidInput(3, "a word", field="color"),
    InvalidTenant("a b", "letters"),
    InvalidRate("often", "count/period", field="task_rate_limits"),
    InvalidWeight(0, "a number above zero"),
    MissingTenant("shop.thumbnail"),
    UnknownTask("shop.nothing"),
    BacklogFull("acme", 12, 10, 1.5),
    ResolverFailed("shop.thumbnail", "shop.by_customer", "KeyError('customer')"),
    UnknownTenant("acme"),
    TenantExists("acme"),
    TenantInUse("acme", "2 messages"),
    NoSuchQueue("celery"),
    StillInCanary("every tenant"),
    BrokerRefused("api", "may not write exchange 'usersequence'", "grant it"),
    LockNotHeld("acme", "books"),
    LockTaken("acme", "books"),
    LockLost("acme", "books"),
    KeyConflict("order-1"),
    KeyInUse("order-1"),
    TaskNotFound("acme", "id-1"),
    UnknownSchedule("acme", "nightly"),
    ScheduleExists("acme", "nightly"),
    TooManySchedules("acme", 100),
    TenantKeyFailed("ann", "shop.organisation_of", "KeyError('ann')"),
]


WITH_FIELDS = {InvalidBatch, *(type(error) for error in EXAMPLES)}


def test_one_except_catches_all() -> None:
    """Every error of the module is a TaketurnsError."""
    assert [kind for kind in ALL if not issubclass(kind, TaketurnsError)] == []


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        (InvalidInput, ValueError),
        (MissingTenant, TypeError),
        (UnknownTask, LookupError),
        (UnknownTenant, LookupError),
        (UnknownSchedule, LookupError),
        (NoSuchQueue, LookupError),
        (errors.BrokerUnavailable, ConnectionError),
        (errors.ManagementUnavailable, ConnectionError),
        (errors.RegistryUnavailable, ConnectionError),
    ],
)
def test_errors_are_what_python_would_raise(kind: type[Exception], standard: type[Exception]) -> None:
    """Who knows nothing of taketurns catches them by Python's own classes."""
    assert issubclass(kind, standard)


def test_what_is_wrong_with_a_batch_survives_pickling() -> None:
    """Each place keeps its error."""
    copy = pickle.loads(pickle.dumps(InvalidBatch({3: UnknownTask("shop.nothing")})))  # our own bytes
    assert [(place, str(error)) for place, error in copy.errors.items()] == [
        (3, str(UnknownTask("shop.nothing")))
    ]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: TaketurnsError) -> None:
    """Class, fields and message are the same after pickle."""
    copy = pickle.loads(pickle.dumps(error))  # our own bytes
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


@pytest.mark.parametrize("error", EXAMPLES[:4], ids=lambda error: type(error).__name__)
def test_bad_input_keeps_its_field_on_the_way_through_a_result_backend(error: InvalidInput) -> None:
    """Which has the class and the args, and no more."""
    assert str(type(error)(*error.args)) == str(error)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in WITH_FIELDS])
def test_a_plain_error_survives_pickling(kind: type[TaketurnsError]) -> None:
    """The errors that carry only a message keep it."""
    copy = pickle.loads(pickle.dumps(kind("Redis is away")))  # our own bytes
    assert type(copy) is kind
    assert str(copy) == "Redis is away"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (EXAMPLES[0], "color: 3 is not valid; accepted is a word"),
        (EXAMPLES[1], "tenant: 'a b' is not valid; accepted is letters"),
        (EXAMPLES[2], "task_rate_limits: 'often' is not valid; accepted is count/period"),
        (EXAMPLES[3], "weight: 0 is not valid; accepted is a number above zero"),
        (EXAMPLES[4], "task 'shop.thumbnail' needs a tenant: pass apply_async(..., tenant='acme')"),
        (EXAMPLES[5], "name: no task 'shop.nothing' can be submitted here"),
        (
            EXAMPLES[6],
            "12 tasks of tenant 'acme' wait and its max_backlog is 10, so nothing was submitted; try",
        ),
        (
            EXAMPLES[7],
            "tenant_resolver shop.by_customer failed for task 'shop.thumbnail': KeyError('customer')",
        ),
        (EXAMPLES[8], "there is no tenant 'acme': it has neither a queue nor settings"),
        (EXAMPLES[9], "there is a tenant 'acme' already: change its settings, or choose another name"),
        (
            EXAMPLES[10],
            "nothing of tenant 'acme' was removed, since its queue is not empty or in use: 2 messages",
        ),
        (EXAMPLES[13], "RabbitMQ's user 'api' may not write exchange 'usersequence'; grant it"),
        (EXAMPLES[-1], "tenant_key shop.organisation_of failed for owner 'ann': KeyError('ann')"),
    ],
)
def test_a_message_names_the_field_and_what_to_do(error: TaketurnsError, message: str) -> None:
    """The message says what was wrong, and what is accepted or to be done."""
    assert str(error).startswith(message)


def test_a_field_belongs_to_its_error() -> None:
    """Naming a field for one error leaves the next one's alone."""
    assert InvalidRate("x", "y", field="task_rate_limits").field == "task_rate_limits"
    assert InvalidRate("x", "y").field == "rate_limit"
