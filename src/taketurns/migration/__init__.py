"""Adopting tenant queues step by step, and the way back: canary, adoption of old queues, rollback."""
