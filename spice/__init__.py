"""From choice data to readable equations."""

__version__ = "0.1.0"
