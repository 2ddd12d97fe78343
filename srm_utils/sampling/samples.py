"""One continuation that is being drawn, and what a further token does to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from srm_utils.sampling.text import ContinuationTokenizer, StopStrings

#: Gets the text so far, returns text for the model to read next (a tool's reply) or None.
Pause = Callable[[str], str | None]


@dataclass(slots=True, eq=False)
class Sample:
    """One continuation being drawn: `room` is how many tokens the model can still read behind the prompt."""

    prompt: int
    temperature: float
    budget: int
    room: int
    key: int
    reader: ContinuationTokenizer = field(default_factory=lambda: ContinuationTokenizer(None, ()))
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: deque[int] = field(default_factory=deque)
    forced_count: int = 0
    searched: int = 0
    text: str | None = None
    finish: str = ""

    def final_text(self) -> str:
        """The text without its end token, and without a last character that is incomplete."""
        if self.text is not None:
            return self.text
        return self.reader.decode_whole(self.ids[:-1] if self.finish == "end" else self.ids)


def append(
    sample: Sample, token: int, logprob: float, end_ids: frozenset[int], watch: StopStrings, pause: Pause | None
) -> int:
    """Add the drawn token, or the forced one that takes its place, to a sample; returns what was added."""
    if sample.forced:
        token = sample.forced.popleft()
        sample.forced_count += 1
        sample.ids.append(token)
        sample.logprobs.append(0.0)
        if len(sample.ids) >= sample.room:
            sample.finish = "length"
        return token
    sample.ids.append(token)
    sample.logprobs.append(logprob)
    if token in end_ids:
        sample.finish = "end"
        return token
    spent = len(sample.ids) - sample.forced_count >= sample.budget or len(sample.ids) >= sample.room
    if watch.may_complete(token):
        kind, before = watch.find(sample)
        if kind == "stop":
            sample.finish, sample.text = "stop", before
        elif kind == "pause" and not spent and pause is not None:
            reply = pause(sample.reader.decode(sample.ids)) or ""
            sample.forced.extend(sample.reader.encode(reply, sample.ids))
            sample.searched = len(sample.reader.decode([*sample.ids, *sample.forced], special=True))
    if spent and not sample.finish:
        sample.finish = "length"
    return token
