"""What a flush sends to a cohort, and how far a reader got that did not take all of it. Pure."""

from __future__ import annotations

from gateway.forms import Form, cut


class Parts:
    """Frame by frame; made when the first reader does not take all of it."""

    __slots__ = ("_form", "_frames", "_objects")

    def __init__(self, form: Form, objects: list[bytes]) -> None:
        self._form, self._objects = form, objects
        self._frames: list[tuple[bytes, int]] = []  # and how many objects are in each

    def after(self, sent: int) -> tuple[int, memoryview | None]:
        """How many objects have been sent with so many bytes, the frame under way included; its rest."""
        if not self._frames:
            self._frames = [(self._form.frame(run), len(run)) for run in cut(self._objects)]
        done = 0
        for frame, count in self._frames:
            if sent <= 0:
                break
            done += count
            if sent < len(frame):
                return done, memoryview(frame)[sent:]
            sent -= len(frame)
        return done, None
