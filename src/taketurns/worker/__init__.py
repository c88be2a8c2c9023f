"""The worker's side: tenant queues, served in turn, inside an ordinary Celery worker."""
