"""What breaks, and whether every task is accounted for: ``make chaos``. The short versions run in ``make test``."""
