"""Programs and tools against models whose every word is scripted, and once against the bundled instruct model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from srm_utils.inference.chain_of_thought import Prompting
from srm_utils.inference.programs import (
    PAL_EXAMPLES,
    ProgramAided,
    ProgramOfThought,
    pal_examples,
    plain_number,
    program_in,
    stated_answer,
    with_print,
)
from srm_utils.inference.sandbox import Limits, Outcome, Sandbox, interpret
from srm_utils.inference.solver import Budget
from srm_utils.inference.tools import Calculator, CalculatorCalls, LookUp, ReAct, handed_over
from srm_utils.models import load_model
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Grade, Prompt, split_of
from srm_utils.tasks.worlds.graph import lookup_prompt, lookup_solution, lookup_table

CHAIN, GRAPH, LARGE = get_task("chain"), get_task("graph"), get_task("large-numbers")
FLOPS = 10.0


class Scripted:
    """Says a script's texts in turn, word by word; tools may answer as they do in the engine."""

    def __init__(self, script) -> None:
        self.script = script
        self.asked: list[Prompt] = []
        self.how: dict[str, object] = {}

    def sample(
        self, prompts: Sequence[Prompt], n=1, max_new_tokens=256, temperature=1.0, top_p=1.0, *, seed=0,
        pause_strings=(), pause=None,
    ):  # fmt: skip
        self.asked += prompts
        self.how = {"n": n, "tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
        pauses = pause if isinstance(pause, list) else [pause] * len(prompts)
        return [
            [self._say(text, pause_strings, p) for text in itertools.islice(itertools.cycle(self.script(prompt)), n)]
            for prompt, p in zip(prompts, pauses, strict=True)
        ]

    def _say(self, text: str, pause_strings, pause) -> Completion:
        """A script's "{}" stands where the model would go on by itself if the tool were silent."""
        said, read = "", 0
        for piece in text.split("{}"):
            said += piece
            if piece != text.split("{}")[-1]:
                reply = pause(said) if pause is not None and said.endswith(pause_strings) else None
                said += " 99" if reply is None else reply
                read += 0 if reply is None else len(reply.split())
        drawn = len(said.split()) - read
        cost = Cost(prompt_tokens=read, generated_tokens=drawn, flops=FLOPS * (drawn + read))
        return Completion(
            said, tuple(range(drawn + read)), (0.0,) * (drawn + read), "stop", 5, cost, Cost(5, flops=FLOPS * 5)
        )


def gold(task, style, problems):
    by_question = {p.question: task.solution(p, style) for p in problems}
    return lambda prompt: [" " + by_question[prompt.question]]


# ---------------------------------------------------------------- from a text to an answer


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (" x = 1; print ( x )", "x = 1; print ( x )"),
        ("Sure!\n```python\nx = 1\nprint(x)\n```\nIt prints 1.", "x = 1\nprint(x)"),
        ("```\nx = 1\n```\nbetter:\n```py\nx = 2\n```", "x = 2"),
        ("```python\nx = 1\nprint(x", "x = 1\nprint(x"),
        ("", ""),
    ],
)
def test_program_in_finds_the_last_block(text, program) -> None:
    assert program_in(text) == program


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("def solution():\n    return 7", "7"),
        ("def solver():\n    return 7", "7"),
        ("def solution():\n    print('debug')\n    return 7", "7"),
        ("def solution():\n    return 7\nprint(solution() + 1)", "8"),
        ("a = 3\nans = a + 4", "7"),
        ("answer = 7", "7"),
        ("ans = 7\nprint(ans * 2)", "14"),
        ("x = 7; print ( x )", "7"),
    ],
)
def test_with_print_states_the_answer_that_a_program_defines(program, printed) -> None:
    assert interpret(with_print(program)).answer == printed


def test_with_print_leaves_a_program_alone_that_defines_no_answer() -> None:
    assert with_print("x = 7") == "x = 7"


@pytest.mark.parametrize(
    ("printed", "number"),
    [("18", "18"), ("18.0", "18"), ("-3.50", "-3.5"), ("0.1", "0.1"), ("12345678901234567890", "12345678901234567890"),
     ("inf", "inf"), ("nan", "nan"), ("[1]", "[1]"), ("3.3333333333333335", "3.3333333333")],
)  # fmt: skip
def test_plain_number(printed, number) -> None:
    assert plain_number(printed) == number


def test_stated_answer_is_read_by_the_task() -> None:
    assert stated_answer(CHAIN, Outcome("36\n37.0\n")) == "37"
    assert stated_answer(CHAIN, Outcome("Mary\n")) is None
    assert stated_answer(CHAIN, Outcome("37\n", "error", "Line 2: no.")) is None


# ---------------------------------------------------------------- program of thought and PAL


@pytest.mark.parametrize("task", [CHAIN, GRAPH, LARGE], ids=lambda t: t.name)
def test_gold_programs_of_every_world_run_to_the_gold_answer(task) -> None:
    problems = task.problems(60, seed=1) + task.problems(20, seed=1, difficulty=task.unseen_difficulties)
    attempts = ProgramOfThought(task).solve(problems, Scripted(gold(task, "program", problems)), Budget())
    assert [a.problem_id for a in attempts] == [p.id for p in problems]
    assert all(a.grade == Grade.CORRECT for a in attempts)
    assert all(len(a.trace) == 1 and a.trace[0].outcome.ok for a in attempts)


def test_a_program_asks_in_its_style_and_greedily() -> None:
    problems = CHAIN.problems(2)
    model = Scripted(gold(CHAIN, "program", problems))
    ProgramOfThought(CHAIN, seed=4).solve(problems, model, Budget(max_new_tokens=33))
    assert [p.instruction for p in model.asked] == ["Write a program."] * 2
    assert model.how == {"n": 1, "tokens": 33, "temperature": 0.0, "top_p": 1.0, "seed": 4}


def test_programs_vote_and_refused_ones_do_not() -> None:
    problem = CHAIN.problems(1)[0]
    programs = ["print(1)", "import os; print(5)", "x = 2; print ( x )", "print(2.0)", "print(", "while True: pass"]
    solver = ProgramOfThought(CHAIN, temperature=1.0, limits=Limits(steps=2000))
    (a,) = solver.solve([problem], Scripted(lambda prompt: programs), Budget(samples=6))
    assert a.answer == "2"
    assert [run.outcome.kind for run in a.trace] == ["", "language", "", "", "error", "limit"]
    assert [run.answer for run in a.trace] == ["1", None, "2", "2", None, None]
    words = sum(len(p.split()) for p in programs)
    assert a.cost == Cost(prompt_tokens=5, generated_tokens=words, flops=FLOPS * (5 + words)), "one prompt read"


def test_a_problem_with_no_program_that_runs_is_unparsable() -> None:
    (a,) = ProgramOfThought(CHAIN).solve(CHAIN.problems(1), Scripted(lambda prompt: ["I cannot."]), Budget())
    assert a.answer is None and a.grade == Grade.UNPARSABLE


def test_limits_hold_for_the_programs_of_a_solver() -> None:
    loop = ["t = 0\nfor i in range(50):\n    t += i\nprint(t)"]
    run = ProgramOfThought(CHAIN).solve(CHAIN.problems(1), Scripted(lambda prompt: loop), Budget())
    short = ProgramOfThought(CHAIN, limits=Limits(steps=50)).solve(
        CHAIN.problems(1), Scripted(lambda prompt: loop), Budget()
    )
    assert run[0].answer == "1225" and short[0].answer is None


def test_no_problems_no_work() -> None:
    model = Scripted(lambda prompt: [""])
    assert ProgramOfThought(CHAIN).solve([], model, Budget()) == []
    assert CalculatorCalls(CHAIN).solve([], model, Budget()) == []
    assert ReAct(GRAPH).solve([], model, Budget()) == []


def test_pal_shows_programs_before_it_asks_for_one() -> None:
    examples = pal_examples(CHAIN, shots=3, seed=2)
    problems = CHAIN.problems(2)
    model = Scripted(gold(CHAIN, "program", problems))
    solver = ProgramAided(CHAIN, examples)
    attempts = solver.solve(problems, model, Budget())
    assert solver.name == "PAL, 3 examples"
    assert [a.grade for a in attempts] == [Grade.CORRECT] * 2
    assert all(p.instruction == "Write a program." and p.examples == examples for p in model.asked)
    assert len({q for q, _ in examples}) == 3


def test_pal_examples_come_from_the_training_split() -> None:
    shown = {q for q, _ in pal_examples(CHAIN, shots=4, seed=5)}
    made = CHAIN.problems(4, split="train", seed=5, difficulty=2)
    assert shown == {p.question for p in made} and all(split_of(p.canonical) == "train" for p in made)


def test_written_pal_examples_are_right() -> None:
    with Sandbox() as sandbox:
        outcomes = sandbox.run([with_print(program) for _, program, _ in PAL_EXAMPLES])
    assert [plain_number(o.answer) for o in outcomes] == [answer for *_, answer in PAL_EXAMPLES]
    assert pal_examples(get_task("countdown"), shots=2) == tuple((q, p) for q, p, _ in PAL_EXAMPLES[:2])


# ---------------------------------------------------------------- the calculator


@pytest.mark.parametrize(
    ("text", "sum_"),
    [
        ("Calculator: 12 + 5 =", "12 + 5"),
        (" Calculator: 12 + 5 = ", "12 + 5"),
        ("Calculator: 1 + 2 = 3. Calculator: 3 * (4 - 1) =", "3 * (4 - 1)"),
        ("Calculator: Mary = Leo + 4 = 5 + 4 =", "5 + 4"),
        ("Calculator: 2.5 * 4 =", "2.5 * 4"),
        ("Calculator: Mary =", None),
        ("Calculator: Mary = Leo + 4 =", None),
        ("Calculator: 12 =", None),
        ("Calculator: 12 + 5 = 17 =", None),
        ("Calculator: 1 + 2 = 3. So 3 + 4 =", None),
        ("12 + 5 =", None),
        ("Calculator: __import__('os') + 1 =", None),
        ("Calculator: 1 + 1 = 2. The answer is 2.", None),
        ("Calculator: " + "1 + " * 200 + "1 =", None),
    ],
)
def test_handed_over(text, sum_) -> None:
    assert handed_over(text) == sum_


def test_calculator_answers_exactly_and_counts() -> None:
    with Sandbox() as sandbox:
        tool = Calculator(sandbox)
        assert tool("Calculator: 79748123 + 405364 =") == " 80153487"
        assert tool("Calculator: 79748123 + 405364 =") == " 80153487"
        assert tool("Calculator: 9 / 2 =") == " 4.5"
        assert tool("Calculator: 8 / 2 =") == " 4"
        assert tool("Calculator: 1 / 0 =") is None
        assert tool("Calculator: 1 + + =") is None
        assert tool("no call =") is None
        assert (tool.asked, tool.refused) == (6, 2)


@pytest.mark.parametrize("task", [CHAIN, GRAPH, LARGE], ids=lambda t: t.name)
def test_the_tools_results_stand_in_for_the_models(task) -> None:
    """A model that copies well and cannot calculate: its every result is 99 unless the tool answers."""
    problems = task.problems(20, seed=2)

    def script(prompt):
        problem = next(p for p in problems if p.question == prompt.question)
        head, final = task.solution(problem, "tool").rsplit(". ", 1)
        steps = [s.rsplit("= ", 1)[0] + "={}" if s.startswith("Calculator:") else s for s in head.split(". ")]
        return [". ".join(s.replace(" ={}", " ={}") for s in steps) + f". {final}"]

    attempts = CalculatorCalls(task).solve(problems, Scripted(script), Budget())
    assert [a.trace[0].text for a in attempts] == [task.solution(p, "tool") for p in problems]
    assert all(a.grade == Grade.CORRECT and a.cost.prompt_tokens > 5 for a in attempts)


def test_calculator_calls_vote() -> None:
    problem = CHAIN.problems(1)[0]
    texts = [f"Calculator: {s} + 0 ={{}}. The answer is {s}." for s in ("3", "4", "4")]
    (a,) = CalculatorCalls(CHAIN, temperature=1.0).solve([problem], Scripted(lambda prompt: texts), Budget(samples=3))
    assert a.answer == "4" and len(a.trace) == 3


# ---------------------------------------------------------------- look-up and ReAct


def test_look_up_answers_a_question_and_nothing_else() -> None:
    tool = LookUp({"Mary": "Mary has 4 more than Leo.", "The Eiffel Tower": "It is in Paris."})
    assert tool("Look up Mary:") == " Mary has 4 more than Leo."
    assert tool("I must know more. Look up The Eiffel Tower:") == " It is in Paris."
    assert tool("Look up Mary: Mary has 4 more than Leo. Look up Leo:") == " Nothing is known."
    assert tool("Look up Mary: Mary has 5. So:") is None
    assert tool("Mary:") is None


def react_script(problems):
    def script(prompt):
        problem = next(p for p in problems if lookup_prompt(p).question == prompt.question)
        text = lookup_solution(problem)
        for sentence in lookup_table(problem).values():
            text = text.replace(f": {sentence}", ":{}")
        return [text]

    return script


def test_react_asks_without_the_facts_and_reads_them_as_it_asks() -> None:
    # Problems whose prompts differ, so that the script can tell them apart.
    problems = list({lookup_prompt(p).question: p for p in GRAPH.problems(12, seed=3)}.values())
    model = Scripted(react_script(problems))
    attempts = ReAct(GRAPH).solve(problems, model, Budget())
    assert [a.trace[0].text for a in attempts] == [lookup_solution(p) for p in problems]
    assert all(a.grade == Grade.CORRECT for a in attempts)
    for p, prompt, a in zip(problems, model.asked, attempts, strict=True):
        assert not any(s in prompt.question for s in lookup_table(p).values())
        looked = sum(len(lookup_table(p)[x].split()) for x in p.facts["needed"])
        assert a.cost.prompt_tokens == 5 + looked, "the tool's words are read, not drawn"


def test_react_shows_worked_problems() -> None:
    shown, problem = GRAPH.problems(2, split="train"), GRAPH.problems(1)[0]
    model = Scripted(react_script([problem]))
    ReAct(GRAPH, examples=tuple(shown)).solve([problem], model, Budget())
    assert model.asked[0].examples == tuple((lookup_prompt(p).question, lookup_solution(p)) for p in shown)


def test_react_takes_another_tool() -> None:
    problem = CHAIN.problems(1)[0]
    solver = ReAct(
        CHAIN, prompt=lambda p: Prompt("How many?", "Look things up."), table=lambda p: {"it": f"It is {p.answer}."}
    )
    texts = [f"Look up it:{{}} The answer is {problem.answer}."]
    (a,) = solver.solve([problem], Scripted(lambda prompt: texts), Budget())
    assert a.trace[0].text == f"Look up it: It is {problem.answer}. The answer is {problem.answer}."


# ---------------------------------------------------------------- through the engine


@pytest.fixture(scope="module")
def instruct():
    return load_model("instruct")


def test_programs_of_the_bundled_model_run(instruct) -> None:
    problems = CHAIN.problems(12, seed=7)
    attempts = ProgramOfThought(CHAIN).solve(problems, instruct, Budget(max_new_tokens=64))
    assert sum(a.grade == Grade.CORRECT for a in attempts) >= 9


def test_the_calculator_answers_inside_generation(instruct) -> None:
    """Three groups of digits are more than the bundled model can add; with the tool its sums are exact."""
    problems = LARGE.problems(12, seed=7, difficulty=3)
    budget = Budget(max_new_tokens=64)
    alone = Prompting(LARGE, "tool").solve(problems, instruct, budget)
    helped = CalculatorCalls(LARGE).solve(problems, instruct, budget)
    assert sum(a.grade == Grade.CORRECT for a in helped) >= sum(a.grade == Grade.CORRECT for a in alone) + 4
    results = [float(c.text.partition(". ")[0].rpartition("= ")[2]) for a in helped for c in a.trace]
    with Sandbox() as sandbox:
        sums = [handed_over(c.text.partition("=")[0] + "=") for a in helped for c in a.trace]
        assert [float(o.answer) for o in sandbox.run([f"print({s})" for s in sums])] == results
    assert all(a.cost.prompt_tokens > b.cost.prompt_tokens for a, b in zip(helped, alone, strict=True))


def test_each_problem_has_its_own_table_in_one_batch(instruct) -> None:
    """The engine pauses each row for the tool of its own prompt: the same name is known differently in two."""
    prompts = [Prompt("Say it.", prefill="Look up Ada"), Prompt("Say it twice.", prefill="Look up Ada")]
    tools = [lambda text: " Ada has 5.", lambda text: " Ada has 7."]
    # Every token may end in one of these, so the first word pauses.
    marks = tuple("abcdefghijklmnopqrstuvwxyz0123456789.:")
    drawn = instruct.sample(prompts, 2, 2, pause_strings=marks, pause=tools)
    assert all(" Ada has 5." in c.text for c in drawn[0]) and all(" Ada has 7." in c.text for c in drawn[1])
    with pytest.raises(ValueError, match="one a prompt"):
        instruct.sample(prompts, 1, 2, pause_strings=(":",), pause=tools[:1])
