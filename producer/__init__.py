"""Publish into Penstock: `Publisher`, and ready-made sources: demo, system, lines."""

from producer.publisher import Publisher

__all__ = ["Publisher"]
