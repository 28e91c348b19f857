"""Publish into Penstock and read from it: `Publisher`, `Subscriber`; and ready-made sources of events."""

from broker.gap import Gap
from broker.wire import Content
from producer.confirmation import Confirmation
from producer.event import Event
from producer.publisher import Publisher
from producer.subscriber import Subscriber

__all__ = ["Confirmation", "Content", "Event", "Gap", "Publisher", "Subscriber"]
