"""Solvers side by side: what they ask for at the same time is drawn in one batch, and nothing is drawn twice.

A solver that goes on in turns has few texts to write at once, and a step of few costs nearly as much time as a step of
many. Where each fills a batch alone there is nothing to gain (`srm bench solvers`). Which solvers share a batch changes
nothing but the time: a sample depends on its seed, its prompt and its number alone (`sampling.engine`), and each solver
is charged for all that it asks for.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from srm_utils.sampling.completion import Completion
from srm_utils.tasks.problem import Prompt

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel
    from srm_utils.models.language_model import Scored

K = TypeVar("K")
T = TypeVar("T")

#: What tells draws apart: the prompt (and whether it came as a string), its limit, seed and temperature, and what else
#: says how it is sampled.
_Key = tuple[tuple[bool, str], int, int, float, tuple[float, tuple[str, ...]]]
#: How many samples of which prompt are to be drawn.
_Missing = dict[_Key, tuple[Prompt | str, int]]


def _numbered_together(key: _Key) -> tuple[Any, ...]:
    """What two prompts of one call have in common when the second goes on numbering where the first stopped."""
    text, _, seed, heat, _ = key
    return text, seed, heat


class Remembered:
    """A model that draws and scores nothing twice; everything else is the model's own.

    Sample i of a prompt depends on the seed, the prompt and i alone (`sampling.engine`), so what was drawn for one
    solver is exactly what another, or the same at a smaller size, would draw. Each is charged for all that it asks for.
    """

    def __init__(self, inner: LanguageModel) -> None:
        self.inner = inner
        self._drawn: dict[_Key, list[Completion]] = {}
        self._scored: dict[tuple[Any, ...], Scored] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return f"Remembered({self.inner!r})"

    def sample(
        self,
        prompts: Sequence[Prompt | str],
        n: int | Sequence[int] = 1,
        max_new_tokens: int | Sequence[int] = 256,
        temperature: float | Sequence[float] = 1.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | Sequence[int] = 0,
        **more: Any,
    ) -> list[list[Completion]]:
        """`LanguageModel.sample`, from memory where it can, and in a job of `together` in one batch with the others.

        Draws with tools (`pause`), `top_k`, `max_batch` or `progress` go to the model as they are.
        """
        if more:
            return self.inner.sample(
                prompts, n, max_new_tokens, temperature=temperature, top_p=top_p, stop=stop, seed=seed, **more
            )
        counts = [n] * len(prompts) if isinstance(n, int) else list(n)
        limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
        seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
        heats = list(temperature) if isinstance(temperature, Sequence) else [temperature] * len(prompts)
        how = (top_p, tuple(stop))
        asked = [(isinstance(p, str), self.inner.render(p)) for p in prompts]
        keys: list[_Key] = [
            (text, limit, own if heat else 0, heat, how)
            for text, limit, own, heat in zip(asked, limits, seeds, heats, strict=True)
        ]
        begun: Counter[tuple[Any, ...]] = Counter()
        spans = []
        missing: _Missing = {}
        for prompt, count, key in zip(prompts, counts, keys, strict=True):
            twins = _numbered_together(key)
            spans.append((begun[twins], begun[twins] + count))
            begun[twins] += count
            if len(self._drawn.get(key, ())) < begun[twins]:
                missing[key] = (prompt, begun[twins])
        job = threading.current_thread()
        if missing and isinstance(job, _Job):
            job.wait_for(self, missing)
        else:
            self.draw(missing)
        return [self._drawn.get(key, [])[start:end] for key, (start, end) in zip(keys, spans, strict=True)]

    def draw(self, missing: _Missing) -> None:
        """Draw what is missing into memory, in as few calls of the model as can be."""
        for how in dict.fromkeys(key[-1] for key in missing):
            left = [(key, *what) for key, what in missing.items() if key[-1] == how]
            while left:
                # A prompt under two limits would go on numbering its samples: another call.
                call = {_numbered_together(key): (key, prompt, count) for key, prompt, count in reversed(left)}
                keys, prompts, counts = zip(*call.values(), strict=True)
                _, limits, seeds, heats, _ = map(list, zip(*keys, strict=True))
                top_p, stop = how
                groups = self.inner.sample(
                    prompts, list(counts), limits, temperature=heats, top_p=top_p, stop=stop, seed=seeds
                )
                made = dict(zip(keys, groups, strict=True))
                self._drawn |= made
                left = [one for one in left if one[0] not in made]

    def score(self, prompts: Sequence[Prompt | str], completions: Sequence[str | Sequence[int]]) -> list[Scored]:
        """`LanguageModel.score`, from memory where it can."""
        keys = [
            (isinstance(p, str), self.inner.render(p), c if isinstance(c, str) else tuple(c))
            for p, c in zip(prompts, completions, strict=True)
        ]
        new = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self._scored}
        if new:
            found = self.inner.score([prompts[i] for i in new.values()], [completions[i] for i in new.values()])
            self._scored.update(zip(new, found, strict=True))
        return [self._scored[key] for key in keys]


def together(jobs: Mapping[K, Callable[[], T]], desc: str = "together", progress: bool = True) -> dict[K, T]:
    """Run jobs side by side and draw in one batch what they ask `Remembered` models for at the same time.

    One job runs at a time, until it ends or waits for samples; when all wait, all are served.

    Args:
        jobs: functions without arguments, by name, such as `partial(solver.solve, problems, remembered, budget)`.
        desc: what the progress bar is called.
        progress: shows a bar of jobs that have ended.

    Returns what each job returned, by name, in the order of `jobs`. Raises what the first job to fail raised, once the
    others have been stopped.

    >>> together({"a": lambda: 1, "b": lambda: 2}, progress=False)
    {'a': 1, 'b': 2}
    """
    threads = [_Job(work) for work in jobs.values()]
    for thread in threads:
        thread.start()
    try:
        with tqdm(total=len(threads), desc=desc, disable=not progress, leave=False) as bar:
            live = threads
            while live:
                for thread in live:
                    thread.go_on()
                bar.update(len(live))
                live = [thread for thread in live if thread.asked is not None]
                bar.update(-len(live))
                _serve(live)
    finally:
        for thread in threads:
            thread.stop()
    return {name: thread.result for name, thread in zip(jobs, threads, strict=True)}


def _serve(live: Sequence[_Job]) -> None:
    """Draw what all waiting jobs asked for: of each model in one batch, of each prompt as many as anybody asked for."""
    wanted: dict[int, tuple[Remembered, _Missing]] = {}
    for model, missing in (thread.asked for thread in live if thread.asked is not None):
        _, union = wanted.setdefault(id(model), (model, {}))
        for key, (prompt, count) in missing.items():
            union[key] = (prompt, max(count, union[key][1] if key in union else 0))
    for model, union in wanted.values():
        model.draw(union)


class _Stopped(BaseException):
    """Ends a job whose neighbour has failed; no job can mistake it for an error of its own."""


class _Job(threading.Thread):
    """A job that runs only between `go_on` and the next time it waits, so that no two ever run at once."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.asked: tuple[Remembered, _Missing] | None = None
        self.result: Any = None
        self._error: BaseException | None = None
        self._stopping = False
        self._may_run, self._waits = threading.Semaphore(0), threading.Semaphore(0)

    def run(self) -> None:
        self._may_run.acquire()
        try:
            if not self._stopping:
                self.result = self.work()
        except BaseException as error:  # handed to the thread that called `together`
            self._error = error
        self.asked = None
        self._waits.release()

    def wait_for(self, model: Remembered, missing: _Missing) -> None:
        """Called by the job itself: hands in what it needs drawn and returns when that is in the model's memory."""
        self.asked = (model, missing)
        self._waits.release()
        self._may_run.acquire()
        if self._stopping:
            raise _Stopped

    def go_on(self) -> None:
        """Let the job run until it waits again or has ended. Raises the error that it ended with."""
        self._may_run.release()
        self._waits.acquire()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the job where it waits, if it has not ended yet."""
        self._stopping = True
        self._may_run.release()
        self.join()
