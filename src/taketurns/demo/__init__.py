"""The demo: a noisy neighbour beside others, through tenant queues and through one queue. ``make demo`` runs it."""
