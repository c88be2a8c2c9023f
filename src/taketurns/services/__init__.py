"""Private RabbitMQ and Redis nodes for development, demo and tests."""
