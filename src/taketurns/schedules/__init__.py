"""Schedules: tasks that are submitted for tenants again and again, by ``celery beat``."""

from taketurns.schedules.schedule import Schedule
from taketurns.schedules.schedules import Schedules

__all__ = ["Schedule", "Schedules"]
