"""The members of the bundled family: their shapes, what each reads, for how long, and from which parent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from srm_utils.models.documents import Mixture


@dataclass(frozen=True)
class Member:
    """One model of the family: its shape, what it reads, for how long, and from which parent."""

    name: str
    layers: int
    width: int
    heads: int
    steps: int
    seed: int = 0
    peak: float = 3e-3
    mixture: Mixture = field(default_factory=Mixture)
    parent: str | None = None
    role: str = ""


#: What instruct judges already is kept up; the rest goes into written search.
TEACHER_DRILLS = ("sums", "steps", "own", "targets", "targets", "searches", "searches", "searches")

FAMILY: dict[str, Member] = {
    m.name: m
    for m in (
        Member("base", 4, 192, 4, 3400, role="the middle base: every style, no chat"),
        Member("instruct", 4, 192, 4, 4000, peak=1.5e-3, parent="base",
               mixture=Mixture(marked=0.7, drills=0.25, spoiled=0.1, chat=True),
               role="the base tuned on single questions with a chat template"),
        Member("dialogue", 4, 192, 4, 2200, peak=1.5e-3, parent="instruct",
               mixture=Mixture(marked=0.7, talk=0.5, drills=0.2, spoiled=0.1, chat=True),
               role="instruct tuned on to talk: checks, critiques, second trials, debates, messages"),
        Member("teacher", 8, 192, 4, 1200, peak=2e-3, parent="instruct",
               mixture=Mixture(marked=0.6, drills=0.3, drilled=TEACHER_DRILLS, spoiled=0.1, chat=True),
               role="instruct grown to twice its depth and trained on, in the role of a large reasoning model"),
        Member("base-small", 3, 96, 2, 3400, role="a smaller base"),
        Member("base-large", 6, 224, 4, 3400, role="a larger base"),
        Member("base-seed1", 4, 192, 4, 3400, seed=1, role="the middle base, second seed"),
        Member("base-no-retry", 4, 192, 4, 3400, mixture=Mixture(retry=False),
               role="the middle base without retry documents"),
    )
}  # fmt: skip


def family_folder() -> Path:
    """Where the bundled checkpoints lie, in a checkout and in an installed package alike."""
    return Path(__file__).parent / "family"
