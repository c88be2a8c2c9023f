"""The benchmark: one FIFO queue, a stock queue a user, celery-ranch and taketurns, side by side: ``make bench``."""
