"""What a model says, read as a person would: answers by kind, and what must never count as right."""

from __future__ import annotations

import time

import pytest

from srm_utils.evaluation.evaluate import evaluate
from srm_utils.inference.solver import Budget, attempt
from srm_utils.inference.voting import AdaptiveConsistency, SelfConsistency, plurality, weighted
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.answers import FORMATS, MATH, NUMBER, TEXT, YES_NO
from srm_utils.tasks.grading import equal_math, find_choice, find_math, grade_choice, grade_math, lettered
from srm_utils.tasks.grading.canonical import canonical_math, canonical_number
from srm_utils.tasks.grading.compare import agrees_to
from srm_utils.tasks.problem import Grade, Problem
from srm_utils.tasks.table import TableTask

# ---------------------------------------------------------------- mathematics, by kind

#: text, gold
CORRECT = {
    "unmarked": [
        ("Therefore, Janet makes **$18** every day.", "18"),
        ("She has 16 - 7 = 9 eggs left.\n\n18", "18"),
        ("So the total is 18 apples.", "18"),
        ("He walks 3 miles.\nHe walks back.\n3 + 3 = 6", "6"),
        ("Thus, there are 42 marbles in the jar.", "42"),
        ("First we add.\n\nThe total cost is $7.50.", "7.5"),
        ("Half of 12 is 6.\n\n**6 pencils**\n\nI hope this helps!", "6"),
        ("\\[ 9 \\times 2 = 18 \\]", "18"),
        ("$$\n12 + 6 = 18\n$$\n", "18"),
        ("3 boxes hold 12 pens.\nIn total, she has 36 pens.\nLet me know if you need 2 more examples!", "36"),
        ("She pays 4 * 6 = $24.", "24"),
        ("Hence, the train needs 2.5 hours.", "2.5"),
    ],
    "the last phrase that can be read": [
        ("The answer is 12. Let me verify that the answer is correct: 3*4=12.", "12"),
        ("The final answer is 12.\nLet me know if this answer is helpful!", "12"),
        ("The answer is 7. I checked whether the answer is right, and it is.", "7"),
        ("The answer is 7.\n\nThe answer is correct.", "7"),
        ("Answer: 7\n\nPlease tell me if the answer is clear.", "7"),
        ("The answer is 9. The answer is reasonable because 9 < 10.", "9"),
    ],
    "phrases": [
        (r"The answer is $5 \cdot 3 = 15$ cm.", "15"),
        ("The answer is 1/2, or 50%", "1/2"),
        ("The answer is approximately 3.14", "3.14"),
        ("The answer is about 12.", "12"),
        ("The answer is therefore 12", "12"),
        ("The answer is 12, not 13.", "12"),
        ("The answer is 7 (seven)", "7"),
        ("The answer is negative 5", "-5"),
        ('The answer is "7".', "7"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        ("The answer is exactly 40.", "40"),
        ("The answer is simply 8", "8"),
        ("The answer is minus 3.", "-3"),
        ("The answer is 0.25 (25%).", "1/4"),
        ("The answer is three hundred and six.", "306"),
        ("The answer is 15 rather than 16.", "15"),
        ("The answer to this question is 31.", "31"),
        ("Answer (in dollars): 31", "31"),
        ("the answer would be 31, since 30 + 1 = 31", "31"),
        ("**Final Answer:** 31", "31"),
        ("### Answer\n\n31", "31"),
        ("The answer is:\n\n\\[\n31\n\\]", "31"),
        ("The answer is that she saves 31 dollars.", "31"),
        ("Answer: 12 + 19 = 31", "31"),
        ("答案：31", "31"),
        ("最终答案是 $31$。", "31"),
        ("La respuesta es 31.", "31"),
    ],
    "special tokens": [
        ("The answer is 3</s>", "3"),
        ("The answer is 3<|im_end|>", "3"),
        ("The answer is 3.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nThe answer is 4.", "3"),
        ("<s> The answer is 3.</s>The answer is 4.", "3"),
        ("The answer is 3<end_of_turn>\n", "3"),
        ("<|im_start|>assistant\nThe answer is 3.<|im_end|>", "3"),
        ("The answer is 3.<｜end▁of▁sentence｜>", "3"),
        ("The answer is 3.\n\nQuestion: Ann has 2 pens and gets 2 more. The answer is 4.", "3"),
        ("Sure!\n\nQuestion: How many?\nAnswer: 3", "3"),
    ],
    "tags": [
        ("<answer>4</answer>", "4"),
        ("<answer> $4$ </answer>", "4"),
        ("<think>5</think><answer>4", "4"),
        ("<answer>The answer is 4.</answer>", "4"),
        ("<Answer>\n4 apples\n</Answer>", "4"),
    ],
    "thinking": [
        ("maybe the answer is 5 ...</think>\n\n\\boxed{18}", "18"),
        ("<think>\\boxed{5}</think>The answer is 18.", "18"),
        ("<thinking>5</thinking>\n18", "18"),
        ("<think>a</think><think>b</think>The answer is 18", "18"),
    ],
    "number words": [
        (r"\boxed{5 \text{ million}}", "5000000"),
        ("The answer is 5 thousand dollars.", "5000"),
        ("The answer is 2 dozen eggs.", "24"),
        ("The answer is 3 quarters.", "0.75"),
        ("The answer is 5 squared.", "25"),
        ("The answer is 5 halves.", "2.5"),
        ("The answer is 1.5 billion people.", "1500000000"),
        ("The answer is two thirds.", "2/3"),
        ("The answer is half a mile.", "0.5"),
        ("The answer is three dozen.", "36"),
        ("The answer is $2.5 million.", "2500000"),
        ("The answer is $40k.", "40000"),
        ("The answer is 2 cubed", "8"),
        ("The answer is 7 hundred", "700"),
    ],
    "named left sides": [
        (r"\boxed{(x,y)=(7,2)}", "(7,2)"),
        (r"\boxed{P(A)=\frac12}", "1/2"),
        (r"\boxed{AB=12}", "12"),
        (r"\boxed{f(3)=10}", "10"),
        (r"\boxed{\text{Area}=7}", "7"),
        (r"\boxed{\angle A = 12^\circ}", "12"),
        (r"\boxed{m+n=5}", "5"),
        (r"\boxed{|AB| = 5}", "5"),
        (r"\boxed{[ABC] = 24}", "24"),
        (r"\boxed{m\angle ABC = 60^\circ}", "60"),
        (r"\boxed{\gcd(12, 18) = 6}", "6"),
        (r"\boxed{P(X=2) = 0.3}", "0.3"),
        (r"\boxed{S_{10} = 55}", "55"),
        (r"\boxed{\text{Total cost} = \$14}", "14"),
        (r"\boxed{f'(2) = 12}", "12"),
        (r"\boxed{\overline{AB} = 9}", "9"),
        (r"\boxed{(a, b, c) = (1, 2, 3)}", "(1,2,3)"),
    ],
    "rounded beside exact": [
        (r"\boxed{\frac13 \approx 0.333}", "1/3"),
        (r"\boxed{x = \frac{2}{7} \approx 0.286}", r"\frac27"),
        (r"\boxed{2\sqrt{2} \approx 2.83}", r"\sqrt{8}"),
        (r"\boxed{\frac{22}{7}\approx 3.14}", "22/7"),
    ],
    "several boxes": [
        (r"\boxed{2} and \boxed{3}", "2, 3"),
        (r"$x=\boxed{2}$ or $x=\boxed{3}$", "3, 2"),
        (r"\boxed{1}, \boxed{2}, \boxed{3}", "1, 2, 3"),
        (r"First \boxed{1} is a guess. In fact it is \boxed{4}.", "4"),
    ],
    "later correction": [
        (r"\boxed{5}. Wait, that is wrong. ... the final answer is 7.", "7"),
        (r"\boxed{5}. Sorry, I made a mistake. The answer is 7.", "7"),
        (r"\boxed{5}. Actually, 3 + 4 = 7, so \boxed{7}.", "7"),
        (r"\boxed{7}. The answer is also a prime.", "7"),
    ],
    "LaTeX": [
        (
            r"\boxed{\left[\begin{array}{cc}1&2\\3&4\end{array}\right]}",
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        ),
        (r"\boxed{\left(\begin{matrix}1\\2\end{matrix}\right)}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\boxed{{3\over 4}}", "3/4"),
        (r"\boxed{3 \over 4}", "0.75"),
        (r"\boxed{\lfloor 3.7 \rfloor}", "3"),
        (r"\boxed{\lceil \frac{7}{2} \rceil}", "4"),
        (r"\boxed{3 \pmod{7}}", "3"),
        (r"\boxed{x \equiv 3 \pmod 7}", "3"),
        (r"\boxed{3\ (\text{mod } 7)}", "3"),
        (r"\boxed{2^6 3^5}", "15552"),
        (r"\boxed{2^{3}3^{2}5}", "360"),
        (r"\boxed{\sin 30^\circ}", "1/2"),
        (r"\boxed{\cos(60^\circ)}", "0.5"),
        (r"\boxed{2\tan 45^{\circ}}", "2"),
        (r"\boxed{\nicefrac{1}{2}}", "1/2"),
        (r"\boxed{\mathbf{12}}", "12"),
        (r"\boxed{\$1{,}250}", "1250"),
    ],
    "full-width and other characters": [
        ("The answer is １２３", "123"),
        ("The answer is （１，２）", "(1,2)"),
        ("The answer is －5", "-5"),
        ("The answer is ﹣5", "-5"),
        ("The answer is ‑5", "-5"),
        ("The answer is ‒5.", "-5"),
        ("The answer is ３．５％", "3.5%"),
        ("The answer is 10⁻²", "0.01"),
        ("The answer is 2³", "8"),
    ],
    "units and money": [
        ("The answer is 5 hrs", "5"),
        ("The answer is 5 hrs", "5 hours"),
        ("The answer is 5 yrs", "5 years"),
        ("The answer is 12 J", "12"),
        ("The answer is 60 kph", "60"),
        ("The answer is 28 pct", "28%"),
        ("The answer is 50€", "50"),
        ("The answer is USD 50", "50"),
        ("The answer is 1,000.99$", "1000.99"),
        ("The answer is 3 mins.", "3 minutes"),
        ("The answer is 5 kgs", "5 kg"),
        ("The answer is £20.", "20 pounds sterling"),
        ("The answer is US$ 20", "20"),
        ("The answer is Rs. 20", "20"),
        ("The answer is 20 EUR", "€20"),
        ("The answer is 60 km/h", "60 kilometers per hour"),
        ("The answer is 12 cm squared", "12 square centimeters"),
        ("The answer is 300 J", "300 joules"),
        ("The answer is 18 red apples.", "18"),
        ("The answer is 18 years old.", "18"),
        ("The answer is 18 apples in total.", "18"),
        ("The answer is 18 dollars every day.", "18"),
        ("The answer is 3 times a week.", "3"),
        ("The answer is 2 people per room.", "2"),
    ],
}  # fmt: skip

#: text, gold: never correct
NOT_CORRECT = {
    "number words are factors": [
        (r"\boxed{5 \text{ million}}", "5"), ("The answer is 5 thousand dollars.", "5"), ("The answer is 2 dozen", "2"),
        ("The answer is 3 quarters", "3"), ("The answer is 5 squared", "5"), ("The answer is 5 halves", "5"),
        ("The answer is 5 hundred.", "5"), ("The answer is 4 tenths", "4"), ("The answer is $5k", "5"),
        ("The answer is 5 billion people", "5"), ("The answer is 2 gross", "2"), ("The answer is 5 cubed", "5"),
        ("The answer is 5 lakh", "5"),
    ],
    "words that change a number": [
        ("The answer is 5 less than the total", "5"), ("The answer is 5 times larger", "5"),
        ("The answer is 5 wrong", "5"), ("The answer is 5 more than before", "5"), ("The answer is 5 plus 2", "5"),
        ("The answer is 5 or 6", "5"), ("The answer is 5 or 6", "6"), ("The answer is 5 to 6", "5"),
        ("The answer is not 5", "5"), ("The answer is more than 5", "5"), ("The answer is between 5 and 6", "5"),
        ("The answer is 5 below zero", "5"), ("The answer is 5 out of 6", "5"), ("The answer is 5 mod 3", "5"),
        ("The answer is 5 and a half", "5"), ("The answer is 5 times as many", "5"), ("The answer is 5 short", "5"),
        ("The answer is 5 choose 2", "5"), ("The answer is 5 factorial", "5"), ("The answer is 5 incorrect", "5"),
        ("The answer is at least 5", "5"), ("The answer is 12, not 13.", "13"), ("The answer is 5 x", "5"),
        (r"\boxed{5x}", "5"), (r"\boxed{2x = 4}", "4"), (r"\boxed{y = 5}", "x = 5"), ("The answer is 5:30", "5"),
    ],
    "cut off, thinking, or never said": [
        ("<think> the answer is 5", "5"), ("the answer is 5 </think> I do not know.", "5"),
        (r"Thus \boxed{5", "5"), ("First 3 + 4 = 7.\nThen 7 *", "7"), ("The answer is", "5"), ("The answer is $", "5"),
        ("I think it is 4, then 5", "5"), ("Step 5", "5"), ("1. Add\n2. Multiply\n3. Divide", "3"),
        ("5 + 6 = 11, so she gives away", "11"), ("There may be 5 ways, or none.", "5"),
        ("If the answer is 5, then x = 2.", "5"), ("I cannot solve this. See chapter 5.", "5"),
        ("Is the answer 5?", "5"), ("We check whether the answer is 5", "5"),
    ],
    "the last word counts": [
        (r"\boxed{2} and \boxed{3}", "3"), (r"\boxed{2} and \boxed{3}", "2"), (r"\boxed{5}. No: \boxed{7}", "5"),
        ("The answer is 5. Wait, the answer is 7.", "5"), (r"\boxed{5}. Wait, wrong. The final answer is 7.", "5"),
        ("The answer is 5. #### 7", "5"), ("Total: 5 * 2 = 10\nThen 10 - 3 = 7", "10"),
    ],
    "nearly the same": [
        ("The answer is 0.33", "1/3"), (r"\boxed{\frac13 \approx 0.333}", "0.33"), ("The answer is 500 cm", "5 m"),
        ("The answer is 5 cents", "5 dollars"), (r"\boxed{3 \pmod 5}", r"3 \pmod 7"), ("The answer is 18 €", "$18"),
        (r"\boxed{(2,1)}", "(1,2)"), (r"\boxed{x^2+y^2-2x=0}", "x^2+y^2-2y=0"),
        (r"\boxed{ax^2+bx+c=0}", "ax^2-bx+c=0"), (r"\boxed{\sin 30}", "1/2"), (r"\boxed{2^6 \cdot 3^4}", "15552"),
        ("The answer is 1,00", "100"), ("The answer is 3.5", "35"), ("The answer is 12 13", "1213"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("text", "gold"), [case for cases in CORRECT.values() for case in cases])
def test_what_a_person_would_call_right_is_right(text: str, gold: str):
    assert grade_math(text, gold) is Grade.CORRECT, find_math(text)


@pytest.mark.parametrize(("text", "gold"), [case for cases in NOT_CORRECT.values() for case in cases])
def test_nothing_else_is(text: str, gold: str):
    assert grade_math(text, gold) is not Grade.CORRECT, find_math(text)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (r"\boxed{4}", "boxed"), ("<answer>4</answer>", "tagged"), ("#### 4", "hashes"), ("The answer is 4.", "phrase"),
        ("4", "bare"), ("It costs **4** dollars.", "bold"), ("Well.\n2 + 2 = 4", "equation"), ("Well.\n4", "line"),
        ("So she has 4 eggs.", "sentence"),
    ],
)  # fmt: skip
def test_how_an_answer_was_found_is_told(text: str, how: str):
    found = find_math(text)
    assert found is not None and found.how == how and NUMBER.final(text).answer == "4"
    assert found.unmarked is (how in ("bold", "equation", "line", "sentence"))
    assert (find_math(text, only_stated=True) is not None) is found.stated


def test_while_a_model_writes_only_a_stated_answer_counts():
    task = TableTask.from_rows("sums", [{"question": f"{n} + {n}?", "answer": 2 * n} for n in range(20)])
    for begun in ("16 - 3 = 13.", "13", "**13**", "So she has 13 eggs.", "<think>The answer is 13."):
        assert task.extract(begun) is None
    assert task.extract("16 - 3 = 13. The answer is 13.") == "13"
    assert [task.final(t) for t in ("16 - 3 = 13.", "13", "**13**", "So she has 13 eggs.")] == ["13"] * 4
    assert task.final("<think>The answer is 13.") is None


# ---------------------------------------------------------------- choices

CITIES = ["Rome", "Paris", "London", "Berlin"]
DRUGS = ["Alpha blocker", "Beta blocker", "ACE inhibitor", "Diuretic"]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("B) Beta blocker.\n\nExplanation: it slows the heart.", DRUGS), ("Option B is correct.", CITIES),
        ("I choose B.", CITIES), ("The answer is clearly B.", CITIES), ("<answer>B</answer>", CITIES),
        ("答案：B", CITIES), ("The correct answer is **B**.", CITIES), ("**B**\n\nbecause it is the capital", CITIES),
        ("A is wrong.\n\nTherefore, the answer is (B) Paris.", CITIES), ("The best answer is B.", CITIES),
        ("故选B。", CITIES), ("I'd go with option (B).", CITIES), ("(B) is the correct answer.", CITIES),
        ("The correct choice is: B. Paris", CITIES), ("So, B.", CITIES),
        ("Let us think.\nIt is in France.\n\nB", CITIES),
        (r"\boxed{\text{B}}", CITIES), ("The answer is B and not C.", CITIES), ("The answer is B, not A.", CITIES),
        ("The answer must be B: Paris.", CITIES), ("Answer\nB", CITIES), ("The answer is most likely B.", CITIES),
        ("C. London\n\nWait, that is wrong. The correct answer is B.", CITIES),
        ("Between C and B, I choose B.", CITIES),
        ("Final answer: option B", CITIES), ("The answer is 'B'.", CITIES), ('The answer is "Paris".', CITIES),
        ("Answer: B<|im_end|>\n<|im_start|>user\nAnswer: C", CITIES), ("My answer is: **B. Paris**", CITIES),
        ("b)", CITIES), ("[B]", CITIES), ("The answer is option B because of the river.", CITIES),
        ("<think>The answer is C.</think>\n\nB", CITIES), ("We select (B).", CITIES), ("正确答案是 B", CITIES),
    ],
)  # fmt: skip
def test_a_choice_is_found(text: str, options: list[str]):
    assert grade_choice(text, "B", options) is Grade.CORRECT


@pytest.mark.parametrize(
    "text",
    [
        "The answer is A, B and C", "The answer is B or C", "Both B and C.", r"\boxed{A} or \boxed{B}", "Not B.",
        "The answer is not B", "The answer isn't B.", "If the answer is B, then", "Option B is not correct.",
        "Option B is incorrect.", "The answer is B/C", "A good doctor would ask first.", "I do not choose B.",
        "<think>The answer is B", "The answer is A good one", "Being careful is best.", "Neither B nor C is right.",
        "", "B and C are both capitals.",
    ],
)  # fmt: skip
def test_no_single_choice_is_none(text: str):
    assert find_choice(text, lettered(CITIES)) is None
    assert grade_choice(text, "B", CITIES) is Grade.UNPARSABLE


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes, because Dan is loud.", "yes"), ("The answer is no.", "no"), ("**No**", "no"), ("Answer: Yes", "yes"),
        ("Dan is shy.\n\nYes.", "yes"), ("<think>yes</think>\nNo.", "no"), (r"\boxed{\text{yes}}", "yes"),
        ("The answer is maybe yes", None), ("It is hard to know.", None), ("<think>yes", None), ("", None),
    ],
)  # fmt: skip
def test_yes_and_no(text: str, answer: str | None):
    found = YES_NO.final(text)
    assert (found.answer if found else None) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is Paris.", "paris"), ("Paris", "paris"), ('The answer is "New York".', "new york"),
        ("So it must be him.\n\n**Hugo**", "hugo"), (r"\boxed{\text{Hugo}}", "hugo"), ("<answer>Hugo</answer>", "hugo"),
    ],
)  # fmt: skip
def test_words(text: str, answer: str):
    found = TEXT.final(text)
    assert found is not None and found.answer == answer


# ---------------------------------------------------------------- one form for equal answers


@pytest.mark.parametrize(
    "group",
    [
        ["18", "$18", "18 dollars", "$18.00", r"\boxed{\$18}", "18 apples", "+18", "eighteen", "x = 18", "１８"],
        ["1/2", "0.5", r"\frac12", r"\dfrac{1}{2}", "half", ".50", "2/4"],
        ["5000", "5,000", "5 thousand", "5e3", r"5 \times 10^3", "$5k"],
        ["-3", "−3", "negative 3", "- 3"],
        ["1/3", r"\frac{1}{3}", r"0.\overline{3}", r"\frac13 \approx 0.333"],
    ],
)
def test_equal_numbers_are_one_candidate(group: list[str]):
    assert len({canonical_number(text) for text in group}) == 1 and None not in map(canonical_number, group)
    assert len({NUMBER.final(f"The answer is {text}.").answer for text in group}) == 1
    assert len({canonical_math(text) for text in group}) == 1


@pytest.mark.parametrize(
    "group",
    [
        [r"\{1, 2\}", r"\{2,1\}", r"\{ 2, 1, 1 \}"], [r"x\sqrt{2}+1", r"1 + \sqrt2 x"], ["(1,2)", r"\left(1, 2\right)"],
        ["x>2", r"(2,\infty)"], ["2, 3", "3 and 2"], ["x^2", "x²", "x**2"], ["50%", r"50\%", "50 percent"],
    ],
)  # fmt: skip
def test_equal_expressions_are_one_candidate(group: list[str]):
    assert len({canonical_math(text) for text in group}) == 1


def test_different_answers_stay_different():
    different = ["18", "-18", "1.8", "18%", "18 cm", "18x", "(18, 0)", r"\sqrt{18}", "18/7", "5 wrong", "x+y", "x-y"]
    assert len({canonical_math(text) for text in different}) == len(different)


@pytest.mark.parametrize("text", [t for cases in CORRECT["LaTeX"] for t in cases] + ["x = 2", r"\frac{1+\sqrt5}{2}"])
def test_a_canonical_form_is_its_own_and_means_the_same(text: str):
    text = text.removeprefix(r"\boxed{").removesuffix("}") if text.startswith(r"\boxed") else text
    form = canonical_math(text)
    assert canonical_math(form) == form and equal_math(form, text)


# ---------------------------------------------------------------- counting


def completion(text: str) -> Completion:
    """A completion of one token for each character, whatever a model would need."""
    ids = tuple(range(len(text)))
    return Completion(text, ids, (-0.1,) * len(ids), "stop", 5, Cost(generated_tokens=len(ids)))


SAMPLES = ["18", "$18", "18 dollars", "$18.00", r"\boxed{\$18}", "20", "20"]
PROBLEM = Problem("p", "prices", "How much?", "18", 1, "prices|18", facts={"options": {}})


class Says:
    """A model that says given texts in turn."""

    name, flops_per_token = "says", 1.0

    def __init__(self, texts: list[str]) -> None:
        self.texts = list(texts)

    def sample(self, prompts, n=1, *rest, **options):
        return [[completion(self.texts.pop(0)) for _ in range(n)] for _ in prompts]


@pytest.fixture
def prices() -> TableTask:
    return TableTask.from_rows("prices", [{"question": f"{n}?", "answer": n} for n in range(20)])


def test_votes_count_canonical_answers(prices: TableTask):
    (vote,) = SelfConsistency(prices).solve([PROBLEM], Says(SAMPLES), Budget(7))
    assert vote.answer == "18" and vote.grade is Grade.CORRECT


def test_pass_and_majority_at_k_count_canonical_answers(prices: TableTask):
    measured = evaluate(prices, [PROBLEM], [[completion(text) for text in SAMPLES]])
    assert measured.majority_scores(7).tolist() == [1.0]
    assert measured.scores.tolist() == [5 / 7]
    assert measured.unmarked == 0.0
    loose = evaluate(prices, [PROBLEM], [[completion("So it costs $18."), completion("The answer is 18.")]])
    assert loose.unmarked == 0.5 and loose.scores.tolist() == [1.0]


def test_adaptive_stopping_counts_canonical_answers(prices: TableTask):
    solver = AdaptiveConsistency(prices, batch=1)
    (attempt_,) = solver.solve([PROBLEM], Says(SAMPLES), Budget(7))
    assert attempt_.answer == "18" and len(attempt_.trace) == 4, "four equal samples are enough"


def test_weights_of_zero_elect_and_weights_that_are_no_number_do_not():
    nan = float("nan")
    assert weighted(["72", "72"], [0, 0]) == "72"
    assert weighted(["1", "2", "3"], [nan, 0.5, nan]) == "2"
    assert weighted(["1", "2"], [nan, 0.0]) in ("1", "2")
    assert weighted([None, None], [1, 1]) is None and plurality([]) is None


# ---------------------------------------------------------------- printed by a program


@pytest.mark.parametrize(
    ("printed", "gold", "right"),
    [
        ("0.3333333333333333", "1/3", True), ("3.3333333333", "10/3", True), ("1.4142135623730951", r"\sqrt{2}", True),
        ("0.333", "1/3", False), ("0.30000000000000004", "0.3", True), ("17.999999999999996", "18", True),
        ("17.99", "18", False), ("0", "1e-12", False), ("2e-12", "1e-12", False), ("x", "18", False),
        ("3.141592653589793", r"\pi", True), ("3.14", r"\pi", False),
    ],
)  # fmt: skip
def test_a_printed_decimal_agrees_to_ten_digits(printed: str, gold: str, right: bool):
    assert agrees_to(printed, gold, 10) is right
    problem = Problem("p", "sums", "?", gold, 1, "sums|p", facts={"options": {}})
    task = TableTask.from_rows("sums", [{"question": f"{n}?", "answer": rf"\frac{{{n}}}{{7}}"} for n in range(20)])
    assert task.matches_printed(printed, problem) is right
    assert attempt(task, problem, printed, [], Cost(), printed=True).grade is (Grade.CORRECT if right else Grade.WRONG)
    assert equal_math("0.3333333333333333", "1/3") is False, "what a model writes is not rounded"


# ---------------------------------------------------------------- the bundled worlds hear real models


@pytest.mark.parametrize("world", ["chain", "graph", "large-numbers"])
def test_a_world_of_numbers_reads_a_real_models_reply(world: str):
    task = get_task(world)
    (problem,) = task.problems(1)
    gold, wrong = problem.answer, str(int(problem.answer) + 1)
    right = [
        rf"<think>the answer is {wrong}</think>" + "\n\n" + rf"\boxed{{{gold}}}", f"**Answer:** {gold}",
        f"Step 1 ...\n\nSo the total is {gold} apples.", f"The answer is ${gold}$.", f"#### {gold}",
        f"The final answer is **{gold}**.<|im_end|>", f"It is clear.\n{gold}", f"The answer is {gold}.0",
    ]  # fmt: skip
    for text in right:
        assert task.grade(text, problem) is Grade.CORRECT, text
    assert task.grade(rf"<think>the answer is {gold}</think>\boxed{{{wrong}}}", problem) is Grade.WRONG
    for text in (f"<think>The answer is {gold}.", f"4 + 5 = {gold}.", "I do not know.", f"The answer is {gold} or 5."):
        assert task.grade(text, problem) is not Grade.CORRECT, text
    assert task.extract(f"So the total is {gold}.") is None


def test_other_worlds_read_a_real_models_reply():
    deduction, sudoku = get_task("deduction"), get_task("sudoku")
    sorting, countdown = get_task("sorting"), get_task("countdown")
    (p,) = deduction.problems(1)
    assert deduction.grade(f"**{p.answer.capitalize()}**, since it follows.\n", p) is Grade.CORRECT
    assert deduction.grade(f"<think>hm</think> The answer is: {p.answer.upper()}", p) is Grade.CORRECT
    (p,) = sorting.problems(1)
    numbers = p.answer.split()
    for text in (f"The answer is [{', '.join(numbers)}].", rf"\boxed{{{', '.join(numbers)}}}", f"**{p.answer}**"):
        assert sorting.grade(text, p) is Grade.CORRECT, text
    (p,) = sudoku.problems(1)
    rows = p.answer.split("; ")
    for text in ("<answer>\n" + "\n".join(rows) + "\n</answer>", f"The answer is:\n{p.answer}"):
        assert sudoku.grade(text, p) is Grade.CORRECT, text
    (p,) = countdown.problems(1)
    latex = p.answer.replace("*", r"\times").replace("( ", "(").replace(" )", ")")
    for text in (rf"\boxed{{{latex}}}", f"The answer is **{p.answer}** = {p.facts['target']}.", f"<answer>{p.answer}"):
        assert countdown.grade(text, p) is Grade.CORRECT, text
    assert countdown.grade(f"<think>The answer is {p.answer}.", p) is Grade.UNPARSABLE


# ---------------------------------------------------------------- the rest


def test_every_kind_of_table_says_how_to_answer():
    for kind, form in FORMATS.items():
        described = "." if kind == "number" else f", where X is {form.described}."
        assert form.kind == kind and form.ask == f"End with: The answer is X{described}"


def test_two_different_circles_are_refuted_without_the_judge(monkeypatch):
    def asked(request: str):
        raise AssertionError(f"the judge was asked {request}")

    monkeypatch.setattr("srm_utils.tasks.grading.judge.HELPER.ask", asked)
    assert not equal_math("(x-1)^2+(y-2)^2=9", "(x-1)^2+(y+2)^2=9")
    assert not equal_math("x^2+y^2-4x=0", "x^2+y^2+4x=0")
    assert not equal_math("ax^2+bx+c=0", "ax^2-bx+c=0")
    assert not equal_math(r"\frac{x^3-1}{x-1}", "x^2+x-1")
    assert not equal_math(r"\sin(2x)", r"2\sin x")


def test_a_spare_judge_is_ready_when_one_is_lost():
    from srm_utils.tasks.grading.judge import HELPER

    assert equal_math(r"\sqrt{72}", r"6\sqrt{2}")
    spare = HELPER._spare
    assert spare is not None and spare.poll() is None
    HELPER._process.kill()
    assert equal_math(r"\sqrt{98}", r"7\sqrt{2}")
    assert HELPER._process is spare


def test_long_texts_are_read_in_little_time():
    start = time.process_time()
    pieces = ("the answer is ", "answer ", "**5** ", r"\boxed{", r"\boxed{5}", "option ", "is ", "A or ", "= 5\n")
    for piece in (*pieces, "<think>", "The answer is 5 ", "<answer>", "#### 5 ", "B is correct ", ", ", "(", "$", "a "):
        text = piece * (100_000 // len(piece))
        find_math(text)
        find_choice(text, lettered(CITIES))
        TEXT.final(text)
        MATH.find(text)
    assert time.process_time() - start < 30


@pytest.mark.parametrize("text", ["3 and so on and so on", "12, 14, and so forth", "5, 10, etc.", "2, 4, 6, ..."])
def test_a_list_that_goes_on_is_no_answer(text):
    assert FORMATS["number"].final(text) is None
