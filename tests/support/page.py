"""The pages in a real browser: opened, looked at, typed into; never written to."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

from deploy.parent import end_with_parent
from tests.support.processes import REPO, end_with_input, environment
from tests.support.waiting import DEADLINE_S, wait_for

DRIVER = REPO / "tests" / "browser" / "driver.mjs"
ANSWER_S = 30.0

# What puppeteer calls them, by the names of their programs, which are those of Debian's packages.
KINDS = {"chromium": "chrome", "firefox-esr": "firefox"}

# Of what is drawn in a card, in words: two different drawings have different ones.
_CARD = "[...document.querySelectorAll('.card')].find(({ dataset }) => dataset.topic === %s)"
_SHOWN = "(part => part && !part.hidden ? part.textContent : null)"
_DRAWING = f"(canvas => canvas?.width ? canvas.toDataURL() : null)({_CARD}?.querySelector('canvas'))"
_PART = f"{_SHOWN}({_CARD}?.querySelector('[data-part=%s]'))"
_TOPICS = "[...document.querySelectorAll('.card')].map(({ dataset }) => dataset.topic)"


class Page:
    """One tab of one browser. `open` before all else."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def open(self, url: str, scheme: str = "light", before: str = "") -> None:
        """A new tab in place of the one before.

        Args:
            scheme: light or dark; Firefox takes what it likes.
            before: JavaScript that runs ahead of the page's own.
        """
        self._do("open", url=url, scheme=scheme, before=before)

    def evaluate(self, expression: str) -> Any:
        """What a JavaScript expression is in the page."""
        return self._do("evaluate", expression=expression)

    def click(self, selector: str) -> None:
        self._do("click", selector=selector)

    def press(self, key: str) -> None:
        self._do("press", key=key)

    def type(self, selector: str, text: str) -> None:
        """Into a field, in place of what stands there."""
        self._do("type", selector=selector, text=text)

    def resize(self, width: int, height: int) -> None:
        """The window, in CSS pixels; the next tab is as large as ever."""
        self._do("resize", width=width, height=height)

    def screenshot(self, path: Path) -> None:
        """A PNG of what the window shows."""
        self._do("screenshot", path=str(path))

    @property
    def problems(self) -> dict[str, list[str]]:
        """Since `open`: what the console warned of, what was thrown, requests to elsewhere, refused ones."""
        found: dict[str, list[str]] = self._do("problems")
        return found

    @property
    def violations(self) -> list[str]:
        """Rules of accessibility that are broken now, each with its place."""
        return [str(each) for each in self._do("violations")]

    # What it shows

    def text(self, selector: str) -> str | None:
        """Of the first such element; None if there is none or it is hidden."""
        shown = self.evaluate(f"{_SHOWN}(document.querySelector({json.dumps(selector)}))")
        return None if shown is None else str(shown)

    @property
    def state(self) -> str | None:
        return self.text("#state [data-part=text]")

    @property
    def topics(self) -> list[str]:
        """Of the cards, in their order."""
        return [str(topic) for topic in self.evaluate(_TOPICS)]

    def part(self, topic: str, name: str) -> str | None:
        """A text of a topic's card: rate, gap, value, legend...; None while it is not shown."""
        shown = self.evaluate(_PART % (json.dumps(topic), name))
        return None if shown is None else str(shown)

    def drawing(self, topic: str) -> str | None:
        """The chart of a topic as an image's URL; None while there is none."""
        drawn = self.evaluate(_DRAWING % json.dumps(topic))
        return None if drawn is None else str(drawn)

    @property
    def loaded_at(self) -> float:
        """When this document began: another one after a reload."""
        return float(self.evaluate("performance.timeOrigin"))

    # Facts to wait for

    def wait_state(self, text: str, deadline_s: float = DEADLINE_S) -> None:
        """The pill's text begins so."""
        wait_for(
            lambda: (self.state or "").startswith(text),
            what=lambda: f"the state {text!r}, it is {self.state!r}",
            deadline_s=deadline_s,
        )

    def wait_part(self, topic: str, name: str, text: str, deadline_s: float = DEADLINE_S) -> None:
        """A text of a topic's card contains this."""
        wait_for(
            lambda: text in (self.part(topic, name) or ""),
            what=lambda: f"{text!r} as {name} of {topic}: {self.part(topic, name)!r}, topics {self.topics}",
            deadline_s=deadline_s,
        )

    def wait_moving(self, topic: str, deadline_s: float = DEADLINE_S) -> None:
        """The topic's chart is drawn, and then drawn differently."""
        first = wait_for(lambda: self.drawing(topic), what=f"a chart of {topic}", deadline_s=deadline_s)
        wait_for(
            lambda: self.drawing(topic) != first, what=f"the chart of {topic} moves", deadline_s=deadline_s
        )

    def _do(self, name: str, **options: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, **options}) + "\n")
        self._process.stdin.flush()
        return self._answer(name)

    def _answer(self, name: str) -> Any:
        assert self._process.stdout is not None
        # A browser that hangs ends by this, and the read below with it.
        guard = Timer(ANSWER_S, self._process.kill)
        guard.start()
        try:
            line = self._process.stdout.readline()
        finally:
            guard.cancel()
        assert line, f"the browser ended, or gave no answer to {name!r} within {ANSWER_S:g} s"
        answer = json.loads(line)
        assert "error" not in answer, f"{name}: {answer['error']}"
        return answer["ok"]


@contextmanager
def browser(folder: Path, kind: str = "chromium") -> Iterator[Page]:
    """A browser with its profile in `folder`, ended after the block; `kind`: one of KINDS."""
    program = shutil.which(kind)
    assert program, f"the pages are tested in {kind}, which is missing: `make {kind}`"
    # Both keep caches and crash reports below HOME, whatever their profile is.
    env = environment({"HOME": str(folder)})
    with (folder / "browser.err").open("w") as errors:
        process = subprocess.Popen(
            ["node", str(DRIVER), KINDS[kind], program, str(folder / "profile")],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=end_with_parent,
        )
        page = Page(process)
        try:
            page._answer("launch")
            yield page
        finally:
            end_with_input(process)
