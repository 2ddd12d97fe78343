"""The bundled family's model cards, written from each member's training record, hash and last measured figures."""

from __future__ import annotations

import json
from pathlib import Path

from srm_utils.models.members import FAMILY, Member, family_folder
from srm_utils.models.pretrain import FINAL_CONTEXT

#: Beside the members: the digests of their weights, and the figures of the last `srm check family`.
HASHES = "hashes.json"
REPORT = "check.json"

_CARD = """---
license: apache-2.0
library_name: transformers
tags: [small-reasoning-model, procedural]
---

# {name}

{role}. Qwen3 architecture, {layers} layers, width {width}.

**Data.** Procedural text of the `train` split, made by `srm_utils.models.documents` ({mixture}).
No natural corpus, no other model's output.

**Training.** `srm pretrain {name}`: {steps} steps, {tokens:,} tokens, {minutes:.0f} minutes on {device}
with {threads} thread(s), torch {torch}; loss on answers at the end {loss:.3f}.

**Look-back heads.** {start}

**Weights.** sha256 `{sha}`.

**Measured** by `srm check family` on fresh validation problems (95 % intervals):

| condition | figure | interval | asked | holds |
|---|---|---|---|---|
{rows}

**Use** it to learn and to teach. It knows eight small worlds and nothing else.

**Limits.** It is no assistant and cannot answer questions about the real world. Its vocabulary has {tokens_known}
tokens: the words of its worlds, the numbers to 99, and single characters and bytes. A word that is not in its worlds
reaches it as characters, and it was not trained to read such words. It was trained on rows of at most {context} tokens
and reads at most {positions:,}. Problems deeper than those of its training text are mostly not solved (see "unseen
depth" on the card of `instruct`). A result on it is a result in the bundled world. It does not show that a real
language model behaves alike.

**Licence.** Apache-2.0, as the package.
"""

#: How a member that is trained from new weights begins. The circuit is `pretrain._start_looking_back`.
_FROM_NEW = """\
Not all weights of this model started at random. Before training, two heads of the first layer were
set to look one token and two tokens back. Two heads of later layers were set to use this: one finds the place that
followed the present token before, the other the place two tokens after an earlier use of the previous token. Both copy
what stands there. This circuit is known as an induction head. All its weights were then trained like the others. The
reason is cost: from small random weights the circuit had not formed after 20 million tokens, and nothing that needs a
look-up was learnt. So this model cannot show how such heads form in training, and how fast it learns look-ups says
nothing about a model that starts at random."""

#: How a member that is tuned from another one begins.
_FROM_PARENT = """\
This model was tuned from `{parent}`. The family's first weights did not all start at random: four
attention heads of `base` were set by hand to look back and copy (an induction head), and were then trained like all
others. The card of `base` says how and why. So this model cannot show how such heads form in training, and how fast it
learns look-ups says nothing about a model that starts at random."""

_GROWN = """
The layers added to those of `{parent}` passed their input on unchanged at first. In each of them, two heads were set to
look one token and two tokens back."""

_HOLDS = {True: "yes", False: "**no**"}


def write_cards() -> list[Path]:
    """Write the card of every member that was trained here; returns the files."""
    cards = card_texts()
    for file, text in cards.items():
        file.write_text(text, encoding="utf-8")
    return list(cards)


def card_texts() -> dict[Path, str]:
    """The text of every card by its file: the training record, the frozen hash and the last `srm check family`.

    >>> texts = card_texts()
    >>> {file.name for file in texts}, all("Apache-2.0" in text for text in texts.values())
    ({'README.md'}, True)
    """
    folder = family_folder()
    report = json.loads((folder / REPORT).read_text()) if (folder / REPORT).is_file() else []
    hashes = json.loads((folder / HASHES).read_text()) if (folder / HASHES).is_file() else {}
    cards: dict[Path, str] = {}
    for name, member in FAMILY.items():
        record = folder / name / "training.json"
        if not record.is_file():
            continue
        facts = json.loads(record.read_text())
        rows = [
            f"| {c['what']} | {c['value']:.3f} | {c['interval'][0]:.3f} to {c['interval'][1]:.3f} "
            + (f"| {c['asked'][0]:.2f} to {c['asked'][1]:.2f} | {_HOLDS[c['passed']]} |" if c["asked"] else "| | |")
            for c in report
            if name in c["what"].replace(",", " ").split()
        ]
        minutes, steps = facts["seconds"] / 60, facts["member"]["steps"]
        config = json.loads((folder / name / "config.json").read_text())
        cards[folder / name / "README.md"] = _CARD.format(
            name=name, role=f"{member.role[0].upper()}{member.role[1:]}", layers=member.layers, width=member.width,
            mixture=member.mixture, steps=steps, tokens=facts["tokens"], minutes=minutes,
            device=facts["device"], threads=facts["threads"], torch=facts["torch"], loss=facts["log"][-1]["loss"],
            sha=hashes.get(name, "not frozen"), rows="\n".join(rows), start=_start(member),
            tokens_known=config["vocab_size"], context=FINAL_CONTEXT, positions=config["max_position_embeddings"],
        )  # fmt: skip
    return cards


def _start(member: Member) -> str:
    """What a member's attention heads were before it was trained."""
    if member.parent is None:
        return _FROM_NEW
    grown = member.layers > FAMILY[member.parent].layers
    return (_FROM_PARENT + (_GROWN if grown else "")).format(parent=member.parent)
