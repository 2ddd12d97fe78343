"""Graph word problems in the manner of iGSM (ye2024physics21): shuffled sentences, quantities that
depend on one another, irrelevant ones, several valid orders.

The gold chain of thought plans backwards from the question by quoting the sentences it needs, then
computes forwards, so that every token is one look-up away (the form that planning found learnable).
Two tiers of skill part here: a wrong *plan* quotes the wrong sentence, a wrong *computation* is an
equation that does not hold. One-operation problems have too few canonical forms to carry a claim.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any

from srm_utils.tasks.answers import STEPWISE_NUMBER
from srm_utils.tasks.problem import Problem, Prompt, StepCheck, Task, Templates
from srm_utils.tasks.words import NAMES, THINGS, answer_sentence, apply, slip

MAX_VALUE = 50

#: A node is ("base", value), ("+", other, k), ("-", other, k), ("*", other, 2) or ("sum", a, b).
Node = tuple[Any, ...]

_TOLD = {
    "train": {
        "base": "{x} has {k}.",
        "+": "{x} has {k} more than {y}.",
        "-": "{x} has {k} fewer than {y}.",
        "*": "{x} has twice as many as {y}.",
        "sum": "{x} has as many as {y} and {z} together.",
    },
    # Known words, unseen sentences; in two of them the defined name no longer comes first.
    "held-out": {
        "base": "{x} has {k} now.",
        "+": "{x} has {y} and {k} more.",
        "-": "{x} has as many as {y} and {k} fewer.",
        "*": "Twice as many as {y} has {x}.",
        "sum": "{y} and {z} together have as many as {x}.",
    },
}
# What a text can claim: a computed quantity, or a sentence of the question that it quotes.
_CLAIM = re.compile(r"[A-Z][a-z]+ = [^.,;=]+= [^.,;=]+= \d{1,6}|(?<!know )(?<!and )[A-Z][a-z]+ has [^.,;?]+(?=\.)")


class GraphTask(Task):
    """Graph word problems with 1 to 4 needed operations in training and 5 or 6 unseen.

    >>> task = GraphTask()
    >>> problem = task.problems(1, seed=1, difficulty=3)[0]
    >>> str(task.grade(task.solution(problem, "cot"), problem))
    'correct'
    """

    name = "graph"
    answers = STEPWISE_NUMBER
    styles = ("direct", "cot", "draft", "verbose", "plan", "decompose", "program", "tool", "check", "retry")
    difficulties = (1, 2, 3, 4)
    unseen_difficulties = (5, 6)

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        while True:
            names = rng.sample(NAMES, len(NAMES))
            nodes: dict[str, Node] = {}
            target = _grow(rng, difficulty, nodes, names)
            needed = _preorder(nodes, target)
            for _ in range(rng.randint(1, 3)):
                _distract(rng, nodes, names)
            values = _values(nodes)
            if all(0 <= v <= MAX_VALUE for v in values.values()):
                break
        thing = rng.choice(THINGS)
        order = rng.sample(list(nodes), len(nodes))
        told = " ".join(_tell(x, nodes[x], templates) for x in order)
        question = f"Some friends collect {thing}. {told} How many {thing} does {target} have?"
        # Names are numbered along the plan, so that renaming cannot make a new canonical form.
        number = {x: f"q{i}" for i, x in enumerate(needed)}
        canonical = "graph|" + ";".join(" ".join(str(number.get(p, p)) for p in nodes[x]) for x in needed)
        steps = tuple(_step(x, nodes[x], values) for x in reversed(needed) if nodes[x][0] != "base")
        facts = {"nodes": {x: list(nodes[x]) for x in order}, "target": target, "needed": needed, "thing": thing}
        return Problem("", self.name, question, str(values[target]), difficulty, canonical, steps, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        nodes = {x: tuple(node) for x, node in problem.facts["nodes"].items()}
        needed, target = list(problem.facts["needed"]), problem.facts["target"]
        values = _values(nodes)
        steps = list(problem.steps)
        order = [x for x in reversed(needed) if nodes[x][0] != "base"]
        quoted = [_tell(x, nodes[x], "train")[:-1] for x in needed]
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "draft":
            return ". ".join(s.split(" = ", 2)[2] for s in steps) + f". {final}"
        if style == "program":
            lines = [f"{x} = {nodes[x][1]}" for x in reversed(needed) if nodes[x][0] == "base"]
            lines += [*(f"{x} = {_formula(nodes[x])}" for x in order), f"print ( {target} )"]
            # Python wants the leaves first; the string before them is where the way down to the leaves is found.
            return "; ".join([f'" {". ".join(quoted)}. "', *lines])
        if style == "cot":
            body = [*quoted, *steps]
        elif style == "verbose":
            body = [*quoted]
            for x, step in zip(order, steps, strict=True):
                known = " and ".join(f"{y} has {values[y]}" for y in _parents(nodes[x]))
                body.append(f"We know {known}, and {_tell(x, nodes[x], 'train')[:-1]}, so {step}")
        elif style == "plan":
            body = [f"Plan: {', then '.join(needed)}", *quoted, *steps]
        elif style == "decompose":
            body = [*quoted, *(f"Next: how many does {x} have? {s}" for x, s in zip(order, steps, strict=True))]
        elif style == "tool":
            body = [*quoted, *(f"Calculator: {s}" for s in steps)]
        elif style == "check":
            body = [*quoted, *steps, f"Check: {steps[-1]}", "It is right"]
        elif style == "retry":
            rng = rng or Random(problem.canonical)
            body = []
            # Both kinds of error that models make: a sentence that the question does not need, a slip.
            spare = [x for x in nodes if x not in needed]
            for q in quoted:
                if spare and rng.random() < 0.15:
                    x = rng.choice(spare)
                    body += [_tell(x, nodes[x], "train")[:-1], "Wait, that is wrong"]
                body.append(q)
            for s in steps:
                if rng.random() < 0.3:
                    body += [slip(s, rng), "Wait, that is wrong"]
                body.append(s)
        else:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        return ". ".join(body) + f". {final}"

    def corrupt(self, problem: Problem, rng: Random) -> tuple[list[str], int]:
        """Steps of a wrong solution, its error carried on to the end, and the index of the first error."""
        nodes = {x: tuple(node) for x, node in problem.facts["nodes"].items()}
        order = [x for x in reversed(problem.facts["needed"]) if nodes[x][0] != "base"]
        at = rng.randrange(len(order))
        values = {x: v for x, v in _values(nodes).items()}
        steps = []
        for i, x in enumerate(order):
            node = nodes[x]
            if i == at and rng.random() < 0.5:
                # A wrong look-up: one operand is somebody else's number.
                others = [y for y in nodes if y != x and y not in _parents(node)]
                if others:
                    node = (node[0], rng.choice(others), *node[2:])
            step = _step(x, node, values)
            if i == at and node == nodes[x]:
                step = slip(step, rng)
            values[x] = int(step.rsplit(" ", 1)[1])
            if not 0 <= values[x] <= 99 or (i == at and step in problem.steps):
                return self.corrupt(problem, rng)
            steps.append(step)
        return steps, at

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """Quoted sentences and equations: right, wrong, or true of a quantity nobody asked for."""
        nodes = {x: tuple(node) for x, node in problem.facts["nodes"].items()}
        values = _values(nodes)
        needed = set(problem.facts["needed"])
        truths = {_step(x, n, values): x for x, n in nodes.items() if n[0] != "base"}
        truths |= {_tell(x, n, "train")[:-1]: x for x, n in nodes.items()}
        checks = []
        for m in _CLAIM.finditer(text):
            x = truths.get(m[0])
            verdict = "wrong" if x is None else "right" if x in needed else "useless"
            checks.append(StepCheck(m[0], m.start(), m.end(), verdict))  # type: ignore[arg-type]
        return checks


def lookup_prompt(problem: Problem) -> Prompt:
    """The question without its sentences, which have to be looked up one at a time (yao2023react).

    >>> lookup_prompt(GraphTask().problems(1)[0]).instruction
    'Look things up.'
    """
    thing, target = problem.facts["thing"], problem.facts["target"]
    return Prompt(f"Some friends collect {thing}. How many {thing} does {target} have?", "Look things up.")


def lookup_table(problem: Problem) -> dict[str, str]:
    """What the look-up tool knows: each name's sentence."""
    return {x: _tell(x, tuple(node), "train") for x, node in problem.facts["nodes"].items()}


def lookup_solution(problem: Problem) -> str:
    """The gold text of a solution with look-ups, the tool's replies among the model's own words."""
    table = lookup_table(problem)
    looked = [f"Look up {x}: {table[x]}" for x in problem.facts["needed"]]
    steps = "".join(f" {step}." for step in problem.steps)
    return f"{' '.join(looked)}{steps} {answer_sentence(problem.answer)}"


def _grow(rng: Random, budget: int, nodes: dict[str, Node], names: list[str]) -> str:
    """Adds a quantity that needs exactly `budget` operations; returns its name."""
    if budget == 0:
        bases = [x for x, node in nodes.items() if node[0] == "base"]
        if bases and rng.random() < 0.25:
            return rng.choice(bases)
        name = names.pop()
        nodes[name] = ("base", rng.randint(1, 30))
        return name
    name = names.pop()
    kind = rng.choices(("+", "-", "*", "sum"), (3, 3, 1, 3))[0]
    if kind == "sum":
        left = rng.randint(0, budget - 1)
        a, b = _grow(rng, left, nodes, names), _grow(rng, budget - 1 - left, nodes, names)
        if a != b:
            nodes[name] = ("sum", a, b)
            return name
        kind, other = "*", a
    else:
        other = _grow(rng, budget - 1, nodes, names)
    nodes[name] = (kind, other, 2 if kind == "*" else rng.randint(1, 20))
    return name


def _distract(rng: Random, nodes: dict[str, Node], names: list[str]) -> None:
    """Adds a quantity that the question does not need."""
    name = names.pop()
    others = rng.sample(list(nodes), min(2, len(nodes)))
    kind = rng.choice(("base", "+", "-", "sum"))
    if kind == "base":
        nodes[name] = ("base", rng.randint(1, 30))
    elif kind == "sum" and len(others) == 2:
        nodes[name] = ("sum", *others)
    else:
        nodes[name] = (kind if kind in "+-" else "+", others[0], rng.randint(1, 20))


def _parents(node: Node) -> list[str]:
    return [] if node[0] == "base" else list(node[1:]) if node[0] == "sum" else [node[1]]


def _preorder(nodes: dict[str, Node], target: str) -> list[str]:
    """What the target needs, itself first. Only base quantities are shared, so reversing this is a valid order."""
    seen: list[str] = []

    def visit(x: str) -> None:
        if x not in seen:
            seen.append(x)
            for y in _parents(nodes[x]):
                visit(y)

    visit(target)
    return seen


def _values(nodes: dict[str, Node]) -> dict[str, int]:
    values: dict[str, int] = {}

    def value(x: str) -> int:
        if x not in values:
            node = nodes[x]
            if node[0] == "base":
                values[x] = node[1]
            elif node[0] == "sum":
                values[x] = value(node[1]) + value(node[2])
            else:
                values[x] = apply(value(node[1]), node[0], node[2])
        return values[x]

    for x in nodes:
        value(x)
    return values


def _tell(x: str, node: Node, templates: Templates) -> str:
    if node[0] == "base":
        return _TOLD[templates]["base"].format(x=x, k=node[1])
    if node[0] == "sum":
        return _TOLD[templates]["sum"].format(x=x, y=node[1], z=node[2])
    return _TOLD[templates][node[0]].format(x=x, y=node[1], k=node[2])


def _formula(node: Node) -> str:
    return f"{node[1]} + {node[2]}" if node[0] == "sum" else f"{node[1]} {node[0]} {node[2]}"


def _step(x: str, node: Node, values: dict[str, int]) -> str:
    if node[0] == "sum":
        left, sign, right = values[node[1]], "+", values[node[2]]
    else:
        left, sign, right = values[node[1]], node[0], node[2]
    return f"{x} = {_formula(node)} = {left} {sign} {right} = {apply(left, sign, right)}"
