"""Settings: environment over file over defaults, and every mistake told at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from taketurns.errors import InvalidSettings
from taketurns.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the test run's own servers leads these tests astray."""
    for name in list(os.environ):
        if name.upper().startswith("TAKETURNS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / "settings.env"


def test_nothing_needs_to_be_set() -> None:
    """Without any variable the settings are the defaults that are listed by name."""
    settings = Settings.load()
    assert settings.redis.redis_url == Settings.names()["TAKETURNS_REDIS_URL"] == "redis://127.0.0.1:6379/0"
    assert settings.reaper.idle_time == Settings.names()["TAKETURNS_REAPER_IDLE_TIME"] == 3600
    assert settings.limiter.default_rate_limit is None


def test_a_file_is_read_because_it_is_named(env_file: Path) -> None:
    """Values of a named file apply, in the type of their setting."""
    env_file.write_text("# a comment\nTAKETURNS_REDIS_PREFIX=shop\nTAKETURNS_WORKER_MAX_CREDIT=3\n")
    settings = Settings.load(env_file)
    assert settings.redis.redis_prefix == "shop"
    assert settings.worker.max_credit == 3


def test_a_file_in_the_current_folder_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither .env nor config.env counts only because it lies there."""
    for name in (".env", "config.env"):
        (tmp_path / name).write_text("TAKETURNS_REDIS_PREFIX=shop\n")
    monkeypatch.chdir(tmp_path)
    assert Settings.load().redis.redis_prefix == "taketurns"


def test_the_environment_may_name_the_file(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAKETURNS_CONFIG names the file for a worker, which has no option for it."""
    env_file.write_text("TAKETURNS_REDIS_PREFIX=shop\n")
    monkeypatch.setenv("TAKETURNS_CONFIG", str(env_file))
    assert Settings.load().redis.redis_prefix == "shop"


def test_the_environment_wins(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment is stronger than the file, each by itself."""
    env_file.write_text("TAKETURNS_REDIS_PREFIX=file\nTAKETURNS_REDIS_TIMEOUT=0.5\n")
    monkeypatch.setenv("TAKETURNS_REDIS_PREFIX", "environment")
    settings = Settings.load(env_file)
    assert settings.redis.redis_prefix == "environment"
    assert settings.redis.redis_timeout == 0.5


def test_an_empty_value_in_the_file_is_the_default(env_file: Path) -> None:
    """A line whose value was left out changes nothing."""
    env_file.write_text("TAKETURNS_API_PORT=\nTAKETURNS_API_JWT_SECRET=\n")
    settings = Settings.load(env_file)
    assert settings.api.port == 8000
    assert settings.api.jwt_secret is None


def test_a_missing_file_is_told(env_file: Path) -> None:
    """A file that is named but not there is an error and not the defaults."""
    with pytest.raises(InvalidSettings, match=r"no settings file .*settings\.env"):
        Settings.load(env_file)


def test_a_misspelt_name_is_told_with_the_right_one(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name is an error wherever it stands, with the name that was probably meant."""
    env_file.write_text("TAKETURNS_REDIS_ULR=redis://127.0.0.1\n")
    with pytest.raises(
        InvalidSettings, match=r"REDIS_ULR in .*settings\.env .* did you mean TAKETURNS_REDIS_URL\?"
    ):
        Settings.load(env_file)
    monkeypatch.setenv("TAKETURNS_RAEPER_INTERVAL", "5")
    with pytest.raises(
        InvalidSettings, match=r"in the environment .* did you mean TAKETURNS_REAPER_INTERVAL\?"
    ):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAKETURNS_REDIS_TIMEOUT", "1"),
        ("TAKETURNS_REDIS_TIMEOUT", "0"),
        ("TAKETURNS_REDIS_PREFIX", "a{b}"),
        ("TAKETURNS_LIMITER_WHEN_REDIS_IS_AWAY", "ajar"),
        ("TAKETURNS_LIMITER_DEFAULT_RATE_LIMIT", "often"),
        ("TAKETURNS_WORKER_MAX_CREDIT", "0"),
        ("TAKETURNS_API_PORT", "70000"),
        ("TAKETURNS_REAPER_INTERVAL", "-1"),
    ],
)
def test_a_bad_value_is_told_by_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable as the user wrote it."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=f"{name}: "):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("TAKETURNS_AMQP_URL", "redis://:hunter2@127.0.0.1", "amqp:// or amqps://"),
        ("TAKETURNS_AMQP_URL", "rabbit.example.com:5672", "amqp:// or amqps://"),
        ("TAKETURNS_AMQP_URL", "amqp://one//;redis://:hunter2@two", "amqp:// or amqps://"),
        ("TAKETURNS_MANAGEMENT_URL", "amqp://guest:hunter2@127.0.0.1:15672", "http:// or https://"),
        ("TAKETURNS_REDIS_URL", "http://:hunter2@127.0.0.1:6379", "redis:// or rediss:// or unix://"),
    ],
)
def test_an_url_of_another_kind_is_refused(
    name: str, value: str, accepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An URL that leads to another kind of server is refused with the accepted schemes, and not shown."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=f"^{name}: it must begin with {accepted}$") as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["amqp://a/vhost", "amqps://u:p@a:5671//", "AMQP://a", "pyamqp://a//", "amqp://a//;amqps://b//"]
)
def test_every_url_of_a_rabbitmq_is_accepted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TLS, with a vhost, by kombu's own name, and with others to fail over to."""
    monkeypatch.setenv("TAKETURNS_AMQP_URL", url)
    assert Settings.load().broker.amqp_url == url


def test_a_password_may_hold_a_semicolon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only RabbitMQ's URL may be several, with semicolons between."""
    monkeypatch.setenv("TAKETURNS_REDIS_URL", "redis://:a;b@127.0.0.1/0")
    assert Settings.load().redis.redis_url == "redis://:a;b@127.0.0.1/0"


@pytest.mark.parametrize(
    "line",
    ["TAKETURNS_API_PORT", "TAKETURNS_API_PORT 8000", "export TAKETURNS_API_PORT", "=8000", "X='hunter2"],
)
def test_a_line_that_says_nothing_is_told_by_its_number(
    line: str, env_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that is no NAME=value is an error with file and line, beside the other mistakes, and not shown."""
    env_file.write_text(f"# a comment\n\nTAKETURNS_WORKER_MAX_CREDIT=x\n\n{line}\n")
    with pytest.raises(InvalidSettings, match=r"settings\.env, line 5: accepted are NAME=value") as caught:
        Settings.load(env_file)
    assert "TAKETURNS_WORKER_MAX_CREDIT: " in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert not caplog.records


def test_what_dotenv_reads_is_read(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotes, export, comments behind a value, other programs' names and references to variables are understood."""
    monkeypatch.setenv("HERE", "shop")
    env_file.write_text(
        "export TAKETURNS_API_PORT = 9000  # ours\r\nOTHER=1\nTAKETURNS_REDIS_PREFIX=${HERE}.${OTHER}\n"
        "TAKETURNS_API_JWT_ISSUER='two\nlines'\n  # the end"
    )
    settings = Settings.load(env_file)
    assert settings.api.port == 9000
    assert settings.api.jwt_issuer == "two\nlines"
    assert settings.redis.redis_prefix == "shop.1"


def test_a_file_of_another_encoding_is_told(env_file: Path) -> None:
    """A file that is not UTF-8 is an error that names it."""
    env_file.write_bytes(b"TAKETURNS_API_JWT_ISSUER=caf\xe9\n")
    with pytest.raises(InvalidSettings, match=r"settings\.env is no text in UTF-8"):
        Settings.load(env_file)


def test_all_mistakes_are_told_together(env_file: Path) -> None:
    """Three mistakes cost one attempt, not three."""
    env_file.write_text("TAKETURNS_API_PORT=x\nTAKETURNS_WORKER_MAX_CREDIT=x\nTAKETURNS_NOTHING=x\n")
    with pytest.raises(InvalidSettings) as caught:
        Settings.load(env_file)
    for name in ("TAKETURNS_API_PORT", "TAKETURNS_WORKER_MAX_CREDIT", "TAKETURNS_NOTHING"):
        assert name in str(caught.value)


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The JWT secret is in no repr of the settings."""
    monkeypatch.setenv("TAKETURNS_API_JWT_SECRET", "correct-horse-battery-staple")
    settings = Settings.load()
    assert settings.api.jwt_secret is not None
    assert settings.api.jwt_secret.get_secret_value() == "correct-horse-battery-staple"
    assert "horse" not in repr(settings)


def test_a_default_rate_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default rate is a rate as everywhere; empty is none."""
    monkeypatch.setenv("TAKETURNS_LIMITER_DEFAULT_RATE_LIMIT", "100/1m:5")
    assert Settings.load().limiter.default_rate_limit == "100/1m:5"
    monkeypatch.setenv("TAKETURNS_LIMITER_DEFAULT_RATE_LIMIT", "")
    assert Settings.load().limiter.default_rate_limit is None


def test_a_default_backlog_cap_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default cap is a whole number from 1; empty is none."""
    monkeypatch.setenv("TAKETURNS_LIMITER_DEFAULT_MAX_BACKLOG", "500")
    assert Settings.load().limiter.default_max_backlog == 500
    monkeypatch.setenv("TAKETURNS_LIMITER_DEFAULT_MAX_BACKLOG", "")
    assert Settings.load().limiter.default_max_backlog is None
    for wrong in ("0", "2147483648"):
        monkeypatch.setenv("TAKETURNS_LIMITER_DEFAULT_MAX_BACKLOG", wrong)
        with pytest.raises(InvalidSettings, match="TAKETURNS_LIMITER_DEFAULT_MAX_BACKLOG: "):
            Settings.load()


def test_case_does_not_matter_in_the_file(env_file: Path) -> None:
    """A name in lower case is the same setting, as it is in the environment."""
    env_file.write_text("taketurns_redis_prefix=shop\n")
    assert Settings.load(env_file).redis.redis_prefix == "shop"


def test_an_empty_variable_is_the_default(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that Docker Compose passes on empty counts as not set, so the file's value holds."""
    monkeypatch.setenv("TAKETURNS_API_PORT", "")
    assert Settings.load().api.port == 8000
    env_file.write_text("TAKETURNS_API_PORT=9000\n")
    assert Settings.load(env_file).api.port == 9000


def test_a_drain_must_outlast_the_workers_answers(env_file: Path) -> None:
    """A drain that expires before the workers have confirmed it would never end in a removal."""
    env_file.write_text("TAKETURNS_REAPER_DRAIN_EXPIRY=3\nTAKETURNS_REAPER_CONFIRM_TIMEOUT=5\n")
    with pytest.raises(InvalidSettings, match="must be more than TAKETURNS_REAPER_CONFIRM_TIMEOUT"):
        Settings.load(env_file)
