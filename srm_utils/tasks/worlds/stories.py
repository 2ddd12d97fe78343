"""Stories: word problems of one to four steps in plain English, with small numbers, for real language models.

The bundled family has never read them. A story opens with a quantity, and each step changes it, compares another
person's quantity with it, or adds two of them up. Numbers in the text are small (below 16 in stories of one step, below
26 in longer ones) and results are below 61, so that what is measured is reasoning and not long arithmetic. From two
steps on there are over 50 000 canonical forms; stories of one step have fewer and carry no claim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from srm_utils.tasks.answers import NUMBER
from srm_utils.tasks.problem import Problem, StepCheck, Task, Templates
from srm_utils.tasks.words import answer_sentence, apply

MAX_NUMBER_OF_ONE_STEP = 15
MAX_NUMBER = 25
MAX_VALUE = 60

FIRST_NAMES = (
    "Abdul Ada Adam Aisha Alan Alice Alma Amir Amy Ana Andre Anna Arjun Ava Ben Bella Boris Carla Carlos Cara "
    "Chen Chloe Clara Dan Dana Daniel David Deepa Diego Dina Elena Eli Ella Emil Emma Erik Esther Eva Farah "
    "Fatima Felix Finn Fiona Frank Gina Grace Greg Hana Hannah Hassan Helen Henry Hugo Ian Ida Ines Ingrid Irina "
    "Iris Isaac Ivan Jack Jacob Jamal James Jane Jin Joan John Jonas Jose Juan Julia Kai Karen Karim Kate Kenji "
    "Kevin Kira Lara Laura Leila Lena Leo Liam Lily Linda Lisa Louis Lucas Lucy Luis Maria Mark Marta Mary Max "
    "Maya Mei Mia Miguel Mina Mira Mohamed Nadia Nancy Naomi Nina Noah Nora Olga Oliver Omar Oscar Paul Pedro "
    "Peter Petra Priya Rachel Rafael Raj Rita Robert Rosa Ruth Sam Samir Sana Sara Sofia Stefan Tara Thomas Tim "
    "Tom Uma Vera Victor Viola Wendy Will Yara Yuki Yusuf Zara Zoe"
).split()
THINGS = (
    "apples balls balloons bananas beads books bottles bowls boxes buttons cakes candles cards carrots chairs "
    "coins cookies crayons cups dolls eggs envelopes erasers feathers flowers folders forks grapes hats kites "
    "lemons letters magnets marbles mugs mushrooms muffins notebooks nuts onions oranges paintings peaches pears "
    "pebbles pencils pens peppers photos pillows plates plums postcards posters potatoes puzzles ribbons ropes "
    "rulers seeds shells socks spoons stamps stickers stones tickets tomatoes towels toys tulips vases"
).split()
CONTAINERS = ("bags", "boxes", "baskets", "jars", "trays", "packs")

# {a} is the person whose quantity it is, {b} another one, {k} and {m} numbers, {t} the thing, {c} a container.
_TEMPLATES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "open": (
            "{a} has {k} {t}.", "{a} starts the day with {k} {t}.", "There are {k} {t} on {a}'s table.",
            "{a} owns {k} {t}.", "In the morning {a} counts {k} {t}.",
        ),
        "packed": (
            "{a} has {m} {c} with {k} {t} in each.", "{a} fills {m} {c} and puts {k} {t} into each of them.",
            "There are {m} {c} in {a}'s room. Each holds {k} {t}.",
        ),
        "+": (
            "{a} buys {k} more {t}.", "{b} gives {a} {k} {t}.", "Then {a} finds {k} {t} in the garden.",
            "{a} gets {k} {t} from {b}.", "Later {a} picks up another {k} {t}.", "{a}'s mother adds {k} {t}.",
        ),
        "-": (
            "{a} gives {k} {t} to {b}.", "{a} loses {k} of the {t}.", "{a} sells {k} {t} at the market.",
            "{b} takes {k} {t} away from {a}.", "Then {k} of {a}'s {t} break.", "{a} uses {k} of the {t}.",
        ),
        "*": (
            "After that {a} has {k} times as many {t}.",
            "By evening the number of {a}'s {t} has grown to {k} times what it was.",
        ),
        "more": ("{b} has {k} more {t} than {a}.", "{b} owns {k} {t} more than {a}."),
        "fewer": ("{b} has {k} fewer {t} than {a}.", "{b} has {k} {t} less than {a}."),
        "times": ("{b} has {k} times as many {t} as {a}.",),
        "ask": (
            "How many {t} does {a} have now?", "How many {t} does {a} have in the end?", "How many {t} are {a}'s now?",
        ),
        "ask-together": ("How many {t} do they have together?", "How many {t} do {b} and {a} have in all?"),
    },
    # The same relations in sentences that no training example holds.
    "held-out": {
        "open": ("{k} {t} belong to {a}.", "At first {a} keeps {k} {t} in a drawer."),
        "packed": ("{a} carries {m} {c}, and every one of them contains {k} {t}.",),
        "+": ("{a} receives {k} further {t} as a present.", "{k} {t} come to {a} from {b}."),
        "-": ("{a} throws {k} of the {t} out.", "{k} {t} of {a}'s go to {b}."),
        "*": ("{a} works hard until the {t} number {k} times as many.",),
        "more": ("Compared with {a}, {b} has {k} additional {t}.",),
        "fewer": ("{b} is {k} {t} short of what {a} has.",),
        "times": ("For each of {a}'s {t}, {b} has {k}.",),
        "ask": ("What is the number of {t} that {a} has at the end?", "Tell how many {t} {a} has now."),
        "ask-together": ("What do the {t} of {b} and {a} add up to?",),
    },
}  # fmt: skip
_EQUATION = re.compile(r"(\d{1,6}) ?([-+*]) ?(\d{1,6}) ?= ?(\d{1,6})")


@dataclass(frozen=True, slots=True)
class _Step:
    """One step: which relation, its number, and the equation that it stands for."""

    kind: str
    number: int
    left: int
    sign: str

    @property
    def value(self) -> int:
        return apply(self.left, self.sign, self.number)

    @property
    def equation(self) -> str:
        return f"{self.left} {self.sign} {self.number} = {self.value}"


class StoriesTask(Task):
    """Word problems in plain English with 1 to 4 steps; small numbers, results below 61.

    >>> task = StoriesTask()
    >>> problem = task.problems(1, seed=1, difficulty=2)[0]
    >>> str(task.grade(task.solution(problem, "cot"), problem))
    'correct'
    """

    name = "stories"
    answers = NUMBER
    styles = ("direct", "cot", "tool", "program")
    difficulties = (1, 2, 3, 4)
    unseen_difficulties = (5, 6)

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        steps, start = _plot(rng, difficulty)
        people = rng.sample(FIRST_NAMES, difficulty + 2)  # one more than can be compared: who gives and takes
        thing, container = rng.choice(THINGS), rng.choice(CONTAINERS)
        told, owner, sayings = _tell(steps, start, people, thing, container, _TEMPLATES[templates], rng)
        canonical = f"stories|{start}" + "".join(f"|{s.kind}{s.number}" for s in steps)
        facts = {
            "start": start,
            "steps": [[s.kind, s.number, s.left, s.sign] for s in steps],
            "sayings": sayings,
            "owner": owner,
        }
        gold = tuple(s.equation for s in steps)
        return Problem("", self.name, told, str(steps[-1].value), difficulty, canonical, gold, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "cot":
            return "\n".join([*problem.facts["sayings"], final])
        if style == "tool":
            return ". ".join(f"Calculator: {e}" for e in problem.steps) + f". {final}"
        if style == "program":
            return _program(problem)
        raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """Equations found in a text: right when the story really holds them, either way round for sums, else wrong."""
        true = {_turned(e) for e in problem.steps}
        found = [(m, _turned(f"{m[1]} {m[2]} {m[3]} = {m[4]}")) for m in _EQUATION.finditer(text)]
        return [StepCheck(m[0], m.start(), m.end(), "right" if e in true else "wrong") for m, e in found]


def _plot(rng: Random, difficulty: int) -> tuple[list[_Step], int]:
    """The steps of a story and the number it opens with. A total adds the two quantities of the last comparison."""
    largest = MAX_NUMBER_OF_ONE_STEP if difficulty == 1 else MAX_NUMBER
    while True:
        start = value = rng.randint(2, largest)
        steps: list[_Step] = []
        for place in range(difficulty):
            kinds = ["+", "-", "more", "fewer", "*", "times"]
            weights = [6, 6, 3, 3, 1, 2]
            if place == 0:
                kinds, weights = [*kinds, "packed"], [*weights, 3]
            if place == difficulty - 1 and steps and steps[-1].kind in ("more", "fewer", "times"):
                kinds, weights = [*kinds, "together"], [*weights, 12]
            kind = rng.choices(kinds, weights)[0]
            sign = {"+": "+", "more": "+", "together": "+", "-": "-", "fewer": "-"}.get(kind, "*")
            number = rng.randint(2, 4) if sign == "*" else rng.randint(2, largest)
            if kind == "together":
                number = steps[-1].left
            step = _Step(kind, number, value, sign)
            if not 2 <= step.value <= MAX_VALUE:  # "1 apples" is no English
                break
            steps.append(step)
            value = step.value
        if len(steps) == difficulty:
            return steps, start


def _tell(
    steps: list[_Step],
    start: int,
    people: list[str],
    thing: str,
    container: str,
    templates: dict[str, tuple[str, ...]],
    rng: Random,
) -> tuple[str, str, list[str]]:
    """The story, the person that it ends with, and one sentence with its equation for each step."""
    waiting, giver = people[:-1], people[-1]
    owner, other = waiting.pop(0), giver
    words = {"t": thing, "c": container}
    told, sayings = [], []
    if steps[0].kind != "packed":
        told.append(rng.choice(templates["open"]).format(a=owner, k=start, **words))
    for step in steps:
        if step.kind == "packed":
            told.append(rng.choice(templates["packed"]).format(a=owner, k=start, m=step.number, **words))
            sayings.append(f"{owner} has {step.equation} {thing}.")
        elif step.kind == "together":
            sayings.append(f"Together they have {step.equation} {thing}.")
        elif step.kind in ("more", "fewer", "times"):
            other = waiting.pop(0)
            told.append(rng.choice(templates[step.kind]).format(a=owner, b=other, k=step.number, **words))
            owner, other = other, owner
            sayings.append(f"{owner} has {step.equation} {thing}.")
        else:
            told.append(rng.choice(templates[step.kind]).format(a=owner, b=giver, k=step.number, **words))
            sayings.append(f"{owner} now has {step.equation} {thing}.")
    if steps[-1].kind == "together":
        # "They" are two people only where nobody else was named.
        asks = [ask for ask in templates["ask-together"] if len(steps) == 2 or "{a}" in ask]
        told.append(rng.choice(asks).format(a=owner, b=other, **words))
    else:
        told.append(rng.choice(templates["ask"]).format(a=owner, **words))
    return " ".join(told), owner, sayings


def _program(problem: Problem) -> str:
    lines = [f"x = {problem.facts['start']}"]
    for kind, number, _, sign in problem.facts["steps"]:
        lines += ["y = x"] if kind in ("more", "fewer", "times") else []
        lines.append("x = x + y" if kind == "together" else f"x = x {sign} {number}")
    return "\n".join([*lines, "print(x)"])


def _turned(equation: str) -> str:
    """An equation with the operands of a sum or a product in order."""
    left, sign, right, _, result = equation.split()
    if sign in "+*" and int(left) > int(right):
        left, right = right, left
    return f"{int(left)} {sign} {int(right)} = {int(result)}"
