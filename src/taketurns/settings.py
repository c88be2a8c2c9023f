"""Settings: one class a concern, read from the environment and, where it is named, from one env file.

Every setting is an environment variable that starts with ``TAKETURNS_``; ``config.env`` in the repository lists
them all with their defaults. A file is read only because it is named: by ``Settings.load(env_file)``, by
``--config`` on the command line, or by ``TAKETURNS_CONFIG``; never because it lies in the current folder. The
environment wins over the file.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from taketurns.env_file import read_env_file
from taketurns.errors import InvalidSettings
from taketurns.limits.rate import parse_rate
from taketurns.migration.canary import read_tenants
from taketurns.registry.tenant_settings import LARGEST_NUMBER
from taketurns.tenant_key import MOST_SHARDS

PREFIX = "TAKETURNS_"
CONFIG_VARIABLE = "TAKETURNS_CONFIG"

Seconds = Annotated[float, Field(gt=0)]
QueueType = Literal["classic", "quorum"]
KeyPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]+$")]


def _url_of(*schemes: str, also: str | None = None, between: str | None = None) -> AfterValidator:
    """Return a check that an URL has one of these schemes.

    Args:
        *schemes: the accepted ones.
        also: one that is accepted and not advertised.
        between: what stands between the URLs of several servers, if there may be several.
    """
    accepted = " or ".join(f"{scheme}://" for scheme in schemes)

    def check(value: str) -> str:
        for url in value.split(between) if between else [value]:
            scheme, separator, _ = url.strip().partition("://")
            if not separator or scheme.lower() not in (*schemes, also):
                # The value is not shown: it may hold a password.
                raise ValueError(f"it must begin with {accepted}")
        return value

    return AfterValidator(check)


def _are_tenants(value: str) -> str:
    read_tenants(value)
    return value


def _config(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix, frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )


class BrokerSettings(BaseSettings):
    """RabbitMQ: where it is and how long to wait for it."""

    model_config = _config(PREFIX)

    amqp_url: Annotated[str, _url_of("amqp", "amqps", also="pyamqp", between=";")] | None = None
    """Becomes the app's ``broker_url`` if the app names none itself."""
    management_url: Annotated[str, _url_of("http", "https")] = "http://guest:guest@127.0.0.1:15672"
    """The management API, credentials included; a path prefix is kept."""
    management_timeout: Seconds = 10.0
    publish_timeout: Seconds = 3.0
    """Seconds until a submission that the broker has not confirmed fails, with all that it takes."""
    publish_connections: Annotated[int, Field(ge=1)] = 10
    """Connections at most that one process publishes through at a time."""
    queue_type: QueueType = "classic"
    """What new tenant queues are: ``quorum`` ones are replicated in a cluster and survive the loss of a node."""


class RedisSettings(BaseSettings):
    """Redis: limits, tenant settings, activity, task records."""

    model_config = _config(PREFIX)

    redis_url: Annotated[str, _url_of("redis", "rediss", "unix")] = "redis://127.0.0.1:6379/0"
    redis_prefix: KeyPrefix = "taketurns"
    """The start of every key; two installations on one Redis need two prefixes."""
    redis_timeout: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Seconds for connecting and for each answer; below one second, since a worker's loop waits for it."""
    redis_retry_after: Seconds = 2.0
    """Seconds without any call after a failed one, so that a stalled Redis does not stall the workers."""
    redis_connections: Annotated[int, Field(ge=1)] = 20
    """Connections at most of one process; who finds them all busy waits for one, a second at most."""


class TlsSettings(BaseSettings):
    """Certificates, for ``amqps://``, ``rediss://`` and a management URL of ``https://``."""

    model_config = _config("TAKETURNS_TLS_")

    ca_file: Path | None = None
    """The CA certificates that the servers' are signed by, in PEM form; without it those of the system."""
    cert_file: Path | None = None
    """The client certificate in PEM form, for servers that ask for one."""
    key_file: Path | None = None
    """Its private key, without a password; without this setting it is in ``cert_file``."""
    check_hostname: bool = True
    """Whether a server's certificate must name the host of the URL."""

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("TAKETURNS_TLS_KEY_FILE needs TAKETURNS_TLS_CERT_FILE as well")
        return self


class TenantKeySettings(BaseSettings):
    """Whose queue an owner's tasks go to; nothing set is the owner's own."""

    model_config = _config("TAKETURNS_TENANT_KEY_")

    shards: Annotated[int, Field(ge=1, le=MOST_SHARDS)] | None = None
    """How many tenants, ``shard-0000`` and so on, share all owners."""
    function: Annotated[str, StringConstraints(pattern=r"^[\w.]+:[\w.]+$")] | None = None
    """Where the function is that returns an owner's tenant: ``package.module:name``."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.shards is not None and self.function is not None:
            raise ValueError(
                "TAKETURNS_TENANT_KEY_SHARDS and TAKETURNS_TENANT_KEY_FUNCTION exclude each other"
            )
        return self


class CanarySettings(BaseSettings):
    """Which tenants have queues of their own; nothing set is everybody."""

    model_config = _config("TAKETURNS_CANARY_")

    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    """How many of the tenants; which ones, their ids decide, so who is in at 10 % is in at 20 % too."""
    tenants: Annotated[str, AfterValidator(_are_tenants)] | None = None
    """Who is in, whatever the percentage; alone, nobody else is."""
    excluded: Annotated[str, AfterValidator(_are_tenants)] | None = None
    """Who is out, whatever else is set."""


class LimiterSettings(BaseSettings):
    """The limiter."""

    model_config = _config("TAKETURNS_LIMITER_")

    when_redis_is_away: Literal["open", "closed"] = "open"
    """``open``: tasks run unlimited while Redis is away; ``closed``: tasks of limited tenants wait for it."""
    default_rate_limit: str | None = None
    """The rate of each tenant that has none of its own, such as ``100/1m``; none is unlimited."""
    default_max_backlog: Annotated[int, Field(ge=1, le=LARGEST_NUMBER)] | None = None
    """Tasks of each tenant without a ``max_backlog`` of its own that may wait in its queue; none is any number."""
    lease: Seconds = 60.0
    """Seconds until the concurrency lease of a killed worker's task, or a lock, is free; living ones renew theirs."""

    @field_validator("default_rate_limit")
    @classmethod
    def _is_a_rate(cls, value: str | None) -> str | None:
        if value:
            parse_rate(value)
        return value or None


class WorkerSettings(BaseSettings):
    """The worker."""

    model_config = _config("TAKETURNS_WORKER_")

    serve_tenants: Literal["auto", "always", "never"] = "auto"
    """``auto``: serve tenant queues unless the worker was started with ``-Q``."""
    reconcile_interval: Seconds = 15.0
    """Seconds between two looks at which tenant queues exist."""
    max_credit: Annotated[int, Field(ge=1, le=1000)] = 32
    """Messages of one turn, at most."""
    turn_seconds: Seconds = 0.02
    """Seconds that one turn may keep the slots busy, by estimate (but always one message)."""
    max_consumers: Annotated[int, Field(ge=1)] = 1000
    """Tenant queues up to which every worker keeps a consumer on each; with more, two workers on each."""
    heartbeat_interval: Seconds = 1.0
    """Seconds between two signs of life in Redis; three missed ones and the worker counts as gone."""
    listed_queues: Annotated[int, Field(ge=0)] = 1000
    """How many tenant queues ``inspect active_queues`` (and so Flower) names, at most."""
    stop_grace: Seconds | None = None
    """Seconds that running tasks have to end after SIGTERM, before they go back; none is as long as they take."""
    max_held: Seconds = 60.0
    """Seconds that a message waits in the hand of a worker, before it goes back for others to take."""
    max_starts: Annotated[int, Field(ge=2)] = 5
    """Starts after which a task goes to the dead letters, if its worker or process died each time."""


class ReaperSettings(BaseSettings):
    """The reaper."""

    model_config = _config("TAKETURNS_REAPER_")

    idle_time: Annotated[float, Field(ge=0)] = 3600.0
    """Seconds without any activity after which a tenant's queue is removed."""
    interval: Seconds = 60.0
    """Seconds between two runs."""
    recover_interval: Seconds = 2.0
    """Seconds between two looks into the lost queue."""
    confirm_timeout: Seconds = 5.0
    """Seconds that the live workers have to confirm that they hold nothing of a tenant."""
    drain_expiry: Seconds = 60.0
    """Seconds after which a draining mark undoes itself, should the reaper die; more than ``confirm_timeout``."""

    @model_validator(mode="after")
    def _leaves_time_to_delete(self) -> Self:
        if self.drain_expiry <= self.confirm_timeout:
            raise ValueError(
                "TAKETURNS_REAPER_DRAIN_EXPIRY must be more than TAKETURNS_REAPER_CONFIRM_TIMEOUT"
            )
        return self


class RecordsSettings(BaseSettings):
    """What is remembered of tasks."""

    model_config = _config("TAKETURNS_RECORDS_")

    enabled: bool = True
    """Whether anything is; a task type that is declared with ``recorded=False`` never is."""
    ttl: Seconds = 7 * 24 * 3600.0
    """Seconds that a record is kept after the last step of its task."""
    max_tasks: Annotated[int, Field(ge=1)] = 10_000
    """Records of each tenant's ended tasks, at most; with those that wait and run it has ten times as many."""
    max_events: Annotated[int, Field(ge=1)] = 10_000
    """Events of each tenant's stream, about, at most; what a client can catch up on. A task keeps its own."""
    idempotency_window: Annotated[float, Field(ge=60)] = 24 * 3600.0
    """Seconds in which a submission with the idempotency key of an earlier one is that one, and runs nothing."""


class SchedulesSettings(BaseSettings):
    """The tenants' schedules, and the beat that submits their tasks."""

    model_config = _config("TAKETURNS_SCHEDULES_")

    per_tenant: Annotated[int, Field(ge=0)] = 100
    """Schedules that each tenant may have, at most."""
    grace: Annotated[float, Field(ge=0)] = 30.0
    """Seconds that a run may be late; later ones count as missed, and each schedule says what becomes of those."""
    max_missed: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Missed runs of a schedule that are made up for, at most, if it wants all of them."""
    takeover: Seconds = 10.0
    """Seconds after which another beat takes over from one that was killed or hangs."""


class ApiSettings(BaseSettings):
    """The HTTP API."""

    model_config = _config("TAKETURNS_API_")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    jwt_secret: SecretStr | None = None
    """The HS256 secret, 32 bytes at least; without it and ``jwks_url`` the API does not start."""
    jwt_tenant_claim: Annotated[str, Field(min_length=1)] = "sub"
    jwt_role_claim: Annotated[str, Field(min_length=1)] = "role"
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwks_url: Annotated[str, _url_of("http", "https")] | None = None
    """Where the public keys (JWKS) are of whoever signs the tokens; the secret is then not needed."""
    jwks_lifetime: Seconds = 300.0
    """Seconds after which they are fetched again; while that fails those that are known go on."""
    jwks_cooldown: Seconds = 10.0
    """Seconds between two attempts to fetch them, whatever keys the tokens name."""
    jwks_timeout: Seconds = 3.0
    """Seconds that each attempt has."""
    max_body: Annotated[int, Field(ge=1024)] = 1024 * 1024
    """Bytes of a request's body, at most."""
    max_batch_body: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Bytes of the body of a batch, at most; each task of it may have ``max_body``."""


@dataclass(frozen=True)
class Settings:
    """All settings together, each concern by its name."""

    broker: BrokerSettings
    redis: RedisSettings
    tls: TlsSettings
    tenant_key: TenantKeySettings
    canary: CanarySettings
    limiter: LimiterSettings
    worker: WorkerSettings
    reaper: ReaperSettings
    records: RecordsSettings
    schedules: SchedulesSettings
    api: ApiSettings

    @classmethod
    def load(cls, env_file: str | os.PathLike[str] | None = None) -> Self:
        """Read the settings from the environment and, below it, from ``env_file``.

        Args:
            env_file: a file of ``NAME=value`` lines; without it the one that ``TAKETURNS_CONFIG`` names, if any.

        Raises:
            InvalidSettings: a name is unknown, a value does not have its accepted form, or the file is missing or
                has a line that is no ``NAME=value``.
        """
        env_file = env_file or os.environ.get(CONFIG_VARIABLE) or None
        from_file: dict[str, str] = {}
        problems: list[str] = []
        if env_file is not None:
            if not Path(env_file).is_file():
                raise InvalidSettings(f"there is no settings file {os.fspath(env_file)!r}")
            from_file, problems = read_env_file(env_file)
        problems += _unknown(from_file, source=str(env_file)) + _unknown(os.environ, source="the environment")
        values: dict[str, BaseSettings] = {}
        for concern, kind in _concerns().items():
            try:
                given: dict[str, Any] = dict(_of(kind, from_file))
                values[concern] = kind(**given)
            except ValidationError as error:
                problems += [_problem(kind, dict(detail)) for detail in error.errors()]
        if problems:
            raise InvalidSettings("; ".join(problems))
        return cls(**values)  # type: ignore[arg-type]  # one value of the right class for each field

    @staticmethod
    def names() -> dict[str, Any]:
        """Return every variable's name with its default, in the order of the classes."""
        return {
            variable(kind, name): field.default
            for kind in _concerns().values()
            for name, field in kind.model_fields.items()
        }


def variable(kind: type[BaseSettings], name: str) -> str:
    """Return the environment variable of the setting ``name`` of a settings class."""
    return f"{kind.model_config['env_prefix']}{name}".upper()


def _concerns() -> dict[str, type[BaseSettings]]:
    kinds: dict[str, type[BaseSettings]] = {
        "broker": BrokerSettings,
        "redis": RedisSettings,
        "tls": TlsSettings,
        "tenant_key": TenantKeySettings,
        "canary": CanarySettings,
        "limiter": LimiterSettings,
        "worker": WorkerSettings,
        "reaper": ReaperSettings,
        "records": RecordsSettings,
        "schedules": SchedulesSettings,
        "api": ApiSettings,
    }
    assert set(kinds) == {field.name for field in fields(Settings)}  # noqa: S101
    return kinds


def _of(kind: type[BaseSettings], from_file: dict[str, str]) -> dict[str, str]:
    """Pick the file's values of one class, less those that the environment overrides."""
    given = ((name, variable(kind, name)) for name in kind.model_fields)
    return {name: from_file[var] for name, var in given if from_file.get(var) and not os.environ.get(var)}


def _unknown(values: Any, *, source: str) -> list[str]:
    known = [*Settings.names(), CONFIG_VARIABLE]
    problems = []
    for name in sorted(values):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            problems.append(f"{name} in {source} is no setting{hint}")
    return problems


def _problem(kind: type[BaseSettings], detail: dict[str, Any]) -> str:
    name = variable(kind, str(detail["loc"][0])) if detail["loc"] else kind.__name__
    return f"{name}: {str(detail['msg']).removeprefix('Value error, ')}"
