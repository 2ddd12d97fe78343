"""How a model reads plain English: a fixed text, its perplexity, and the tokens that the model expects next."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from srm_utils.evaluation.statistics import Estimate, mean_interval, wilson
from srm_utils.models.language_model import LanguageModel
from srm_utils.sampling.completion import Cost

#: About 500 words in several registers: a story, an explanation, a recipe, a sum, a letter and a short talk.
PLAIN_ENGLISH = """\
The ferry left the harbour a little after six, when the lamps along the quay were still burning. Only nine people had
come on board. A woman with a violin case sat near the window, and two boys shared a loaf of bread and counted the
gulls that followed the ship. Nobody spoke much. The captain had told them that the crossing would take four hours, but
the wind was rising in the west, and the old sailor at the rail shook his head whenever he looked at the clouds.

Why does bread rise? Yeast is a living thing. It eats the sugar in the dough and gives off a gas, and the gas is caught
in small bubbles. The flour holds the bubbles together because one of its proteins becomes elastic when it is wet.
Warmth makes the yeast work faster, but too much heat kills it. That is why a baker lets the dough rest in a warm place
first and puts it into the hot oven only at the end.

To make a simple soup for four people, cut two onions and three carrots into small pieces and fry them in a little oil
until they are soft. Add one litre of water, a spoon of salt and two potatoes. Let everything boil for twenty minutes.
Then taste it, add pepper if you like, and serve it with bread.

Mia has five pencils. Her brother gives her three more, so now she has eight pencils. She puts half of them into her
bag and leaves the rest on the table. There are four pencils on the table and four pencils in the bag.

Dear Mr Keller, thank you for your letter of the third of May. We are sorry to hear that the lamp was broken when it
arrived. Please send us a photograph of the damage, and we will send you a new one within a week. You do not have to
return the old lamp. If you have any further questions, you can call our office between nine and five on working days.

Every river begins somewhere small. High in the mountains the snow melts in spring, and the water runs down between
the stones and collects in narrow streams. The streams meet and grow. Farther down the valley the river is wide and
slow, and people have built towns on its banks for thousands of years, because water means food, trade and travel. The
same water that was snow in March may turn a mill in April and reach the sea in May.

"Are you sure that this is the right street?" asked Tom. "It looks different from the one on the map." Anna took the
paper from his hand and turned it round. "You were holding it upside down," she said, and both of them laughed. They
walked back to the bridge, crossed the river, and found the museum behind the station, exactly where it had always been.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model reads a text: perplexity with a 95 % interval, its likeliest next tokens, and the cost."""

    perplexity: Estimate
    likeliest: tuple[int, ...]
    cost: Cost

    def agreement(self, other: Reading) -> Estimate:
        """Share of places where both expect the same next token; Wilson's interval, as if places were independent."""
        same = sum(a == b for a, b in zip(self.likeliest, other.likeliest, strict=True))
        return wilson(same, len(self.likeliest))


def read_text(model: LanguageModel, text: str) -> Reading:
    """How a model reads a text, in one pass. Raises ValueError for a text of fewer than two tokens."""
    import torch

    ids = model.encode(text)
    if len(ids) < 2:
        raise ValueError("The text has fewer than two tokens; give a longer one.")
    began = time.perf_counter()
    (rows,), (cost,) = model.read([ids[:-1]], [len(ids) - 1])
    logits = rows.float()
    said = torch.tensor(ids[1:], device=logits.device)
    losses = -logits.log_softmax(-1).gather(1, said[:, None])[:, 0].cpu().numpy()
    mean = mean_interval(losses)
    spent = time.perf_counter() - began
    cost = replace(cost, seconds=spent, peak_bytes=model.bytes).settled()
    value, low, high = (float(np.exp(v)) for v in (mean.value, mean.low, mean.high))
    perplexity = Estimate(value, low, high, len(losses))
    return Reading(perplexity, tuple(logits.argmax(-1).tolist()), cost)
