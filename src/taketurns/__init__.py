"""Celery on RabbitMQ with a durable queue for every tenant, served in turn."""

__version__ = "0.1.0"
