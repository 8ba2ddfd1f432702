"""The laws that every transformation here holds, for a rule or a transformation of one's own."""

from gradxform.testing.check import Report, check

__all__ = ["Report", "check"]
