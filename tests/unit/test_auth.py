"""Tokens: who is let in, and as whom."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from taketurns.api.auth import Caller, NotAuthenticated, Tokens
from taketurns.errors import InvalidSettings, InvalidTenant
from taketurns.settings import ApiSettings

SECRET = "a secret that is long enough for HS256"
DAY = 86_400


def api_settings(**changes: Any) -> ApiSettings:
    return ApiSettings().model_copy(update={"jwt_secret": SecretStr(SECRET), **changes})


def signed(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a token of exactly these claims, and an expiry in a day unless one is given.

    Those of parameters are made long before their test runs.
    """
    claims = {"exp": time.time() + DAY, **claims}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, algorithm)


def test_an_issued_token_speaks_for_its_tenant() -> None:
    """What issue() makes, verify() reads back."""
    tokens = Tokens(api_settings())
    assert tokens.verify(tokens.issue("acme")) == Caller("acme", operator=False)
    assert tokens.verify(tokens.issue("root", operator=True)) == Caller("root", operator=True)


def test_claims_are_configurable() -> None:
    """Tenant and role are read from the claims that the settings name, and from no other."""
    settings = api_settings(jwt_tenant_claim="org", jwt_role_claim="rights")
    tokens = Tokens(settings)
    token = signed(sub="mallory", org="acme", role="operator", rights="reader")
    assert tokens.verify(token) == Caller("acme", operator=False)
    assert tokens.verify(tokens.issue("acme", operator=True)) == Caller("acme", operator=True)


@pytest.mark.parametrize(
    ("role", "operator"),
    [
        ("operator", True),
        (["reader", "operator"], True),
        ("operators", False),
        (["reader"], False),
        ({"operator": True}, False),
        (True, False),
        (None, False),
    ],
)
def test_only_the_exact_role_makes_an_operator(role: object, operator: bool) -> None:
    """The role claim is, or lists, exactly ``operator``; anything like it is not enough."""
    assert Tokens(api_settings()).verify(signed(sub="acme", role=role)).operator is operator


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("abc", id="no token"),
        pytest.param("a.b.c", id="not base64"),
        pytest.param("ä.ö.ü", id="not ASCII"),
        pytest.param(signed(secret="another secret of more than 32 bytes", sub="acme"), id="another secret"),
        pytest.param(signed(secret=SECRET * 2, algorithm="HS512", sub="acme"), id="another algorithm"),
        pytest.param(jwt.encode({"sub": "acme", "exp": 4e9}, "", algorithm="none"), id="no algorithm"),
        pytest.param(signed(sub="acme", exp=time.time() - 60), id="expired"),
        pytest.param(signed(sub="acme", nbf=time.time() + DAY / 2), id="not valid yet"),
        pytest.param(signed(sub=7), id="the tenant is a number"),
    ],
)
def test_what_proves_nothing_is_refused(token: str) -> None:
    """A token is only good with our signature, a running time and a tenant; the reason stays with us."""
    with pytest.raises(NotAuthenticated) as refusal:
        Tokens(api_settings()).verify(token)
    assert str(refusal.value) == "the bearer token is not valid, or has expired"


@pytest.mark.parametrize("claim", ["exp", "sub"])
def test_a_claim_that_is_missing_is_named(claim: str) -> None:
    """Who has the secret and forgets a claim is told which; a wrong signature is told nothing."""
    claims = {"sub": "acme", "exp": time.time() + 60}
    del claims[claim]
    with pytest.raises(NotAuthenticated, match=f"the token has no claim '{claim}'"):
        Tokens(api_settings()).verify(jwt.encode(claims, SECRET, algorithm="HS256"))
    with pytest.raises(NotAuthenticated, match="not valid, or has expired"):
        Tokens(api_settings()).verify(jwt.encode(claims, SECRET[::-1], algorithm="HS256"))


def test_a_deeply_nested_header_is_refused() -> None:
    """A header nested beyond Python's recursion limit is a bad token like any other."""
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","x":' + b"[" * 20000 + b"]" * 20000 + b"}").decode()
    payload = base64.urlsafe_b64encode(json.dumps({"sub": "acme"}).encode()).decode().rstrip("=")
    with pytest.raises(NotAuthenticated):
        Tokens(api_settings()).verify(f"{header.rstrip('=')}.{payload}.x")


@pytest.mark.parametrize("tenant", ["../x", "a b", "a/b", "", "x" * 129, "日本", "a\x00b"])
def test_a_tenant_claim_of_another_form_is_refused_and_named(tenant: str) -> None:
    """A good token whose tenant could be no tenant says which claim is wrong and what is accepted."""
    with pytest.raises(NotAuthenticated, match=r"claim 'sub' is no tenant id; accepted is 1 to 128"):
        Tokens(api_settings()).verify(signed(sub=tenant))


def test_issuer_and_audience_are_checked_when_set() -> None:
    """With an issuer or audience in the settings, tokens without it or of another are refused."""
    for name, claim in (("jwt_issuer", "iss"), ("jwt_audience", "aud")):
        tokens = Tokens(api_settings(**{name: "shop"}))
        assert tokens.verify(signed(sub="acme", **{claim: "shop"})).tenant == "acme"
        assert tokens.verify(tokens.issue("acme")).tenant == "acme"
        for wrong in ({}, {claim: "other"}):
            with pytest.raises(NotAuthenticated):
                tokens.verify(signed(sub="acme", **wrong))


def test_issuer_and_audience_do_not_matter_when_not_set() -> None:
    """Without them in the settings, a token may carry any."""
    assert Tokens(api_settings()).verify(signed(sub="acme", iss="who", aud="ever")).tenant == "acme"


def test_a_token_ends_with_its_time() -> None:
    """An issued token expires after the seconds that were asked for."""
    claims = jwt.decode(Tokens(api_settings()).issue("acme", seconds=90), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 90


def test_no_token_for_what_can_not_be_a_tenant() -> None:
    """issue() refuses a tenant id of another form."""
    with pytest.raises(InvalidTenant):
        Tokens(api_settings()).issue("a b")


@pytest.mark.parametrize(
    ("secret", "problem"), [(None, "is not set"), ("", "is not set"), ("x" * 31, "is only 31 bytes long")]
)
def test_a_weak_secret_is_refused(secret: str | None, problem: str) -> None:
    """Without a secret of 32 bytes there are no tokens, and the message says how to make one."""
    settings = api_settings(jwt_secret=None if secret is None else SecretStr(secret))
    with pytest.raises(InvalidSettings, match=rf"TAKETURNS_API_JWT_SECRET {problem}.*secrets\.token_urlsafe"):
        Tokens(settings)


def test_the_secret_is_counted_in_bytes() -> None:
    """16 characters of two bytes each are 32 bytes."""
    tokens = Tokens(api_settings(jwt_secret=SecretStr("ä" * 16)))
    assert tokens.verify(tokens.issue("acme")).tenant == "acme"
