"""Tokens of an identity provider, whose keys the API fetches over real HTTP."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.api_server import assert_problem, serving, shop
from support.issuer import MAKERS, Issuer, issuing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from support.api_server import Client
    from taketurns.settings import Settings

COOLDOWN = 0.5
"""Seconds between two looks of the API at the keys."""
TIMEOUT = 2.0
"""Seconds that each look has."""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture
def api(issuer: Issuer, settings: Settings) -> Iterator[Client]:
    """A client of an API that knows no secret, only where the keys are."""
    with serving(with_keys_of(issuer, settings)) as client:
        yield client


def with_keys_of(issuer: Issuer, settings: Settings, **changes: Any) -> Any:
    quick = {"jwks_cooldown": COOLDOWN, "jwks_timeout": TIMEOUT}
    return shop(settings, **{"jwt_secret": None, "jwks_url": issuer.url, **quick, **changes})


def me(api: Client, token: str) -> httpx.Response:
    return api.get("/me", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("algorithm", list(MAKERS))
def test_a_token_of_the_provider_speaks_for_its_tenant(algorithm: str, issuer: Issuer, api: Client) -> None:
    """RSA, elliptic curves and Edwards curves; one look serves many tokens."""
    issuer.rotate("k", algorithm)
    for _ in range(3):
        assert me(api, issuer.token("k")).json()["tenant"] == "acme"
    assert me(api, issuer.token("k", role="operator")).json()["operator"] is True
    assert issuer.asked == 1


def test_a_new_key_counts_and_the_old_one_no_more(
    issuer: Issuer, api: Client, eventually: Callable[..., None]
) -> None:
    """A key that is not known yet is looked for; what the provider took back is refused then."""
    old = issuer.token("first")
    assert me(api, old).status_code == 200
    issuer.rotate("second")
    new = issuer.token("second")
    eventually(lambda: me(api, new).status_code == 200, within=COOLDOWN + 5)
    assert_problem(me(api, old), 401, code="not_authenticated")


def test_tokens_that_name_unknown_keys_do_not_hammer_the_provider(issuer: Issuer, api: Client) -> None:
    """Each is refused, and the provider is asked once in a cooldown at most."""
    known = issuer.token("first")
    issuer.rotate("other")
    foreign = issuer.token("other")
    issuer.rotate("first")
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: me(api, foreign), range(40)))
    seconds = time.monotonic() - begun
    assert {each.status_code for each in answers} == {401}
    assert issuer.asked <= 1 + seconds / COOLDOWN
    assert_problem(me(api, known), 401, code="not_authenticated")  # of the same id, and another key


def test_what_is_not_signed_by_the_provider_is_refused(issuer: Issuer, api: Client) -> None:
    """The public key as a secret, no signature at all, and a signature of somebody else."""
    issuer.rotate("k", "RS256")
    good = issuer.token("k")
    assert me(api, good).status_code == 200
    claims = {"sub": "acme", "exp": time.time() + 600}
    pem = issuer.public_key("k").public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, payload, signature = good.split(".")
    stranger = MAKERS["RS256"]()
    for token in (
        _hs256(claims, pem, "k"),
        jwt.encode(claims, "", "none", headers={"kid": "k"}),
        jwt.encode(claims, stranger, "RS256", headers={"kid": "k"}),
        jwt.encode(claims, stranger, "PS256", headers={"kid": "k"}),
        jwt.encode(claims, stranger, "RS256"),
        f"{header}.{payload}.{signature[:-6]}AAAAAA",
    ):
        assert_problem(me(api, token), 401, code="not_authenticated")


def test_issuer_audience_and_times_are_checked(issuer: Issuer, settings: Settings) -> None:
    """A token of another issuer, for another audience, too old or too young is refused."""
    turns = with_keys_of(issuer, settings, jwt_issuer="us", jwt_audience="shop")
    now = time.time()
    with serving(turns) as api:
        good = {"iss": "us", "aud": ["shop", "other"]}
        assert me(api, issuer.token("first", **good)).status_code == 200
        for change in (
            {"iss": "them"},
            {"aud": "other"},
            {"exp": now - 60},
            {"nbf": now + 60},
            {"sub": "a b"},
        ):
            assert me(api, issuer.token("first", **{**good, **change})).status_code == 401, change
        assert me(api, issuer.token("first")).status_code == 401


@pytest.mark.parametrize("hang", [0.0, 5.0])
def test_a_provider_that_is_away_from_the_start(
    hang: float, issuer: Issuer, settings: Settings, eventually: Callable[..., None]
) -> None:
    """The API starts, says when to try again, answers others meanwhile, and needs no restart."""
    issuer.away, issuer.hang = True, hang
    with serving(with_keys_of(issuer, settings)) as api, ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        waiting = [pool.submit(me, api, issuer.token("first")) for _ in range(4)]
        assert api.get("/health/live").status_code == 200
        assert not (hang and any(each.done() for each in waiting)), "it waited for the provider"
        for each in waiting:
            assert_problem(each.result(), 503, code="signing_keys_unavailable")
            assert int(each.result().headers["Retry-After"]) >= 1
        assert time.monotonic() - begun < TIMEOUT + 3
        issuer.away, issuer.hang = False, 0.0
        eventually(lambda: me(api, issuer.token("first")).status_code == 200, within=10)


def test_known_keys_go_on_while_the_provider_is_away(
    issuer: Issuer, settings: Settings, eventually: Callable[..., None]
) -> None:
    """Even when they are due to be fetched again; a token of an unknown key can't be checked meanwhile."""
    with serving(with_keys_of(issuer, settings, jwks_lifetime=0.1)) as api:
        token = issuer.token("first")
        assert me(api, token).status_code == 200
        issuer.away = True
        asked = issuer.asked
        eventually(lambda: me(api, token).status_code == 200 and issuer.asked > asked + 1)
        issuer.rotate("second")
        assert_problem(me(api, issuer.token("second")), 503, code="signing_keys_unavailable")
        assert me(api, token).status_code == 200


def test_the_apis_own_tokens_may_be_accepted_too(issuer: Issuer, settings: Settings) -> None:
    """With a secret beside the URL both kinds of tokens are valid."""
    turns = shop(settings, jwks_url=issuer.url)
    with serving(turns) as api, api.as_("own") as own:
        assert own.get("/me").json()["tenant"] == "own"
        assert me(api, issuer.token("first")).json()["tenant"] == "acme"


def _hs256(claims: dict[str, Any], secret: bytes, key_id: str) -> str:
    """Sign with a PEM, which PyJWT itself refuses to do."""
    message = jwt.encode(claims, "x" * 32, "HS256", headers={"kid": key_id}).rpartition(".")[0]
    algorithm = jwt.get_algorithm_by_name("HS256")
    return f"{message}.{jwt.utils.base64url_encode(algorithm.sign(message.encode(), secret)).decode()}"
