"""The app of the API's tests as a worker finds it: ``celery -A support.api_app worker``."""

from __future__ import annotations

from support.api_server import shop
from taketurns import Settings

app = shop(Settings.load()).app
