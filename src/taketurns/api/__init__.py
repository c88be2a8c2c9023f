"""The HTTP API. ``taketurns.api.app.create_app`` makes it; ``taketurns.api.auth`` needs no FastAPI."""
