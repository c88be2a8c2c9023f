"""``celery -A support.secure_worker worker``."""

from support.secure_app import build

app = build()
