"""Locks of tenants, which one holder has at a time, and tasks of which one runs at a time."""
