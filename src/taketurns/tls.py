"""TLS: which certificates are gone by, and what is wrong with one that does not fit.

The same for RabbitMQ, its management API and Redis; each of their clients has other names for it.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final, NoReturn

from requests.adapters import HTTPAdapter

from taketurns.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from taketurns.settings import TlsSettings

CA_FILE: Final = "TAKETURNS_TLS_CA_FILE"
CERT_FILE: Final = "TAKETURNS_TLS_CERT_FILE"
KEY_FILE: Final = "TAKETURNS_TLS_KEY_FILE"
CHECK_HOSTNAME: Final = "TAKETURNS_TLS_CHECK_HOSTNAME"

_OTHER_NAME: Final = frozenset(
    {62, 64}
)  # OpenSSL's codes of a host name, and of an address, that does not fit
_EXPIRED: Final = 10
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})


def check_files(settings: TlsSettings) -> None:
    """See that the files are there and hold what they should; they are read anew for each connection.

    Raises:
        InvalidSettings: one can't be used; the message names its setting.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.ca_file is not None:
        _check_readable(CA_FILE, settings.ca_file)
        try:
            context.load_verify_locations(settings.ca_file)
        except ssl.SSLError as error:
            raise InvalidSettings(
                f"{CA_FILE}: {settings.ca_file} holds no certificate in PEM form"
            ) from error
    if settings.cert_file is not None:
        _check_readable(CERT_FILE, settings.cert_file)
        if settings.key_file is not None:
            _check_readable(KEY_FILE, settings.key_file)
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_password)
        except ssl.SSLError as error:
            key = f"{KEY_FILE} {settings.key_file}" if settings.key_file else f"no {KEY_FILE}"
            wrong = (
                "the key is another certificate's"
                if error.reason == "KEY_VALUES_MISMATCH"
                else "a certificate or its private key is missing in them, in PEM form"
            )
            raise InvalidSettings(f"{CERT_FILE} {settings.cert_file}, {key}: {wrong}") from error


def amqp_options(settings: TlsSettings) -> dict[str, Any]:
    """Return what Celery's ``broker_use_ssl`` has to be."""
    return {
        "cert_reqs": ssl.CERT_REQUIRED,
        # None is the host of the URL. Without this key py-amqp takes any host's certificate.
        **({"server_hostname": None} if settings.check_hostname else {}),
        **_files(settings, ca="ca_certs", cert="certfile", key="keyfile"),
    }


def redis_options(settings: TlsSettings) -> dict[str, Any]:
    """Return what redis-py, and so Celery's ``redis_backend_use_ssl``, has to be told."""
    return {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": settings.check_hostname,
        **_files(settings, ca="ssl_ca_certs", cert="ssl_certfile", key="ssl_keyfile"),
    }


def https_options(settings: TlsSettings) -> dict[str, Any]:
    """Return the options of each of requests' requests; the rest is up to [HttpsAdapter][]."""
    options: dict[str, Any] = {}
    if settings.ca_file is not None:
        options["verify"] = str(settings.ca_file)
    if settings.cert_file is not None:
        options["cert"] = (str(settings.cert_file), str(settings.key_file or settings.cert_file))
    return options


class HttpsAdapter(HTTPAdapter):
    """Makes requests' connections; beside certifi's CAs it goes by the system's, as the other clients do."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See the base class."""
        if self._settings.ca_file is None:
            options["ssl_context"] = ssl.create_default_context()
        if not self._settings.check_hostname:
            options["assert_hostname"] = False
        super().init_poolmanager(*args, **options)


def hint(error: BaseException) -> str:
    """Return what to do about an error in which TLS has failed; empty if it is another one."""
    failure = _failure(error)
    if failure is None:
        return ""
    reason = failure.reason or ""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return _about_servers_certificate(failure.verify_code)
    if "ALERT" in reason and ("CERT" in reason or "UNKNOWN_CA" in reason):
        return f"the server asks for a client certificate that its CA has signed: {CERT_FILE} and {KEY_FILE} name it"
    if isinstance(failure, ssl.SSLEOFError):
        return (
            f"the server has ended it, perhaps for want of a client certificate that it accepts: {CERT_FILE}"
        )
    return "the server speaks no TLS on this port" if reason in _NO_TLS else ""


def with_hint(error: BaseException) -> str:
    """Return an error's text, with what to do about it if TLS has failed."""
    return f"{error}; {said}" if (said := hint(error)) else str(error)


def secured(sock: object) -> str:
    """Return how a connection is secured, such as ``TLSv1.3``; empty if it is not."""
    return sock.version() or "" if isinstance(sock, ssl.SSLSocket) else ""


def unverified(sock: object) -> str:
    """Return what a TLS connection does not verify of its server; empty if it verifies all, or is none."""
    if not isinstance(sock, ssl.SSLSocket):
        return ""
    if sock.context.verify_mode != ssl.CERT_REQUIRED:
        return "the server's certificate"
    return "" if sock.context.check_hostname else "that the server's certificate names its host"


def _failure(error: BaseException) -> ssl.SSLError | None:
    """Return what went wrong below an error; requests' have several layers, and not all of them know it.

    An error that is raised again while one is handled that it has caused is below itself: each is looked at once.
    """
    seen: set[int] = set()
    below: list[BaseException | None] = [error]
    while below:
        each = below.pop()
        if isinstance(each, ssl.SSLError):
            return each
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            below += [each.__context__, each.__cause__]
    return None


def _files(settings: TlsSettings, *, ca: str, cert: str, key: str) -> Mapping[str, str]:
    named = {ca: settings.ca_file, cert: settings.cert_file, key: settings.key_file or settings.cert_file}
    return {option: str(path) for option, path in named.items() if path is not None}


def _check_readable(setting: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise InvalidSettings(f"{setting}: {path} can't be read: {error.strerror}") from error


def _no_password() -> NoReturn:
    """Be asked for the password of a private key, which would otherwise be asked of the terminal."""
    raise InvalidSettings(f"{KEY_FILE}: the key is encrypted; accepted is one that needs no password")


def _about_servers_certificate(code: int) -> str:
    if code in _OTHER_NAME:
        return (
            "the host of the URL must be one that the server's certificate names "
            f"({CHECK_HOSTNAME}=false accepts any)"
        )
    if code == _EXPIRED:
        return "the server's certificate has to be renewed"
    return f"{CA_FILE} must name the CA that signed the server's certificate"
