"""Publish into Penstock: `Publisher`, and ready-made sources: demo, system, lines."""

from broker.wire import Content
from producer.publisher import Publisher

__all__ = ["Content", "Publisher"]
