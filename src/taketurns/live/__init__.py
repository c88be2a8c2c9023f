"""The events of tasks as they happen: told in Redis once, passed on to everybody who listens."""
