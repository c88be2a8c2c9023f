"""The doctor: looks at everything that taketurns depends on and says what to do about what is wrong."""

from taketurns.doctor.examination import examine
from taketurns.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
