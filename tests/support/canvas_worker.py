"""``celery -A support.canvas_worker worker``; with CANVAS_STOCK set a worker without taketurns' consumer."""

import os

from support.canvas import build

app = build(stock=bool(os.environ.get("CANVAS_STOCK")))
