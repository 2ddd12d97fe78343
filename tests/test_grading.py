"""Grading of real mathematics: case table, hostile inputs, threads, processes, and proof that nothing is evaluated."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.tasks.grading import equal_math, extract_final_answer, grade_choice, grade_math, judge
from srm_utils.tasks.problem import Grade

ROOT = Path(judge.__file__).resolve().parents[3]

EQUAL = [
    # integers, decimals, signs, thousands
    ("42", "42"), (" 42. ", "42"), ("+7", "7"), ("-3", "−3"), ("--3", "3"), ("007", "7"), ("5.0", "5"), (".5", "0.5"),
    ("1,000", "1000"), ("1,234,567.5", "1234567.5"), ("1{,}000", "1000"), (r"1\,000", "1000"), (r"32,\!348", "32348"),
    ("1 000 000", "1000000"), ("0.10", "0.1"), ("12345678901234567890", "12,345,678,901,234,567,890"),
    # fractions, mixed numbers, scientific notation, exact powers
    (r"\frac{1}{2}", "0.5"), (r"\frac12", "1/2"), (r"\dfrac{2}{4}", "1/2"), (r"\tfrac34", "0.75"),
    ("-1/2", r"-\frac{1}{2}"),
    (r"\frac{-1}{2}", "-0.5"), (r"-\frac{-1}{2}", "0.5"), ("1 1/2", "3/2"), (r"1\frac{1}{2}", "1.5"),
    ("-2 1/4", "-9/4"),
    (r"0.\overline{3}", "1/3"), (r"0.1\overline{6}", "1/6"), ("½", "0.5"), ("2½", "5/2"), ("1.5e3", "1500"),
    (r"1.5 \times 10^3", "1500"), ("3×10^{-2}", "0.03"), ("1e-3", "1/1000"), ("2^10", "1024"), ("2**10", "1024"),
    (r"2^{100}", "1267650600228229401496703205376"), ("5!", "120"), (r"\binom{5}{2}", "10"), ("(3+4)*2", "14"),
    ("2^{-1}", "1/2"), (r"\frac{1}{1/2}", "2"), (r"3\cdot 4", "12"), ("10 ÷ 4", "2.5"), ("2^{2010}", "4^{1005}"),
    # percent, units, currency, degrees
    (r"50\%", "50%"), ("50 percent", r"50\%"), ("50%", "0.5"), (r"50\%", r"\frac12"), ("50%", "50"), ("12.5%", "1/8"),
    ("5 cm", "5"), (r"5\text{ cm}", "5 cm"), ("5 centimeters", "5 cm"), (r"12\text{ cm}^2", "12 square centimeters"),
    ("$5", "5"), (r"\$5.00", "5"), ("$1,000", "1000 dollars"), ("€3", "3 euros"), ("-$4", "-4"), ("90°", "90"),
    (r"90^\circ", "90 degrees"), (r"45^{\circ}", "45"), ("180°", r"\pi"), ("3 apples", "3"),
    ("60 miles per hour", "60 mph"),
    ("7 m", "7 meters"), ("10 units", "10"), ("$5$ dollars", "$5"), ("12 hours", "12 h"),
    # names, wrappers, words
    ("x = 2", "2"), ("x=2", "x = 2.0"), ("2 = x", "2"), (r"\boxed{7}", "7"), ("$x = 7$", "7"), (r"\(7\)", "7"),
    ("**7**", "7"),
    (r"f(x) = 2x+1", "2x + 1"), ("y=2x+1", "1+2x"), ("x = 4/2 = 2", "2"), (r"x \approx 3", "3"), ("2+3=5", "5"),
    (r"\text{even}", "even"), ("Even.", "even"), (r"\text{(C)}", "C"), ("(C)", "C"), (r"\text{Evelyn}", "evelyn"),
    ("no solution", r"\text{No solution}"), ("São Paulo", "são paulo"), (r"\text{red and blue}", "blue and red"),
    ("3:4", "3 : 4"),
    # sets, lists, tuples, plus-minus
    ("{1,2}", "{2,1}"), (r"\{1, 2\}", "2, 1"), ("1 and 2", "1, 2"), ("1, 2, and 3", r"\{3,2,1\}"),
    (r"\{1,1,2\}", r"\{1,2\}"),
    (r"\{\frac12, 3\}", "{3, 0.5}"), ("x=1 or x=2", "1, 2"), ("x = 1, x = -1", r"\pm 1"), (r"\{5\}", "5"),
    (r"\emptyset", r"\{\}"),
    ("(1,2)", "(1, 2)"), (r"\left(1, \frac12\right)", "(1, 0.5)"), ("1, 2", "(1, 2)"), ("x=1, y=2", "(1,2)"),
    ("y=2, x=1", "(1,2)"),
    (r"\langle 1,2,3\rangle", "(1,2,3)"), ("(1,000, 2,000)", "(1000, 2000)"),
    (r"2\pm\sqrt3", r"2-\sqrt{3}, 2+\sqrt{3}"),
    ("±2", "-2, 2"), ("{(1,2),(3,4)}", "{(3,4),(1,2)}"), ("$3$ and $4$", "4, 3"), ("[1,2,3]", "(1,2,3)"),
    # intervals, unions, relations
    ("(0,9)", "(0, 9)"), ("[0, 9)", r"\left[0,9\right)"), (r"(-\infty, 2]", r"(-\infty,2]"), ("x>2", r"(2,\infty)"),
    (r"x \ge 2", "x >= 2"), ("2 < x", "x > 2"), (r"0 \le x < 9", "[0,9)"), ("9 > x ≥ 0", r"x \in [0,9)"),
    (r"(-\infty,1)\cup(3,\infty)", r"(3,\infty) \cup (-\infty,1)"), ("x<1 or x>3", r"(-\infty,1)\cup(3,\infty)"),
    (r"\mathbb{R}", r"(-\infty, \infty)"), ("2x > 4", "x > 2"), ("-2x > -4", "x < 2"), (r"x \neq 2", r"x \ne 2"),
    ("2x+y<=4", "4>=y+2x"),
    ("y = 2x+3", "2x - y + 3 = 0"), ("x^2+y^2=1", "2y^2 + 2x^2 = 2"), ("y=2x", "x=y/2"),
    ("3x+2y=6", r"\frac{x}{2}+\frac{y}{3}=1"),
    # expressions
    (r"2\sqrt{3}", "sqrt(12)"), (r"\sqrt{12}", r"2\sqrt3"), (r"\frac{1+\sqrt{5}}{2}", "(1+sqrt(5))/2"),
    (r"\frac{1}{\sqrt2}", r"\frac{\sqrt{2}}{2}"),
    (r"\pi/2", r"\frac{\pi}{2}"), ("2π", r"2\pi"), ("0.5\\pi", r"\frac{\pi}{2}"), ("(x+1)^2", "x^2+2x+1"),
    ("2x", r"x \cdot 2"), ("x(x-1)", "x^2 - x"),
    (r"\sqrt[3]{8}", "2"), ("8^{1/3}", "2"), (r"\log_2 8", "3"), (r"\ln e^2", "2"), (r"\sin^2 x + \cos^2 x", "1"),
    (r"\sin\frac{\pi}{6}", "1/2"),
    (r"\sqrt{16}", "4"), ("6+9i", "9i+6"), ("i^2", "-1"), (r"e^{2\ln 3}", "9"), ("|-3|", "3"), ("ab", "ba"),
    (r"\frac{x^2-1}{x-1}", "x+1"), ("2 m/s", "2 meters per second"), (r"3\cdot 10^{8}\text{ m/s}", "300000000"),
    ("x>=2 and x<5", "[2,5)"),
    ("6:00 PM", "6:00 pm"),
    (r"11,\! 111,\! 100", "11111100"), ("2^3!", "64"),
    ("a_1+a_2", "a_2 + a_1"), (r"\alpha\beta", r"\beta\alpha"), (r"\tan 45^\circ" , r"\tan 45^{\circ}"),
    ("n!", r"n!"), (r"3^{x+1}", r"3\cdot 3^x"),
    (r"\sqrt{5+2\sqrt6}", r"\sqrt2+\sqrt3"), ("dx", "x d"), ("√2", r"\sqrt{2}"), ("x²", "x^2"),
    # bases, matrices
    ("101_2", "101_{2}"), ("2516", "2516_8"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & \frac{8}{2} \end{bmatrix}"),
    ("[[1,2],[3,4]]", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"), ("2^{2^{2^{49}}}", "2^{2^{2^{49}}}"),
]  # fmt: skip

DIFFERENT = [
    ("42", "43"), ("-3", "3"), ("5.01", "5"), ("0.333", "1/3"), ("0.3333333333333333", r"\frac13"), ("3.14", r"\pi"),
    ("22/7", r"\pi"),
    ("1,000", "1"), ("1,000", "100"), ("1.000", "1000"), ("1/2", "2"), ("1 1/2", "11/2"), ("1 1/2", "1/2"),
    (r"1\frac12", "1/2"),
    (r"\frac{1}{3}", r"\frac{1}{2}"), (r"0.\overline{3}", "0.3"), ("0.333...", "0.333"), ("1.5e3", "1.5"),
    ("2^{10}", "20"), ("1e3", "e^3"),
    ("2^{2^{2^{49}}}", "3"), ("1 2", "12"), ("5!", "5"), (r"\binom{5}{2}", "5/2"), ("3 4/5", "3*4/5"),
    ("50%", "0.05"), ("50%", "5"), ("50%", "0.5%"), ("500 cm", "5 m"), ("5 cm", "5 m"), ("5 cm", "5 cm^2"),
    ("$5", "€5"), ("5 dollars", "5 cents"),
    ("5 apples", "5 oranges"), ("90°", r"\pi"), ("60 mph", "60 km"), ("2 m/s", "2 m"), ("x>=2 and x<5", "[2,5]"),
    ("6:00 PM", "6:00 AM"), ("5x", "5"), ("5 cm", "6"), ("6 cm", "5 cm"),
    ("x = 2", "y = 2"), ("x = 2", "3"), ("x = 2", "x = 3"), ("x", "2"), ("x", "y"), ("X", "x"), ("f(x)=2x", "x"),
    ("odd", "even"), ("C", "D"), ("(C)", "(D)"),
    ("yes", "no"), ("no", "n"), ("even", "e"), ("the answer", "42"), ("", "5"), ("", ""), ("4:3", "3:4"),
    (r"\text{none}", "0"),
    ("{1,2}", "{1,3}"), ("{1,2}", "{1,2,3}"), ("{1,2}", "(1,2)"), ("(1,2)", "(2,1)"), ("2, 1", "(1,2)"),
    ("1, 2", "1"), ("1,1", "1"), ("{1,2}", "3"),
    (r"\pm 2", "2"), ("2", r"\pm 2"), (r"2\pm\sqrt3", r"2+\sqrt{3}"), ("(1,2,3)", "(1,2)"), ("x=2, y=1", "(1,2)"),
    ("(1,234)", "1234"), (r"\{\}", "0"),
    ("(0,9)", "[0,9)"), ("(0,9)", "(0,9]"), ("[0,9]", "(0,9)"), ("[0,9)", "[0,8)"), (r"(2,\infty)", r"(-\infty, 2)"),
    (r"(-\infty,\infty)", r"(\infty,-\infty)"),
    ("x>2", r"x\ge 2"), ("x>2", "x<2"), ("x>2", "y>2"), ("x>2", "2"), ("x>2", "x=2"), ("2x>4", "x>4"),
    ("2x>4", "x<2"), ("-2x > -4", "x > 2"), (r"0\le x<9", "(0,9)"), (r"x\ne 2", "x=2"),
    (r"(-\infty,1)\cup(3,\infty)", r"(-\infty,1]\cup(3,\infty)"), (r"(-\infty,1)\cup(3,\infty)", r"(-\infty,1)"),
    ("y = 2x+3", "y = 2x-3"), ("x^2+y^2=1", "x^2+y^2=2"), ("x=y", "x<y"), (r"\infty", r"-\infty"), (r"\infty", "5"),
    (r"2\sqrt{3}", r"3\sqrt{2}"), (r"\sqrt{12}", "12"), (r"\frac{1+\sqrt5}{2}", r"\frac{1-\sqrt5}{2}"),
    ("1.41421356237", r"\sqrt2"), (r"\pi", "2π"), ("(x+1)^2", "x^2+1"),
    (r"\sin x", r"\cos x"), ("6+9i", "6-9i"), ("e", "2.718281828"), (r"\log_2 8", r"\log_3 8"), ("x^{2}", "x^{3}"),
    ("2x", "x^2"), (r"\pi\cdot 10^{-30}", r"2\pi\cdot 10^{-30}"), (r"\sqrt2+10^{-18}", r"\sqrt2"),
    ("101_2", "5"), ("101_2", "101_3"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\frac{1}{2", "1/2"), ("(1,2", "(1,2)"), ("1/0", "1/0.0"), ("0^{-1}", "0"),
]  # fmt: skip

CASES = [(a, g, True) for a, g in EQUAL] + [(a, g, False) for a, g in DIFFERENT]


def test_the_case_table_is_large_and_a_third_of_it_negative():
    assert len(set(CASES)) == len(CASES) >= 150
    assert 3 * len(DIFFERENT) >= len(CASES)


@pytest.mark.parametrize(("answer", "gold", "expected"), CASES)
def test_case(answer: str, gold: str, expected: bool):
    assert equal_math(answer, gold) is expected
    assert equal_math(gold, answer) is expected, "equality is symmetric"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"Thus \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1}, no, \boxed{\text{a}^{2}} it is", r"\text{a}^{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"The answer is 3. \boxed{4} is final.", "4"),
        (r"so \boxed 7", "7"),
        (r"\fbox{7}", "7"),
        ("Two and two\n#### 1,234", "1,234"),
        ("The answer is 12.", "12"),
        ("The answer is 3. Wait. The answer is 3.5.", "3.5"),
        ("Final answer: $x = 2$. I hope it is correct.", "$x = 2$"),
        ("**Final Answer**\n\n42", "42"),
        ("the final answer is:\n\\[ \\frac{3}{4} \\]", r"\frac{3}{4}"),
        ("**Answer:** 5 apples, because 2+3=5", "5 apples"),
        ("<think>\\boxed{1}</think> The answer is 2.", "2"),
        ("42", "42"),
        (r"$\frac12$", r"$\frac12$"),
        # none stated, or cut off
        ("", None),
        ("Let us compute 3 + 4, which makes 7", None),
        ("I think it is 4, then 5", None),
        (r"Thus \boxed{\frac{1}{2}", None),
        (r"\boxed{1} and now \boxed{2", None),
        (r"Thus \boxed{}", None),
        (r"Thus \boxed", None),
        ("The answer is", None),
        (r"The answer is $\frac{1", None),
        (r"The answer is \[ 1 + 2", None),
        ("<think> The answer is 3.", None),
        ("<think>\\boxed{1}</think> Well, hard to say which", None),
        ("####", None),
    ],
)
def test_final_answer_of_a_trace(text: str, answer: str | None):
    assert extract_final_answer(text) == answer
    bare = text in ("42", r"$\frac12$")  # an answer without a marker counts only when nothing else is said
    assert extract_final_answer("He said 5 and 6.\n" * 3000 + "\n" + text) == (None if bare else answer)


@pytest.mark.parametrize(
    ("text", "gold", "grade"),
    [
        (r"long reasoning ... \boxed{\frac{2}{4}}", "0.5", Grade.CORRECT),
        ("The answer is 50 percent.", r"50\%", Grade.CORRECT),
        ("7 + 5 = 12\n#### 12", "12", Grade.CORRECT),
        (r"\boxed{(0,9)}", "[0,9)", Grade.WRONG),
        (r"\boxed{\text{odd}}", "even", Grade.WRONG),
        ("The answer is unknown.", "12", Grade.WRONG),
        (r"\boxed{\frac{1}{2}", "1/2", Grade.UNPARSABLE),
        (r"\boxed{2^{2^{2^{49}}}}", "3", Grade.UNPARSABLE),
        (r"\boxed{().__class__.__mro__}", "3", Grade.UNPARSABLE),
        ("I give up", "3", Grade.UNPARSABLE),
    ],
)
def test_three_outcomes(text: str, gold: str, grade: Grade):
    assert grade_math(text, gold) is grade


CITIES = ["Rome", "Paris", "A small town", "Paris, Texas"]


@pytest.mark.parametrize(
    ("text", "gold", "options", "grade"),
    [
        ("B", "B", CITIES, Grade.CORRECT),
        ("(B)", "B", None, Grade.CORRECT),
        ("b)", "B", CITIES, Grade.CORRECT),
        ("**B**", "B", CITIES, Grade.CORRECT),
        ("Answer: B", "B", CITIES, Grade.CORRECT),
        ("I weigh A and C. The answer is B. Paris", "B", CITIES, Grade.CORRECT),
        ("The correct option is (D).", "D", CITIES, Grade.CORRECT),
        (r"so \boxed{\text{(B) Paris}}", "B", CITIES, Grade.CORRECT),
        (r"\boxed{B}", "B", {"A": "x", "B": "y"}, Grade.CORRECT),
        ("The answer is Paris.", "B", CITIES, Grade.CORRECT),
        ("The answer is Paris, Texas.", "D", CITIES, Grade.CORRECT),
        ("The answer is A small town.", "C", CITIES, Grade.CORRECT),
        ("Paris", "Paris", CITIES, Grade.CORRECT),
        ("Answer: A. Then again, the answer is B.", "B", CITIES, Grade.CORRECT),
        ("<think>A? The answer is A.</think>The answer is B.", "B", CITIES, Grade.CORRECT),
        ("Yes, because the trial was large.", "yes", None, Grade.CORRECT),
        ("The answer is maybe.", "maybe", ("yes", "no", "maybe"), Grade.CORRECT),
        ("The answer is no.", "B", {"A": "yes", "B": "no", "C": "maybe"}, Grade.CORRECT),
        ("A", "B", CITIES, Grade.WRONG),
        ("The answer is Rome.", "B", CITIES, Grade.WRONG),
        ("The answer is A. Paris", "B", CITIES, Grade.WRONG),
        ("Paris, Texas", "B", CITIES, Grade.WRONG),
        ("No", "yes", None, Grade.WRONG),
        ("The answer is yes.", "maybe", None, Grade.WRONG),
        ("The answer is B or C", "B", CITIES, Grade.UNPARSABLE),
        ("The answer is A, B", "B", CITIES, Grade.UNPARSABLE),
        ("The answer is not B", "B", CITIES, Grade.UNPARSABLE),
        ("The answer is A man named Bob", "A", CITIES, Grade.UNPARSABLE),
        ("Z", "B", CITIES, Grade.UNPARSABLE),
        ("Berlin", "B", CITIES, Grade.UNPARSABLE),
        ("<think>The answer is B", "B", CITIES, Grade.UNPARSABLE),
        ("", "B", CITIES, Grade.UNPARSABLE),
        (r"\boxed{B", "B", CITIES, Grade.UNPARSABLE),
    ],
)
def test_multiple_choice(text, gold, options, grade):
    assert grade_choice(text, gold, options) is grade


def test_a_gold_answer_that_is_no_option_is_told_in_one_sentence():
    with pytest.raises(ValueError, match="none of the options A, B"):
        grade_choice("A", "Q", ["Rome", "Paris"])


def hostile(canary: str) -> list[str]:
    """Answers that hang, overflow or break into a careless grader; those that are code would create the canary file."""
    code = f"__import__('os').system('touch {canary}')"
    return [
        "2^{2^{2^{49}}}", "2**2**2**49", "9^9^9^9^9", "10^{10^{10}}", r"\frac{1}{10^{10^{10}}}", "1e999999",
        "1e-999999", "0.1e99999999999",
        "99999999!", "((5!)!)!", "5!!!!", r"\binom{10^{9}}{500000000}", r"\binom{x}{1000000000}", "(\\pi^{60})!",
        "(" * 5000, "(" * 5000 + "1" + ")" * 5000, "[" * 400 + "]" * 400, "{" * 3000 + "}" * 3000, r"\frac{" * 900,
        r"\sqrt" * 190 + "2", "-" * 900 + "1",
        r"\{" * 300 + r"\}" * 300, "|" * 800, "^" * 900, "1" + "^2" * 300, "x" + "_x" * 300, "1" + "+1" * 480,
        "1," * 480, "and " * 240, r"\text{" * 160, "{" + "{1,2}," * 160 + "3}",
        "9" * 3_000_000, "0." + "9" * 3_000_000, "1" + "0" * 900 + "^" + "9" * 90, "1," * 1_000_000,
        r"\frac{" + "7" * 2_000_000 + "}{3}", "\\" * 2_000_000, "a " * 1_000_000,
        "().__class__.__mro__", "().__class__.__bases__[0].__subclasses__()", code, f"eval({code!r})", f"x={code}",
        f"sqrt({code})", r"\sin(" + code + ")",
        f"lambda:{code}", f"[{code} for x in (1,2)]", f"{{{code}}}", "exec('1')", "open('/etc/passwd').read()",
        "os.system('true')", "S('1')", "Symbol('x')", "f'{1}'",
        "1\x00", "\x00", "\x00" * 1000, "\x1b[2J", "\ud800", "٣", "²³", "𝟑", "\u202e5", "1/0", "0/0", "0^0",
        "0^{-1}", r"\infty-\infty", "1" + "/0" * 100, r"\log_1 5", r"\log 0",
        r"\frac{1}{2", r"\boxed{\boxed{", "}{", ")(", r"\left(\left(", r"\begin{pmatrix}" * 50,
        r"\begin{pmatrix}" + "1&" * 300 + r"\end{pmatrix}", "x>y>z>x" * 80, "=" * 900, "$" * 999, "%" * 999,
        r"\exp(\exp(\exp(\exp(100))))", r"e^{e^{e^{e^{9}}}}", r"\sin(e^{100000000000})", r"\sin(10^{9000})",
        "(((((x^{60})^{60})^{60})^{60})^{60})", "(x+y+z+a+b+c)^{60}",
        "*".join(f"\\sin({i}x)" for i in range(1, 30)), "+".join(f"\\sqrt{{{i}}}" for i in range(2, 90)),
        "{" + ",".join(f"\\sqrt{{{i}}}" for i in range(2, 60)) + "}",
    ]  # fmt: skip


# Run in a process of its own, which the test kills if it hangs. Every string compiled in it is counted: nothing that a
# model wrote may be among them.
HOSTILE_RUN = r"""
import json, sys, time
tests, canary = sys.argv[1:]
sys.path.insert(0, tests)
from test_grading import CITIES, hostile
from srm_utils.tasks.grading import equal_math, extract_final_answer, grade_choice, grade_math

compiled, times = [], []

def count(event, args):
    if event == "compile" and args[1] == "<string>":
        compiled.append(str(args[0])[:80])

grade_math(r"\boxed{2\sqrt3}", r"\sqrt{12}")  # starts the judge
sys.addaudithook(count)
eval("1 + 1")
for answer in hostile(canary):
    for run in (
        lambda: grade_math(r"\boxed{" + answer + "}", "2"),
        lambda: grade_math("The answer is " + answer, r"\sqrt{2}+x"),
        lambda: grade_math(answer, "5"),
        lambda: equal_math(answer, r"\sqrt{2}+x"),
        lambda: equal_math("5", answer),
        lambda: extract_final_answer(answer),
        lambda: grade_choice(answer, "B", CITIES),
        lambda: grade_choice("The answer is " + answer, "B", CITIES),
    ):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start, answer[:60]))
json.dump({"compiled": compiled, "slowest": max(times), "calls": len(times)}, sys.stdout)
"""


def test_hostile_inputs_return_within_a_second_and_nothing_is_evaluated(tmp_path: Path):
    canary = tmp_path / "canary"
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE_RUN, str(Path(__file__).parent), str(canary)],
        capture_output=True, timeout=120, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["compiled"] == ["b'1 + 1'"], "only the test's own control may have been compiled"
    assert report["calls"] == 8 * len(hostile(""))
    assert report["slowest"][0] < 1.0, report["slowest"]
    assert not canary.exists()


def test_the_judge_is_sealed_against_evaluation(tmp_path: Path):
    attempts = {
        "eval('1+1')": False, "exec('1')": False, "compile('1', '<string>', 'eval')": False,
        "sympy.sympify('1+1')": False, "os.system('true')": False, "open('canary', 'w')": False,
        "subprocess.run(['true'])": False,
        "judge('expression', [['num', '1', '1'], ['num', '1', '1']])": True,
    }  # fmt: skip
    lines = "\n".join(
        f"try:\n    {attempt}\n    said.append(True)\nexcept PermissionError:\n    said.append(False)"
        for attempt in attempts
    )
    script = (
        "import os, subprocess, sympy\nfrom srm_utils.tasks.grading.judge import _load_judge, _seal\n"
        f"judge, said = _load_judge(), []\n_seal()\n{lines}\nprint(said)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment
    )
    assert done.stdout.strip() == str(list(attempts.values())), done.stderr[-2000:]


HARD = [
    (r"\sqrt{12}", r"2\sqrt3", True), ("(x+1)^2", "x^2+2x+1", True), (r"\sqrt{12}", r"3\sqrt3", False),
    ("1/2", "0.5", True),
]  # fmt: skip


def _graded() -> list[bool]:
    return [equal_math(a, g) for a, g, _ in HARD]


def _squares(n: int) -> list[bool]:
    """Eight true and eight false binomials that no other process has asked about, so that no cache answers."""
    return [equal_math(f"(x+{m})^2", f"x^2+{2 * m}x+{m**2 + wrong}") for m in range(n, n + 8) for wrong in (0, 1)]


def _squares_into(queue, n: int) -> None:
    queue.put(_squares(n))


def test_works_in_many_threads():
    assert threading.current_thread() is threading.main_thread()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: _graded(), range(16)))
    assert results == [[e for *_, e in HARD]] * 16


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_works_in_daemonic_worker_processes(method: str):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    assert _graded() == [e for *_, e in HARD]  # so that a forked child inherits a running judge
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    start = {"fork": 1000, "spawn": 2000}[method]
    workers = [context.Process(target=_squares_into, args=(queue, start + 100 * i), daemon=True) for i in (1, 2)]
    with judge.HELPER._lock:  # as if another thread were being answered: a forked child must not wait for it
        for worker in workers:
            worker.start()
    try:
        assert _squares(start) == [True, False] * 8, "the parent grades meanwhile"
        assert [queue.get(timeout=60) for _ in workers] == [[True, False] * 8] * 2
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    assert equal_math(r"\sqrt{27}", r"3\sqrt{3}"), "the parent's judge is still its own"


def test_a_judge_that_is_killed_is_replaced():
    assert equal_math(r"\sqrt{8}", r"2\sqrt{2}")
    first = judge.HELPER._process
    assert first is not None
    first.kill()
    assert equal_math(r"\sqrt{32}", r"4\sqrt{2}")
    assert judge.HELPER._process is not first


def test_a_comparison_that_would_take_long_ends_as_not_equal():
    """Sides so close that no value tells them apart, and whose expansion has millions of terms."""
    assert equal_math(r"\sqrt{8}", r"2\sqrt{2}")
    first = judge.HELPER._process
    start = time.perf_counter()
    assert not equal_math("(x+y+z+a+b+c)^{60}", "(x+y+z+a+b+c)^{59}(x+y+z+a+b+c+10^{-40})")
    assert time.perf_counter() - start < judge.JUDGE_WALL_SECONDS
    assert judge.HELPER._process is not first, "it ran out of time and was replaced"
    assert equal_math(r"\sqrt{50}", r"5\sqrt{2}"), "the next one is judged as ever"


def test_a_judge_that_hangs_is_killed_in_time(monkeypatch):
    """A stand-in judge that never answers: only the wall clock can end it."""
    helper = judge.Helper()
    stuck = [sys.executable, "-c", "print('ready', flush=True)\nwhile True: pass"]
    real = subprocess.Popen
    monkeypatch.setattr(judge, "JUDGE_WALL_SECONDS", 0.2)
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: real(stuck, **options))
    try:
        start = time.perf_counter()
        assert helper.ask('["expression", [], 1.0]') == (False, judge.JUDGE_CPU_SECONDS)
        assert time.perf_counter() - start < 5
    finally:
        helper.stop()


def test_a_judge_that_cannot_start_is_told_in_one_sentence(monkeypatch):
    helper = judge.Helper()
    broken = [sys.executable, "-c", "import sys; sys.exit('No module named math_verify')"]
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: real(broken, **options))
    with pytest.raises(RuntimeError, match="pip install math-verify"):
        helper.ask("[]")


def test_common_answers_are_graded_by_the_thousand():
    pairs = [(rf"so \boxed{{{n}}}", str(n + n % 2)) for n in range(500)]
    pairs += [(rf"so \boxed{{\frac{{{n}}}{{7}}}}", f"{n}/7") for n in range(500)]
    pairs += [(f"The answer is {n}.25.", f"{n} 1/4") for n in range(500)]
    start = time.process_time()
    right = sum(grade_math(text, gold) is Grade.CORRECT for text, gold in pairs)
    assert right == 250 + 500 + 500  # an odd number is not the next even one; every fraction and decimal is right
    assert len(pairs) / (time.process_time() - start) > 1000


PIECES = st.sampled_from(
    [
        *"0123456789.,+-*/^_=<>()[]{}|!%$& xyzei\x00√°", r"\frac", r"\sqrt", r"\boxed{", r"\text{", r"\left(", r"\cup",
        r"\pm", r"\infty", r"\{", r"\}", r"\begin{pmatrix}", r"\end{pmatrix}", r"\\", " and ", " or ", "answer is ",
        "#### ", "<think>", "</think>", r"\pi", r"\%", " cm", r"\sin",
    ]
)  # fmt: skip
ANSWERS = st.lists(PIECES, max_size=25).map("".join)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.one_of(st.text(max_size=80), ANSWERS), ANSWERS)
def test_grading_never_raises(text: str, gold: str):
    assert grade_math(text, gold) in Grade
    assert grade_math(rf"\boxed{{{text}}}", gold) in Grade
    assert grade_choice(text, "B", CITIES) in Grade


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.fractions(max_denominator=10**6))
def test_every_fraction_equals_itself_however_written_and_not_its_neighbour(q):
    latex = rf"\frac{{{q.numerator}}}{{{q.denominator}}}"
    assert equal_math(latex, f"{q.numerator}/{q.denominator}")
    assert not equal_math(latex, f"{q.numerator + 1}/{q.denominator}")
