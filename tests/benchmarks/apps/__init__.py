"""The Celery apps of the systems compared, for the benchmark's own process and for the workers."""
