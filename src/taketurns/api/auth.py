"""Who is calling: JSON Web Tokens, and nothing of FastAPI."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import jwt

from taketurns.errors import InvalidSettings, InvalidTenant, TaketurnsError
from taketurns.settings import ApiSettings, variable
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPERATOR: Final = "operator"
"""The role that may see and change every tenant."""

INVALID: Final = "the bearer token is not valid, or has expired"
"""All that the holder of a bad token is told."""

_ALGORITHM: Final = "HS256"
_SHORTEST_SECRET: Final = 32
_CLOCK_SKEW: Final = 10.0
_MAKE_ONE: Final = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"


class NotAuthenticated(TaketurnsError):
    """The token does not say who is calling; the message says no more than the caller may know."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a verified token speaks for.

    Attributes:
        tenant: the owner in whose name the caller acts, and whose tasks it sees. Which tenant's queue and limits
            these have is up to the app's ``tenant_key``.
        operator: whether the caller may also see and change every other tenant's settings.
        expires_at: when the token or key ends, in seconds since 1970; None: never, as far as is known.
    """

    tenant: str
    operator: bool = False
    expires_at: float | None = field(default=None, compare=False)


class Tokens:
    """Makes and verifies tokens that are signed with the API's own secret.

    Args:
        settings: the secret, the names of the claims, and the issuer and audience if they are to be checked.

    Raises:
        InvalidSettings: the secret is missing or shorter than 32 bytes.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self._secret = _secret(settings)
        self._settings = settings

    def issue(self, tenant: str, *, operator: bool = False, seconds: float = 24 * 3600.0) -> str:
        """Return a token for ``tenant`` that is valid for ``seconds`` from now.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
        """
        now = int(time.time())
        claims: dict[str, Any] = {"iat": now, "exp": now + round(seconds)}
        if self._settings.jwt_issuer:
            claims["iss"] = self._settings.jwt_issuer
        if self._settings.jwt_audience:
            claims["aud"] = self._settings.jwt_audience
        if operator:
            claims[self._settings.jwt_role_claim] = OPERATOR
        claims[self._settings.jwt_tenant_claim] = validate_tenant(tenant)
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def verify(self, token: str) -> Caller:
        """Return whom ``token`` speaks for.

        Raises:
            NotAuthenticated: its signature, its time, its issuer or its audience is wrong, it never expires,
                or its tenant claim is missing or is no tenant id.
        """
        return caller_of(token, self._secret, [_ALGORITHM], self._settings)


def caller_of(token: str, key: bytes | jwt.PyJWK, algorithms: Sequence[str], settings: ApiSettings) -> Caller:
    """Return whom a token speaks for.

    Args:
        token: the token.
        key: what its signature is checked with.
        algorithms: those that are accepted; they must fit the key, since a public key is no secret.
        settings: the names of the claims, and the issuer and audience if they are to be checked.

    Raises:
        NotAuthenticated: its signature, its time, its issuer or its audience is wrong, it never expires,
            or its tenant claim is missing or is no tenant id.
    """
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            issuer=settings.jwt_issuer or None,
            audience=settings.jwt_audience or None,
            leeway=_CLOCK_SKEW,
            options={
                "require": ["exp", settings.jwt_tenant_claim],
                "verify_iss": bool(settings.jwt_issuer),
                "verify_aud": bool(settings.jwt_audience),
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.MissingRequiredClaimError as error:  # told only to whom the signature is right
        raise NotAuthenticated(f"the token has no claim {error.claim!r}") from None
    except (jwt.PyJWTError, ValueError, RecursionError):
        # Which check failed would help whoever is guessing, and the cause holds parts of the token.
        raise NotAuthenticated(INVALID) from None
    try:
        tenant = validate_tenant(claims[settings.jwt_tenant_claim])
    except InvalidTenant as error:
        raise NotAuthenticated(
            f"the token's claim {settings.jwt_tenant_claim!r} is no tenant id; accepted is {error.accepted}"
        ) from None
    return Caller(
        tenant,
        operator=_is_operator(claims, settings.jwt_role_claim),
        expires_at=claims["exp"] + _CLOCK_SKEW,
    )


def _is_operator(claims: Mapping[str, Any], claim: str) -> bool:
    """Tell whether the role claim is, or lists, the operator role."""
    role = claims.get(claim)
    return role == OPERATOR or (isinstance(role, list) and OPERATOR in role)


def _secret(settings: ApiSettings) -> bytes:
    secret = settings.jwt_secret.get_secret_value().encode() if settings.jwt_secret else b""
    if len(secret) < _SHORTEST_SECRET:
        problem = f"is only {len(secret)} bytes long" if secret else "is not set"
        raise InvalidSettings(
            f"{variable(ApiSettings, 'jwt_secret')} {problem}; {_SHORTEST_SECRET} bytes at least are needed. "
            f"Make a secret with: {_MAKE_ONE}; or have the API accept your identity provider's tokens by "
            f"{variable(ApiSettings, 'jwks_url')}"
        )
    return secret
