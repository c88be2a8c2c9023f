"""What each process has to be allowed in RabbitMQ; "Permissions" in docs/operations.md has it for operators. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a user may do in a vhost, as RabbitMQ's regular expressions of names."""

    configure: str
    write: str
    read: str


PERMISSIONS: Final[Mapping[str, Permissions]] = MappingProxyType(
    {
        "publisher": Permissions(
            configure=r"^(usersequence([._].*)?|celery\.pidbox|celeryev)$",
            write=r"^(usersequence([._].*)?|celery\.pidbox|celeryev)$",
            read=r"^usersequence(\.lost|\.after|\.delay\..*)?$",
        ),
        "api": Permissions(
            configure=r"^(usersequence([._].*)?|celery\.pidbox|(.*\.)?reply\.celery\.pidbox|celeryev)$",
            write=r"^(usersequence([._].*)?|(.*\.reply\.)?celery\.pidbox|celeryev)$",
            read=r"^(usersequence(\.lost|\.dead|\.(after|delay)(\..*)?)?|(.*\.)?reply\.celery\.pidbox)$",
        ),
        "worker": Permissions(
            configure=r"^(usersequence([._].*)?|(.*\.)?celery\.pidbox|celeryev(\..*)?|celery)$",
            write=r"^(usersequence([._].*)?|(.*\.)?celery\.pidbox|celeryev(\..*)?|celery|amq\.default)$",
            read=r"^(usersequence(\.lost|\.(after|delay)(\..*)?|_.*)?|(.*\.)?celery\.pidbox|celeryev(\..*)?|celery)$",
        ),
        "reaper": Permissions(
            configure=r"^(usersequence([._].*)?|celery\.pidbox|(.*\.)?reply\.celery\.pidbox)$",
            write=r"^(usersequence([._].*)?|(.*\.reply\.)?celery\.pidbox|amq\.default)$",
            read=r"^(usersequence(\.lost|\.(after|delay)(\..*)?)?|(.*\.)?reply\.celery\.pidbox)$",
        ),
    }
)
"""Of what publishes and no more, of the API with the operators' endpoints, of workers and of the reaper."""
