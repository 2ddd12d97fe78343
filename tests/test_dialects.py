"""Skills in two dialects: what is asked, what is read, where a step ends, and every solver with a model of each."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from srm_utils.experiments import compare as comparing
from srm_utils.experiments.listing import listed
from srm_utils.inference import asking
from srm_utils.inference.asking import chat_of, steps_by
from srm_utils.inference.beam_search import BeamSearch, DiverseVerifierTreeSearch, RankedSamples
from srm_utils.inference.chain_of_thought import LeastToMost, Prompting
from srm_utils.inference.debate import Debate
from srm_utils.inference.entry import Setting
from srm_utils.inference.monte_carlo_tree_search import MonteCarloTreeSearch
from srm_utils.inference.mutual_consistency import MutualConsistency
from srm_utils.inference.registry import choose_solvers, registered_solvers
from srm_utils.inference.roles import PlannerSolverVerifier, RoundTable
from srm_utils.inference.self_correction import (
    NOTHING_WRONG,
    UNREAD,
    CheckingCritic,
    ModelCritic,
    ModelVerifier,
    SelfCorrection,
)
from srm_utils.inference.solver import Budget
from srm_utils.inference.speculative_reasoning import SpeculativeReasoning
from srm_utils.inference.state_scores import judged_solution, judged_step, likelihood, says
from srm_utils.inference.thinking_budget import BudgetForcing, EarlyExit, NamedBudget, NoThinking, confident, never
from srm_utils.inference.thoughts import Branch, Steps
from srm_utils.inference.tools import LookUp, written_sum
from srm_utils.inference.tree_of_thoughts import BreadthFirst, DepthFirst, numbers_left, votes
from srm_utils.inference.verifiers import GenerativeVerifier, JudgedSteps, VerifiedSamples
from srm_utils.inference.voting import SelfConsistency
from srm_utils.models.chat import Chat
from srm_utils.models.fetch import fetched
from srm_utils.models.language_model import LanguageModel, Scored
from srm_utils.models.loading import load_model
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import dialects, get_task, prompts
from srm_utils.tasks.answers import NUMBER
from srm_utils.tasks.dialects import DIALECTS, SKILLS, in_dialect
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.replies import choice, critique, plain_check, verdict
from srm_utils.tasks.steps import first_sentence, pieces, plain_steps, step_ends, steps_in

SOLVERS = registered_solvers()

CHAIN = get_task("chain")
ADA = Problem("a", "chain", "Ada has 12 pens. Ada finds 5 pens. How many pens does Ada have now?", "17", 1, "a")
ANN = "12 + 5 = 17"


class Decimals(Task):
    """Four problems whose answers and steps hold decimal numbers."""

    name, styles, difficulties, answers = "decimals", ("direct",), (1,), NUMBER

    def draw(self, rng, difficulty, templates="train"):
        raise NotImplementedError

    def solution(self, problem, style, rng=None):
        return f"The answer is {problem.answer}."

    def matches(self, answer, problem):
        return float(answer) == float(problem.answer)


TASK = Decimals()
PROBLEMS = [
    Problem(f"d{i}", "decimals", f"Dr. Lee has {a} litres and {b} litres, i.e. how many?", str(a + b), 1, f"d{i}")
    for i, (a, b) in enumerate(((1.25, 2.25), (1.125, 1.125), (0.0625, 0.0625), (10.5, 0.25)))
]
SCRIPT = {
    p.question: f"1. Dr. Lee takes {p.question.split()[3]} litres.\n\n2. Both are {p.answer} litres.\n"
    f"The answer is {p.answer}."
    for p in PROBLEMS
}
END = 1


class Scripted:
    """Goes on with a fixed text wherever it was begun, a token a character. It weighs Yes at 0.8 and No at 0.2."""

    name, flops_per_token, end_ids, positions = "scripted", 2.0, (END,), 4096

    def __init__(self, script=SCRIPT, chat=None, forced=None, says_yes=0.8):
        self.chat = chat or Chat()
        self.script, self.says_yes = script, says_yes
        self.forced = forced or (lambda question: f" {next(p for p in PROBLEMS if p.question == question).answer}.")
        self.asked: list[str] = []

    def render(self, prompt):
        return prompt if isinstance(prompt, str) else self.chat.render(prompt, None)

    def encode(self, prompt):
        return list(self.render(prompt).encode())

    def begun(self, prompt, text):
        return self.chat.begun(self.render(prompt), text)

    def sample(self, asked, n=1, max_new_tokens=256, temperature=1.0, top_p=1.0, stop=(), seed=0, **more):
        limits = [max_new_tokens] * len(asked) if isinstance(max_new_tokens, int) else list(max_new_tokens)
        return [[self.one(self.render(p), limit, stop)] * n for p, limit in zip(asked, limits, strict=True)]

    def one(self, text, limit, stop):
        self.asked.append(text)
        question = next((q for q in self.script if q in text), None)
        so_far = text.rpartition("\nAnswer:")[2].lstrip(" ")
        whole = self.script[question] if question else "Nothing."
        if so_far.endswith("The answer is"):
            rest = self.forced(question) + " Then he rests.\nAnd so on."
        else:
            rest = whole[len(so_far) :] if whole.startswith(so_far) else whole
            rest = rest if so_far else f" {rest}"
        cut = min((rest.index(s) for s in stop if s in rest), default=None)
        said = rest if cut is None else rest[:cut]
        ids, finish = (7,) * max(len(said), 1), "stop"
        if len(ids) > limit:
            said, ids, finish = said[:limit], ids[:limit], "length"
        elif cut is None:
            ids += (END,)
        return Completion(said, ids, (-0.1,) * len(ids), finish, len(text), Cost(generated_tokens=len(ids)))

    def score(self, asked, words):
        self.asked += [self.render(p) for p in asked]
        chance = {"Yes": self.says_yes, "A": self.says_yes, "No": 1 - self.says_yes, "B": 1 - self.says_yes}
        # A tenth of the mass lies on these words: only their ratio may count.
        return [Scored((5,), (math.log(chance[w.strip()] / 10),), Cost(scored_tokens=3)) for w in words]


# ---------------------------------------------------------------- the family's words stay as they were


@pytest.mark.parametrize(
    ("skill", "about", "text"),
    [
        ("next step", ([],), f"{ADA.question} No steps yet. What is the next step?"),
        ("next step", ([ANN],), f"{ADA.question} Steps: 12 + 5 = 17. What is the next step?"),
        (
            "judge a step",
            ([ANN, "1 + 1 = 2"],),
            f"{ADA.question} Steps: 12 + 5 = 17. 1 + 1 = 2. Is the last step right?",
        ),
        ("judge a solution", ([ANN],), f"{ADA.question} Steps: 12 + 5 = 17. Is this solution right?"),
        ("verify every step", ([ANN],), f"{ADA.question} Steps: 12 + 5 = 17. Check every step."),
        ("criticise", ([ANN],), f"{ADA.question} Steps: 12 + 5 = 17. What is wrong?"),
        ("revise", ([ANN], "Step 1 is wrong."), f"{ADA.question} Steps: 12 + 5 = 17. Step 1 is wrong. Write it again."),
        ("try again", (["One.", "Two."],), f"{ADA.question} Earlier: One. Two. Let us think step by step."),
        ("try again", ([],), f"{ADA.question} Let us think step by step."),
        ("compare two", ([ANN], ["1"]), f"{ADA.question} A: 12 + 5 = 17. B: 1. Which is better, A or B?"),
        ("hear others", (["So 5.", " 6."],), f"{ADA.question} One says: So 5. One says: 6. Let us think step by step."),
        ("plan", (), f"{ADA.question} Make a plan."),
        ("follow a plan", (" Plan: add.",), f"{ADA.question} Plan: add. Follow the plan."),
        ("budget of words", (20,), f"{ADA.question} Use at most 20 words."),
        ("think again", (), f"{ADA.question} Solve it, then think again."),
        ("explain an answer", ("17",), f"{ADA.question} The answer is 17. Explain it."),
        ("rewrite the question", (), f"{ADA.question} Write the question in other words."),
    ],
)
def test_the_familys_prompts_are_what_they_were(skill, about, text):
    prompt = SKILLS[skill].prompt("family", ADA, *about)
    assert prompt.text() == f"Question: {text}\nAnswer:"
    assert not prompt.examples and not prompt.prefill


def test_the_familys_other_prompts_are_what_they_were():
    assert SKILLS["value a state"].prompt("family", [3, 8], 24).text() == (
        "Question: Left 8, 3. Can they make 24?\nAnswer:"
    )
    assert SKILLS["sort a list"].prompt("family", [9, 4]).text() == (
        "Question: Sort 9 4 from small to large. Answer directly.\nAnswer:"
    )
    assert (
        SKILLS["mend a list"].prompt("family", [4], [2], [2]).text() == "Question: Merge 4 and 2: 2. Mend it.\nAnswer:"
    )
    for style, skill in (("decompose", "decompose"), ("program", "write a program"), ("tool", "call a calculator")):
        assert SKILLS[skill].prompt("family", CHAIN, ADA) == CHAIN.prompt(ADA, style)


# ---------------------------------------------------------------- plain English


def about(skill: str) -> tuple:
    graph, split = get_task("graph").problems(1)[0], get_task("split-evidence")
    given = {
        "solve": (CHAIN, ADA, "cot"), "revise": (ADA, [ANN], "Look again."), "try again": (ADA, ["Not 3."]),
        "compare two": (ADA, [ANN], ["1 + 1 = 2"]), "value a state": ([3, 8], 24), "hear others": (ADA, ["So 5."]),
        "plan": (ADA,), "follow a plan": (ADA, "Plan: add."), "budget of words": (ADA, 20), "think again": (ADA,),
        "explain an answer": (ADA, "17"), "rewrite the question": (ADA,), "decompose": (CHAIN, ADA),
        "write a program": (CHAIN, ADA), "call a calculator": (CHAIN, ADA), "look up": (graph,),
        "send a message": (split, split.problems(1)[0], 0, ["Message: Ida is shy."], False),
        "sort a list": ([9, 4],), "merge two lists": ([4, 9], [2]), "mend a list": ([4], [2], [2]),
    }  # fmt: skip
    return given.get(skill, (ADA, [ANN]))


@pytest.mark.parametrize("name", SKILLS)
def test_every_skill_is_asked_for_in_plain_english_and_reads_its_own_examples(name):
    skill = SKILLS[name]
    prompt = skill.prompt("instruct", *about(name))
    text = Chat().render(prompt, None)
    assert prompt.plain and text.endswith("\nAnswer:") and skill.asks and skill.reads
    assert prompt.plain in Chat()._question(prompt.question, prompt), "a chat shows the instruction"
    if prompt.examples:
        last = text.rpartition("Question:")[2]
        assert "?" in last or "plan" in last or "Sort" in last or "Merge" in last, "it says what is asked without one"
    for _, reply in prompt.examples:
        if skill.readers is None:
            assert "answer is" in reply or "Message: " in reply
        else:
            read = skill.read("instruct", reply)
            assert read is not None and getattr(read, "whole", getattr(read, "content", True)) is not None
    if skill.readers is None:
        with pytest.raises(TypeError, match="ends in an answer"):
            skill.read("instruct", "Yes.")
    for dialect in DIALECTS if skill.readers else ():
        for nothing in ("", "Der Himmel ist blau"):
            read = skill.read(dialect, nothing)
            told = getattr(read, "whole", getattr(read, "content", read))
            assert told is None or isinstance(told, str), "what cannot be read is no verdict"


def test_a_familys_function_is_found_in_the_other_dialect():
    assert in_dialect(prompts.verify_prompt, "instruct")(ADA, [ANN]).plain
    assert in_dialect(prompts.verify_prompt, "family") is prompts.verify_prompt
    own = lambda problem: Prompt("mine")  # noqa: E731
    assert in_dialect(own, "instruct") is own


YES = [
    "Yes.", "yes", "Yes, the last step is right.", "**Yes**", "Correct.", "That's correct!", "The step is right.",
    "I think this is right", "It is not wrong.", "The solution is correct. 3 + 4 is 7.", "No errors.", "Answer: Yes",
    "I can't find any mistakes.", "All steps are correct.", "<think>hm, no</think>Yes", "\\boxed{Yes}", "It's right",
    "There are no errors in this solution.", "The work looks fine, and the answer is correct.", "Yes — it is.",
]  # fmt: skip
NO = [
    "No.", "**No**", "No, it is not.", "Incorrect.", "The step is incorrect", "That's wrong.", "It isn't correct.",
    "I don't think it is right.", "The last step is wrong: 3 + 4 = 7.", "False", "Wrong!", "Answer: No", "no",
    "There is a mistake in step 2.", "Not correct.", "Step 2 is wrong. It should be 7.",
    "Step 1 is right. Step 2 is right. Therefore, the solution is incorrect.",
]  # fmt: skip
NEITHER = [
    "", "Let us see.", "Is it right?", "The correct answer is 5.", "12 + 5 = 17", "Anna has 5 apples.", "Oui.",
    "I am not sure if it is right.", "Das ist richtig.", "If the step is right, then 5.", "Yes or no?",
    "It might be right.", "I cannot tell whether it is wrong.", "Step 1 is right. Step 2 is wrong.",
    "She stands right next to the door.", "To check if the step is right, we add 3 and 4.",
]  # fmt: skip


@pytest.mark.parametrize("said", YES)
def test_a_written_yes_is_read(said):
    assert verdict(said) is True


@pytest.mark.parametrize("said", NO)
def test_a_written_no_is_read(said):
    assert verdict(said) is False


@pytest.mark.parametrize("said", NEITHER)
def test_what_is_neither_yes_nor_no_is_nothing(said):
    assert verdict(said) is None


def test_critiques_checks_and_choices_are_read():
    assert critique("Step 1 is correct. Step 2 is incorrect because 3 + 4 = 7.") == (False, 2)
    assert critique("Step 3 should be 12 - 4 = 8.") == (False, 3)
    assert critique("All steps are right.") == (True, None) and critique("I like it.") == (None, None)
    assert plain_check("**Step 1**: 3+4=7. Right.\n**Step 2**: 7+1=8. Right.\nAll steps are right.") == (
        [True, True],
        True,
    )
    assert plain_check("Step 1 is correct.\nStep 2 is incorrect. 7 - 2 = 5.\nYes.") == ([True, False], False)
    assert plain_check("Step 1: 11 + 8 = 19") == ([], None) and not plain_check("I checked it all.").read
    assert [choice(t) for t in ("A", "(B)", "The better one is B.", "A good start", "both", "A or B")] == [
        "A", "B", "B", None, None, None,
    ]  # fmt: skip


# ---------------------------------------------------------------- where a step ends

WHOLE = [
    "Dr. Lee pays 3.5 dollars, e.g. in coins.", "That is No. 5 of them.", "The U.S. Army has 2.25 million.",
    "Mrs. Hill vs. Mr. Jones, Fig. 3.", "J. R. R. Tolkien ran 0.125 km.", "About approx. 7 lbs. of it.",
    "1. Add 3.5 and 4.", "Step 2: So $1.50 is left!", "It costs $.75 (i.e. less).", "He lives in St. Paul.",
]  # fmt: skip


@pytest.mark.parametrize("step", WHOLE)
def test_a_point_in_a_number_or_an_abbreviation_ends_no_step(step):
    assert step_ends(step) == [len(step)] and first_sentence(f"{step} Then more.") == step


def test_steps_end_at_lines_items_and_sentences():
    text = "So 3.5 + 1 = 4.5. Good.\n\n2. Dr. No has 2. 3. He adds 4.\n- At 5 p.m. They left."
    assert [text[a:b].strip() for a, b in zip([0, *step_ends(text)], step_ends(text), strict=False)] == [
        "So 3.5 + 1 = 4.5.", "Good.", "2. Dr. No has 2.", "3. He adds 4.", "- At 5 p.m.", "They left.",
    ]  # fmt: skip
    assert plain_steps(text)[2] == "Dr. No has 2" and plain_steps("Steps:\n**1.** A = 2.5\nHow?\nAnswer: 2.5") == [
        "A = 2.5"
    ]
    for mark in ("\n", "."):
        assert "".join(pieces(text, mark)) == text


ODD = {
    "colons": ":" * 5000, "step 1": "step 1 " * 3000, "so": "so, " * 5000, "sums": "5 + " * 2000 + "x =",
    "brackets": "( 5 ) + " * 100 + "y =", "lines": "\n" * 9000, "words": "is not all both " * 1500,
    "checks": "Step 1: right.\n" * 1500, "spaces": " " * 9000, "points": "." * 9000, "initials": "A. " * 3000,
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_texts_are_read_in_no_time(kind):
    began = time.process_time()
    for read in (verdict, critique, plain_check, choice, plain_steps, pieces, first_sentence, written_sum):
        read(ODD[kind])
    assert time.process_time() - began < 5, "a pattern that tries every way would take years"


def test_steps_are_read_after_the_thought():
    assert plain_steps("<think>\nIs it 3? No.\n</think>\n1 + 1 = 2.\nThe answer is 2.") == ["1 + 1 = 2"]
    assert plain_steps("<think>\n1 + 2 = 3.\n2 + 2 =") == ["1 + 2 = 3", "2 + 2 ="]


def test_the_steps_of_stories_in_plain_english_are_found():
    stories = get_task("stories")
    for problem in stories.problems(20, seed=1):
        found = plain_steps(stories.solution(problem, "cot"))
        assert len(found) == len(problem.steps)
        assert all(gold in step for gold, step in zip(problem.steps, found, strict=True))


def test_no_solver_reads_a_problems_gold_steps():
    inference, experiments = (Path(module.__file__).parent for module in (asking, comparing))
    # The check of the family shows gold steps to a probe; it is no solver.
    files = [file for file in experiments.rglob("*.py") if file.name != "family_check.py"]
    for file in (*inference.rglob("*.py"), *files):
        assert not re.search(r"\b(?:p|problem|problems\[\w+\])\.steps\b", file.read_text(encoding="utf-8")), file.name
    stripped = replace(ADA, steps=("gold",))
    assert steps_in("Some words. 1 + 1 = 2.", stripped) == steps_in("Some words. 1 + 1 = 2.", ADA) == ["1 + 1 = 2"]


SEARCHES = {
    "early exit": lambda: EarlyExit(TASK, never),
    "early exit, at once": lambda: EarlyExit(TASK, confident(0.0)),
    "no thinking": lambda: NoThinking(TASK),
    "budget forcing": lambda: BudgetForcing(TASK),
    "waits": lambda: BudgetForcing(TASK, waits=2),
    "named budget": lambda: NamedBudget(TASK, 40),
    "prompting": lambda: Prompting(TASK),
    "least to most": lambda: LeastToMost(TASK),
    "breadth first": lambda: BreadthFirst(Steps(TASK), judged_step),
    "depth first": lambda: DepthFirst(Steps(TASK), judged_step),
    "votes": lambda: BreadthFirst(Steps(TASK), votes),
    "beams": lambda: BeamSearch(Steps(TASK), judged_step),
    "separate trees": lambda: DiverseVerifierTreeSearch(Steps(TASK), likelihood),
    "ranked samples": lambda: RankedSamples(Steps(TASK), judged_step, math.prod),
    "mcts": lambda: MonteCarloTreeSearch(Steps(TASK), judged_solution, branching=2),
    "vote": lambda: SelfConsistency(TASK),
    "verifier": lambda: VerifiedSamples(TASK, JudgedSteps(Scripted())),
    "mutual": lambda: MutualConsistency(TASK, Scripted()),
    "debate": lambda: Debate(TASK),
    "round table": lambda: RoundTable(TASK, [Scripted()]),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_decimal_numbers_survive_every_search(name):
    attempts = SEARCHES[name]().solve(PROBLEMS, Scripted(), Budget(4, 300))
    assert [a.answer for a in attempts] == [p.answer for p in PROBLEMS]
    assert {a.grade.value for a in attempts} == {"correct"} and {a.unparsed for a in attempts} == {0}


@pytest.mark.parametrize("limit", [5, 30, 45])
def test_a_limit_inside_a_number_still_forces_the_whole_answer(limit):
    attempts = BudgetForcing(TASK).solve(PROBLEMS, Scripted(), Budget(max_new_tokens=limit))
    assert [a.answer for a in attempts] == [p.answer for p in PROBLEMS]


def test_a_search_keeps_the_text_as_it_was_written():
    (a,) = BreadthFirst(Steps(TASK), likelihood).solve(PROBLEMS[:1], Scripted(), Budget(2, 300))
    chosen = [t.text for t in a.trace.walk() if t.status == "chosen"]
    assert [t for t in chosen if t] == SCRIPT[PROBLEMS[0].question].replace("\n\n", "\n").split("\n")
    family = replace(Scripted().chat, dialect="family", step_mark=".")
    assert Steps(TASK).mark(Scripted(chat=family)) == "." and Steps(TASK, end="Left").mark(Scripted()) == "Left"


# ---------------------------------------------------------------- verdicts by weighing


def test_a_verdict_is_weighed_against_its_opposite():
    prompt = dialects.JUDGE_STEP.prompt("instruct", PROBLEMS[0], ["1 + 1 = 2"])
    values, costs = says(Scripted(), [PROBLEMS[0]] * 2, [prompt, None], otherwise=0.25)
    assert values == pytest.approx([0.8, 0.25]) and [c.scored_tokens for c in costs] == [3, 0], "read once for both"
    family = Scripted(chat=Chat(dialect="family", step_mark="."))
    assert says(family, [PROBLEMS[0]], [prompt])[0] == pytest.approx([0.08]), "the family's own probability, as before"


def test_a_text_without_a_step_is_judged_neither_right_nor_wrong():
    empty = [(PROBLEMS[0], Branch("The answer is 3.5.", Branch("")))]
    for score in (judged_step, judged_solution):
        assert score(Scripted(), empty)[0] == [0.5]
    (scored,) = JudgedSteps(Scripted()).score(PROBLEMS[:1], ["The answer is 3.5."])
    assert scored.scores == (0.5,)


def test_a_thinking_model_judges_behind_a_closed_thought():
    model = Scripted(chat=Chat(tags=("<think>", "</think>")))
    says(model, PROBLEMS[:1], [dialects.JUDGE_STEP.prompt("instruct", PROBLEMS[0], ["1"])])
    assert all(text.endswith("<think>\n</think>\n\n") for text in model.asked)


# ---------------------------------------------------------------- what cannot be read never agrees

FOREIGN = dict.fromkeys(SCRIPT, "Der Himmel ist blau und das Gras ist nass.")
TEXTS = [SCRIPT[p.question] for p in PROBLEMS]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_critic_takes_a_foreign_sentence_for_consent(dialect):
    model = Scripted(FOREIGN, Chat(dialect=dialect, step_mark="." if dialect == "family" else "\n"))
    critics = [ModelCritic(), CheckingCritic(), ModelVerifier(TASK, samples=3)]
    critics.append(ModelVerifier(TASK, ask=prompts.verify_prompt))
    for critic in critics:
        for review in critic(PROBLEMS, TEXTS, model):
            assert not review.content and review.unparsed > 0 and review.text != NOTHING_WRONG, critic
    for review in CheckingCritic()(PROBLEMS, TEXTS, model):
        assert review.text == UNREAD, "and no step is called wrong"
    for scored in GenerativeVerifier(model, samples=2).score(PROBLEMS, TEXTS):
        assert set(scored.scores) == {0.0} and scored.unparsed == 2
    solver = SelfCorrection(TASK, CheckingCritic(), rounds=2)
    assert [(len(a.trace), a.unparsed) for a in solver.solve(PROBLEMS[:1], model, Budget())] == [(3, 3)]


def test_a_verifier_that_says_nothing_passes_no_solution():
    (a,) = PlannerSolverVerifier(TASK, verifier=Scripted(FOREIGN)).solve(PROBLEMS[:1], Scripted(), Budget(2, 300))
    assert [turn.chance for turn in a.trace] == [0.0, 0.0] and a.unparsed == 2 and a.answer == PROBLEMS[0].answer


def test_two_without_an_answer_have_not_agreed():
    (a,) = RoundTable(TASK, [Scripted(FOREIGN)], rounds=2).solve(PROBLEMS[:1], Scripted(FOREIGN), Budget())
    assert a.answer is None and len(a.trace) == 3 and a.unparsed == 6


def test_a_readable_critic_is_believed():
    right = Scripted(dict.fromkeys(SCRIPT, "No errors: all steps are correct."))
    assert [r.content for r in ModelCritic()(PROBLEMS, TEXTS, right)] == [True] * 4
    wrong = Scripted(dict.fromkeys(SCRIPT, "Step 1: right.\nStep 2: Both are 9, wrong.\nNo."))
    reviews = CheckingCritic()(PROBLEMS, TEXTS, wrong)
    assert [(r.content, r.unparsed) for r in reviews] == [(False, 0)] * 4
    assert reviews[0].text == f"Step 2 is wrong: Both are {PROBLEMS[0].answer} litres."
    assert [r.content for r in ModelVerifier(TASK)(PROBLEMS, TEXTS, Scripted())] == [True] * 4
    assert [r.content for r in ModelVerifier(TASK)(PROBLEMS, TEXTS, Scripted(says_yes=0.3))] == [False] * 4


# ---------------------------------------------------------------- thinking, tools, states

TAGS = ("<think>", "</think>")


def test_budget_forcing_uses_the_models_own_tags():
    thought = "<think>\nThe answer is 1.\nThat is all."
    script = {p.question: f"{thought}\n</think>\n\nThe answer is {p.answer}." for p in PROBLEMS}

    class Thinker(Scripted):
        def one(self, text, limit, stop):
            if "</think>" not in text.rpartition("\nAnswer:")[2]:
                return super().one(text.replace("Wait,", "\n"), limit, stop) if "Wait," not in text else self.rest(text)
            question = next(q for q in self.script if q in text)
            said = f"The answer is {self.forced(question).strip()}"
            self.asked.append(text)
            return Completion(said, (7, END), (-0.1, -0.1), "stop", 9, Cost(generated_tokens=2))

        def rest(self, text):
            self.asked.append(text)
            return Completion(" it is more.", (7, 7), (-0.1,) * 2, "stop", 9, Cost(generated_tokens=2))

    model = Thinker(script, Chat(tags=TAGS))
    (a,) = BudgetForcing(TASK, waits=1).solve(PROBLEMS[:1], model, Budget(max_new_tokens=200))
    assert a.answer == PROBLEMS[0].answer, "what is said inside the thought is no answer"
    assert a.trace.strip() == f"{thought}\nWait, it is more.\n</think>\n\nThe answer is {a.answer}."
    assert a.trace.count("</think>") == 1, "the closing tag is withheld until the thinking is over"


def test_no_thinking_closes_an_empty_thought():
    model = Scripted(chat=Chat(tags=TAGS))
    (a,) = NoThinking(TASK).solve(PROBLEMS[:1], model, Budget())
    assert model.asked[-1].endswith("Answer: <think>\n</think> The answer is") and a.grade.value == "correct"


def test_sums_of_plain_english_are_handed_over():
    assert written_sum("1. He has 3.5 + 1.25 =") == "3.5 + 1.25" and written_sum("so $12 x 3 - 1 = ") == "12 * 3 - 1"
    assert written_sum("5 + 3 = 8 + 2 =") == "8 + 2" and written_sum("the sum =") is None is written_sum("12 =")
    assert written_sum("5 + 3 is 8") is None and written_sum("1,200 ÷ (2 + 2) =") == "1200 / (2 + 2)"
    table = LookUp({"Ann": "Ann has 5.", "Bob": "Bob has 2."})
    assert table("Look up Ann's pens:") == " Ann has 5." and table("Look up Ann and Bob:") == " Nothing is known."


def test_moves_are_found_among_words():
    countdown = get_task("countdown").problems(1, seed=1)[0]
    a, b, *rest = countdown.facts["numbers"]
    text = f"1. First, {a} + {b} = {a + b}.\n2. Then we go on."
    assert sorted(numbers_left(countdown, text, "instruct")) == sorted([*rest, a + b])
    assert sorted(numbers_left(countdown, f"{a} + {b} = {a + b}. Left")) == sorted([*rest, a + b])


# ---------------------------------------------------------------- every solver, both dialects

#: What each solver asks a model for. A new solver needs a line here.
ASKS = {
    "direct": "solve", "greedy": "solve", "least-to-most": "decompose", "cot-decoding": "solve",
    "early-exit": "solve", "budget-forcing": "solve", "no-thinking": "solve", "self-consistency": "solve",
    "weighted-vote": "solve", "likeliest": "solve", "adaptive-consistency": "solve", "adaptive-allocation": "solve",
    "best-of-n": "solve, judge a step", "verifier-vote": "solve, judge a step",
    "written-checks": "solve, verify every step", "tree-of-thoughts": "solve, judge a step, value a state",
    "depth-first": "solve, judge a step, value a state", "beam-search": "solve, judge a step, value a state",
    "diverse-trees": "solve, judge a step, value a state", "mcts": "solve, judge a step", "written-search": "solve",
    "graph-of-thoughts": "sort a list, merge two lists, mend a list", "self-refine": "solve, verify every step, revise",
    "reflexion": "try again, verify every step", "debate": "solve, hear others",
    "roles": "plan, follow a plan, verify every step", "exchange": "send a message",
    "round-table": "solve, hear others",
    "mutual-consistency": "solve", "routed": "solve", "program-of-thought": "write a program", "pal": "write a program",
    "calculator": "call a calculator", "react": "look up",
}  # fmt: skip
#: Solvers made for one task alone.
OWN = {"graph-of-thoughts": "sorting", "exchange": "split-evidence", "react": "graph"}


def test_every_solver_says_what_it_asks_and_reads():
    assert {name: ", ".join(s.name for s in m.skills) for name, m in SOLVERS.items()} == ASKS
    for dialect in DIALECTS:
        rows = listed(CHAIN, dialect, partner=True)
        assert [row.solver for row in rows] == list(SOLVERS)
        for row in rows:
            assert row.dialect == dialect and row.asks and row.reads and row.about
            shown = str(row)
            assert f"NOT HERE: {row.why_not}" in shown if row.why_not else f"asks for {row.asks}" in shown
    with pytest.raises(ValueError, match="There is no solver 'debat'; did you mean debate"):
        listed(CHAIN, "family", ["debat"])


def test_an_instruct_model_can_be_asked_to_think_about_any_task():
    here = choose_solvers(TASK, partner=True, dialect="instruct")[0]
    assert set(SOLVERS) - set(here) == set(OWN)
    family = set(choose_solvers(TASK, partner=True, dialect="family")[0])
    assert {"least-to-most", "program-of-thought", "roles", "calculator", "early-exit"} <= set(SOLVERS) - family
    assert Setting(TASK, Scripted(), []).style == "cot" and Setting(TASK, Scripted(), []).heat < 1
    assert Setting(TASK, Scripted(chat=Chat(dialect="family")), []).style == "direct"
    assert choose_solvers(TASK, ["roles"], dialect=None)[0] == ["roles"], "a model of some dialect could"


@pytest.fixture(scope="module")
def tiny():
    """A model that has learnt nothing, with bytes for most words."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from srm_utils.models.tokenizer import build_tokenizer

    words = build_tokenizer(
        [SKILLS["judge a step"].prompt("instruct", ADA, [ANN]).question, "The answer is"], chat=False
    )
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, intermediate_size=32, max_position_embeddings=8192, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, initializer_range=0.1,
    )  # fmt: skip
    return LanguageModel(Qwen3ForCausalLM(config).eval(), words, "tiny")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_solver_runs_in_both_dialects(tiny, dialect):
    chat = replace(tiny.chat, dialect=dialect, step_mark="." if dialect == "family" else "\n", stop=())
    model = LanguageModel(tiny.model, tiny.tokenizer, "tiny", chat=chat)
    for name, method in SOLVERS.items():
        task = get_task(OWN.get(name, "chain"))
        (problem,) = task.problems(1, split="test", difficulty=task.difficulties[0])
        setting = Setting(task, model, task.problems(1, difficulty=task.difficulties[0]), model, 4)
        size = max(method.least, min(method.most, 2))
        (a,) = method.build(setting, size).solve([problem], model, method.budget(setting, size))
        assert a.problem_id == problem.id and a.cost.flops > 0, name
        assert a.unparsed > 0 or a.answer is not None, f"{name} says how many replies it could not read"


@pytest.mark.parametrize("judge", [None, "question"])
def test_speculation_by_steps_ends_them_at_the_chats_mark(tiny, judge):
    from srm_utils.inference.speculative_reasoning import by_likelihood, by_question

    model = LanguageModel(
        tiny.model, tiny.tokenizer, "tiny", chat=replace(tiny.chat, dialect="instruct", step_mark="\n")
    )
    solver = SpeculativeReasoning(TASK, model, by_question if judge else by_likelihood)
    attempts = solver.solve(PROBLEMS[:2], model, Budget(max_new_tokens=12))
    kept = [step.text for a in attempts for step in a.trace if step.kept]
    assert kept and all("\n" not in text.strip() for text in kept)


def test_a_stand_in_without_a_chat_speaks_the_familys_language():
    assert chat_of(object()).dialect == "family" and chat_of(Scripted()).dialect == "instruct"
    assert steps_by(Scripted(), "2. He adds 0.5 l.\nThe answer is 3.", PROBLEMS[0]) == ["He adds 0.5 l"]


# ---------------------------------------------------------------- a real model


@pytest.mark.skipif(fetched("smollm2") is None, reason="smollm2 is not fetched: run `srm models fetch smollm2`")
def test_a_real_model_is_asked_and_read():
    model = load_model("smollm2", device="cpu")
    problem = CHAIN.problems(1, difficulty=1, split="test", seed=1)[0]
    (a,) = NoThinking(CHAIN).solve([problem], model, Budget())
    assert a.answer is not None and a.unparsed == 0
    steps = ["2 + 2 = 4"]
    prompt = dialects.JUDGE_STEP.prompt("instruct", problem, steps)
    (chance,), _ = says(model, [problem], [prompt])
    assert 0.02 < chance < 0.98, "both words are likely, so that their ratio means something"
    (review,) = ModelCritic(max_new_tokens=8)([problem], ["2 + 2 = 5.\nThe answer is 5."], model)
    assert review.unparsed in (0, 1) and (review.unparsed == 0 or not review.content)
