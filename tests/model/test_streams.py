"""The same for event streams: a browser that knows nothing but the last id has all, or was told."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.clients import ClientsMachine, give_way_after_each_send
from tests.model.machine import PATTERNS, Loss, place, runs, search
from tests.model.stream import StreamClient

__all__ = ["TestStreams", "give_way_after_each_send"]


class StreamMachine(ClientsMachine):
    """Some of the clients are event streams. They are never asked to subscribe to more."""

    @precondition(lambda self: len(self.clients) < 5)
    @rule(
        gateway=place,
        patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True),
        history=st.sampled_from([0, 2]),
        room=st.sampled_from([200, 1 << 30]),
    )
    def open(self, gateway: int, patterns: list[str], history: int, room: int) -> None:
        client = StreamClient(patterns, history)
        self.clients.append(client)
        self.sockets[len(self.clients) - 1] = self.world.connect(client, gateway, room)


StreamMachine.TestCase.settings = runs(200)
TestStreams = StreamMachine.TestCase


def test_the_model_finds_the_loss_if_each_pattern_has_a_cut_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a model that never fails would prove nothing: the ids of one then hide what the other lacks."""
    monkeypatch.setattr(StreamClient, "is_one_cut", False)
    monkeypatch.setattr(StreamClient, "_complain", lambda *_: None)
    with pytest.raises(Loss):
        search(StreamMachine)
