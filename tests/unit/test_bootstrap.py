"""What `make setup` does to a machine that it installs servers on, as far as it can be told without installing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

BOOTSTRAP = Path(__file__).parents[2] / ".ci" / "bootstrap"
UNITS = ["rabbitmq-server.service", "epmd.service", "epmd.socket"]


def disable(tmp_path: Path, *programs: str) -> list[str]:
    """Disable the units where only these programs are installed; return the calls of them."""
    function = BOOTSTRAP.read_text().partition("\ndisable()")[2].partition("\n}\n")[0]
    for name in programs:
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$DPKG_MAINTSCRIPT_PACKAGE {name} $*"\n')
        (tmp_path / name).chmod(0o755)
    for name in ("env", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    script = f'has() {{ command -v "$1" >/dev/null; }}; as_root() {{ "$@"; }}\ndisable() {function}\n}}\ndisable "$@"'
    ran = subprocess.run(
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", script, "bootstrap", *UNITS],
        env={"PATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    return [line.strip() for line in ran.stdout.splitlines()]


def test_units_are_disabled_without_systemd_too(tmp_path: Path) -> None:
    """A container's disk may boot one day: what the packages enabled is disabled by Debian's own helper."""
    calls = disable(tmp_path, "deb-systemd-helper", "update-rc.d")
    assert calls[0] == f"taketurns deb-systemd-helper disable {' '.join(UNITS)}"


def test_systemd_disables_them_where_it_is_installed(tmp_path: Path) -> None:
    """With systemctl it is the only one that is asked."""
    calls = disable(tmp_path, "systemctl", "deb-systemd-helper", "update-rc.d")
    assert calls == [f"systemctl --quiet disable {' '.join(UNITS)}"]
