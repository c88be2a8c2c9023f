"""Results in a database, by Celery's SQLAlchemy backend: for teams that keep them for months."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from support.api_server import SECRET, Client, assert_problem, serving
from support.databases import postgresql
from support.proxy import running
from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a database of PostgreSQL's."""
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/results.sqlite"
    return str(request.getfixturevalue("server"))


@contextmanager
def api_of(shop: Any, database: str) -> Iterator[Client]:
    """Serve the API of the shop, whose results are in the database."""
    configure(shop, database)
    api = shop.turns.settings.api.model_copy(update={"jwt_secret": SecretStr(SECRET)})
    shop.turns.settings = replace(shop.turns.settings, api=api)
    with serving(shop.turns) as client:
        yield client


def configure(shop: Any, database: str) -> None:
    shop.app.conf.update(result_backend=f"db+{database}", result_extended=True)


def submit(client: Client, name: str, label: str, **options: Any) -> str:
    response = client.post("/tasks", json={"name": f"support.shop.{name}", "args": [label], **options})
    assert response.status_code == 202, response.text
    return str(response.json()["task_id"])


def state(client: Client, task_id: str) -> dict[str, Any]:
    response = client.get(f"/tasks/{task_id}")
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_results_of_tenants_are_kept_in_a_database(
    database: str, shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """The API, ``AsyncResult`` and a chord have them, with what was called; what has expired is cleaned up."""
    options: dict[str, Any] = {
        "SHOP_RESULTS": f"db+{database}",
        "SHOP_RESULTS_EXTENDED": "1",
        "TAKETURNS_WORKER_SERVE_TENANTS": "always",
    }
    with (
        worker(settings, tmp_path, "-P", "prefork", "-c", "2", "-Q", "ordinary", **options),
        api_of(shop, database) as api,
        api.as_("acme") as acme,
        api.as_("bolt") as bolt,
    ):
        done, failed = submit(acme, "work", "a"), submit(acme, "fail", "f")
        eventually(lambda: state(acme, done)["status"] == "SUCCESS", within=20)
        assert state(acme, done)["result"] == "a"
        eventually(lambda: state(acme, failed)["status"] == "FAILURE", within=20)
        assert state(acme, failed)["error"] == {"type": "ValueError", "message": "no f"}
        assert_problem(bolt.get(f"/tasks/{done}"), 404, code="not_found")
        after = submit(acme, "work", "never", depends_on=[failed])
        eventually(lambda: state(acme, after)["status"] == "FAILURE", within=20)

        result = shop.app.AsyncResult(done)
        assert result.get(timeout=20) == "a"
        assert (result.name, result.args, result.kwargs) == ("support.shop.work", ["a"], {})
        assert (result.queue, result.retries) == ("usersequence_acme", 0)
        assert shop.total("acme").apply_async().get(timeout=30) == 10

    engine = create_engine(database)
    with engine.begin() as connection:
        history = text(
            "SELECT name FROM celery_taskmeta WHERE queue = 'usersequence_acme' ORDER BY date_done"
        )
        names = [row.name.rpartition(".")[2] for row in connection.execute(history)]
        assert sorted(names) == ["add", "add", "add", "fail", "work", "work"]
        long_ago = datetime.now(UTC) - timedelta(days=100)
        old = text("UPDATE celery_taskmeta SET date_done = :then WHERE task_id = :id")
        connection.execute(old, {"then": long_ago.replace(tzinfo=None), "id": failed})
    shop.app.conf.result_expires = timedelta(days=90)
    del shop.app._local.backend
    shop.app.tasks["celery.backend_cleanup"]()
    assert [shop.app.AsyncResult(each).state for each in (done, failed)] == ["SUCCESS", "PENDING"]
    engine.dispose()


@pytest.mark.parametrize(
    "away", ["sqlite:////nowhere/results.sqlite", "postgresql+psycopg://nobody@127.0.0.1:1/none"]
)
def test_without_its_database_a_worker_goes_on(
    away: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """It starts, and each task runs once; tasks are accepted, and only their results can't be told: 503."""
    with (
        api_of(shop, away) as api,
        api.as_("acme") as acme,
        worker(settings, tmp_path, "-P", "threads", "-c", "3", SHOP_RESULTS=f"db+{away}") as this,
    ):
        task_ids = [submit(acme, name, name) for name in ("work", "fail", "work")]
        eventually(lambda: sorted(ledger.labels()) == ["fail", "work", "work"], within=20)
        assert_problem(acme.get(f"/tasks/{task_ids[0]}"), 503, code="results_unavailable")
        eventually(lambda: shop.turns.management.queue("usersequence_acme").unacknowledged == 0, within=40)
        assert "is not in the result backend" in this.output
        assert this.stop() == 0
    assert len(ledger) == 3


def test_a_database_that_comes_back_is_used_again(
    server: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """By the same worker and the same API; what ended meanwhile has no result, and ran once."""
    with (
        running(server) as between,
        api_of(shop, between.url) as api,
        api.as_("acme") as acme,
        worker(settings, tmp_path, "-P", "threads", "-c", "1", SHOP_RESULTS=f"db+{between.url}") as this,
    ):
        before = submit(acme, "work", "before")
        eventually(lambda: state(acme, before)["status"] == "SUCCESS", within=20)
        between.refuse()
        began = time.monotonic()
        meanwhile = submit(acme, "work", "meanwhile")
        eventually(lambda: "meanwhile" in ledger.labels(), within=20)
        eventually(lambda: "is not in the result backend" in this.output, within=20)
        assert_problem(acme.get(f"/tasks/{before}"), 503, code="results_unavailable")
        assert time.monotonic() - began < 20
        between.accept()
        after = submit(acme, "work", "after")
        eventually(lambda: "after" in ledger.labels(), within=20)
        eventually(lambda: acme.get(f"/tasks/{after}").json().get("status") == "SUCCESS", within=20)
        assert state(acme, before)["result"] == "before"
        lost = state(acme, meanwhile)
        assert (lost["status"], lost["result"]) == ("SUCCESS", None)  # as its record says
    assert ledger.labels() == ["before", "meanwhile", "after"]
