"""From what a model said to a program that states its answer, and from what it printed to that answer.

Models put programs in fences, between sentences or bare; they define a function and do not call it, or set a
variable and do not print it. Everything here is read off the text and its syntax tree; nothing is run.
"""

from __future__ import annotations

import ast
import math
import re
import textwrap
import warnings
from collections.abc import Sequence

from srm_utils.inference.sandbox import Outcome
from srm_utils.tasks.problem import Task

_THOUGHT = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL)
_MARKS = re.compile(r"<\|[a-z_0-9]+\|>|</?s>|<end_of_turn>|<eos>|</?code>|\[/?PYTHON\]")
_FENCE = re.compile(r"```+[ \t]*([\w+#.-]*)(?:[ \t]*\n|[ \t]+)(.*?)(?:```|\Z)", re.DOTALL)
_PYTHON = frozenset({"python", "python3", "py", "tool_code", "ipython", "pycon"})
_OTHER = frozenset(
    {"output", "text", "txt", "bash", "sh", "shell", "console", "json", "markdown", "plaintext", "latex", "result"}
)
_BEGINS = re.compile(
    r"[ \t]*(?:import |from |def |class |@|#|for |while |if |print ?\(|[^\W\d]\w*(?:, ?\w+)* ?[-+*/]?=[^=])"
)
_PROMPT = re.compile(r"^(?:>>>|\.\.\.) ?", re.MULTILINE)
#: Functions and variables by which models name their answer.
_SOLVERS = ("solution", "solver", "solve", "main", "answer", "get_answer", "calculate", "compute")
_ANSWER = re.compile(r"(?:final_|the_|correct_)?(?:ans|answer|result|solution)")
_NUMBER = re.compile(r"(?<![\w.^*])[-−]?\$?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?:/\d[\d,]*)?%?")


def program_in(text: str) -> str:
    """The program in a model's text: its last fence that holds Python, or the lines that are a program, or all of it.

    A fence that only shows output is passed over, and one that uses what an earlier fence defines is joined to it.

    >>> program_in("Let us compute. ```python\\nprint(2)\\n``` It prints:\\n```\\n2\\n```")
    'print(2)'
    >>> program_in("First we add.\\n\\nx = 3 + 4\\nprint(x)\\n\\nThis prints 7.")
    'x = 3 + 4\\nprint(x)'
    """
    text = _MARKS.sub("", _THOUGHT.sub("", text)).replace("\r\n", "\n")
    fences = [(label.lower(), body) for label, body in _FENCE.findall(text) if body.strip()]
    if not fences:
        return _tidy(_bare(text))
    python = [_tidy(body) for label, body in fences if label in _PYTHON and not _is_output(body)]
    if not python:
        python = [_tidy(body) for label, body in fences if label not in _OTHER and not _is_output(body)]
    if not python:
        return _tidy(fences[-1][1])
    return _with_definitions(python)


def _tidy(program: str) -> str:
    """Without empty lines around it, the margin of a list it stood in, and the marks of a dialogue with Python."""
    program = textwrap.dedent(program.strip("\n").rstrip())
    if re.match(r">>> ?", program):
        program = "\n".join(_PROMPT.sub("", line) for line in program.split("\n") if _PROMPT.match(line))
    return program if "\n" in program else program.strip()


def parsed(program: str) -> ast.Module | None:
    """The syntax tree of a program; None where it is none.

    >>> parsed("x = ") is None
    True
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(textwrap.dedent(program))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_output(body: str) -> bool:
    """Whether a fence shows what a program prints: values alone, or nothing that could begin a program."""
    tree = parsed(body.strip())
    if tree is None:
        return not any(_BEGINS.match(line) for line in body.split("\n"))
    return all(
        isinstance(node, ast.Expr) and not any(isinstance(n, ast.Call) for n in ast.walk(node)) for node in tree.body
    )


def _bare(text: str) -> str:
    """The lines of a text without fences that are a program: from the first that may begin one, as far as it is one."""
    if parsed(text.strip()) is not None:
        return text
    lines = text.split("\n")[:400]
    for start, line in enumerate(lines):
        if not _BEGINS.match(line) or line.lstrip().startswith("# "):
            continue
        for end in range(len(lines), start, -1):
            tree = parsed("\n".join(lines[start:end]).rstrip()) if lines[end - 1].strip() else None
            if tree is not None and any(not isinstance(node, ast.Expr) or _calls(node, "print") for node in tree.body):
                return "\n".join(lines[start:end])
    return text


def _with_definitions(programs: Sequence[str]) -> str:
    """The last program, after the earlier ones whose names it uses and does not set itself."""
    last = programs[-1]
    tree = parsed(last)
    if tree is None or len(programs) == 1:
        return last
    missing = _names(tree, ast.Load) - _names(tree, ast.Store)
    before: list[str] = []
    for program in reversed(programs[:-1]):
        earlier = parsed(program)
        if earlier is not None and missing & _names(earlier, ast.Store):
            before.insert(0, program)
            missing |= _names(earlier, ast.Load)
    return "\n".join([*before, last])


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """The names that a tree reads, or those that it sets, functions and imports included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, context):
            found.add(node.id)
        elif context is ast.Store and isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif context is ast.Store and isinstance(node, ast.arg):
            found.add(node.arg)
        elif context is ast.Store and isinstance(node, ast.alias):
            found.add(node.asname or node.name.split(".")[0])
    return found


def _calls(node: ast.AST, name: str) -> bool:
    return any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name for n in ast.walk(node))


# ---------------------------------------------------------------- a program that states its answer


def with_print(program: str) -> str:
    """The program with the line that prints its answer, where it reaches an answer and does not say it.

    Printed are, in this order: the value of a last line, what a function without arguments returns that is
    nowhere called, and the last variable that is named as an answer.

    >>> with_print("ans = 3 + 4")
    'ans = 3 + 4\\nprint(ans)'
    >>> with_print("def solution():\\n    return 7\\n\\nsolution()")
    'def solution():\\n    return 7\\n\\nprint(solution())'
    """
    tree = parsed(program)
    if tree is None or not tree.body:
        return program
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    reached = _reached(tree, functions)
    uncalled = [node for node in functions.values() if node not in reached and not _needs(node)]
    named = [node for name in _SOLVERS for node in uncalled if node.name == name]
    if any(_calls(node, "print") for node in reached):
        returning = [node for node in named if _returns(node)]
        return f"{program}\nprint({returning[0].name}())" if returning else program
    last, answer = _last_value(tree), _answer_name(tree)
    if last is not None:
        return _printed(program, last)
    if named or (uncalled and answer is None):
        node = (named or uncalled[-1:])[0]
        return f"{program}\n" + (f"print({node.name}())" if _returns(node) else f"{node.name}()")
    return program if answer is None else f"{program}\nprint({answer})"


def _reached(tree: ast.Module, functions: dict[str, ast.FunctionDef]) -> list[ast.stmt]:
    """The statements of the module that are run, and the functions that these name, and so on."""
    reached: list[ast.stmt] = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    for node in reached:  # grows
        for name in sorted(_names(node, ast.Load) & set(functions)):
            if not any(functions[name] is known for known in reached):
                reached.append(functions[name])
    return reached


def _needs(node: ast.FunctionDef) -> bool:
    """Whether a function cannot be called without arguments."""
    arguments = node.args
    many = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return many > 0 or any(default is None for default in arguments.kw_defaults)


def _returns(node: ast.FunctionDef) -> bool:
    return any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(node))


def _last_value(tree: ast.Module) -> ast.expr | None:
    """The value that a last line has and nobody uses, in an `if __name__ == "__main__":` too."""
    last = tree.body[-1]
    while isinstance(last, ast.If) and not last.orelse and _names(last.test, ast.Load) == {"__name__"}:
        last = last.body[-1]
    if not isinstance(last, ast.Expr) or isinstance(last.value, ast.Constant):
        return None
    method = isinstance(last.value, ast.Call) and isinstance(last.value.func, ast.Attribute)
    return None if method and len(tree.body) > 1 and _answer_name(tree) else last.value


def _printed(program: str, value: ast.expr) -> str:
    """The program with one of its values printed; positions in a syntax tree count bytes."""
    lines = textwrap.dedent(program).encode().split(b"\n")
    first, last = value.lineno - 1, (value.end_lineno or value.lineno) - 1
    end = value.end_col_offset or len(lines[last])
    lines[last] = lines[last][:end] + b")" + lines[last][end:]
    lines[first] = lines[first][: value.col_offset] + b"print(" + lines[first][value.col_offset :]
    return b"\n".join(lines).decode()


def _answer_name(tree: ast.Module) -> str | None:
    """The last variable of the module, in a branch or a loop too, that is named as an answer."""
    found: list[tuple[int, str]] = []
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda | ast.expr) and not isinstance(
            node, ast.Name | ast.Tuple
        ):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and _ANSWER.fullmatch(node.id):
            found.append((node.lineno, node.id))
        todo += ast.iter_child_nodes(node)
    return max(found)[1] if found else None


# ---------------------------------------------------------------- what it printed


def stated_answer(task: Task, outcome: Outcome) -> str | None:
    """What a program printed last, as an answer of the task; None where it was refused or states none.

    Of a sentence, the last number is the answer where the task asks for a number.

    >>> from srm_utils.tasks import get_task
    >>> stated_answer(get_task("chain"), Outcome("Janet sells 9 eggs.\\nShe makes $18.00 every day.\\n"))
    '18'
    """
    if not outcome.ok:
        return None
    numeric = task.answers is None or task.answers.kind in ("number", "math")
    for line in reversed([line.strip() for line in outcome.output.split("\n") if line.strip()]):
        said = last_number(line) if numeric else None
        answer = task.extract(f"The answer is {plain_number(said or line)}.")
        if answer is not None or not numeric:
            return answer
        if line != outcome.answer and any(c.isdigit() for c in line):
            return None
    return None


def last_number(line: str) -> str | None:
    """The last number of a printed sentence, or of several; None of one number, of a list, and of words alone.

    >>> last_number("Each of the 3 gets $1,250.50."), last_number("6 7 1.5"), last_number("[1, 2]"), last_number("Mary")
    ('1250.50', '1.5', None, None)
    """
    if line[:1] in "[({" or not re.search(r"[^\W\d_]|\d\s+[-+]?\d", line):
        return None
    numbers = _NUMBER.findall(line)
    return numbers[-1].replace("$", "").replace("−", "-").replace(",", "") if numbers else None


def plain_number(printed: str) -> str:
    """A printed number as a person writes it: no ".0", no rounding noise of floating point; other texts as they are.

    >>> plain_number("18.0"), plain_number("0.30000000000000004"), plain_number("Mary")
    ('18', '0.3', 'Mary')
    """
    try:
        value = float(printed)
    except ValueError:
        return printed
    whole = re.fullmatch(r"-?\d+", printed)
    if whole or not math.isfinite(value):
        return printed
    # Ten decimals, and as many digits of a number below one.
    return str(int(value)) if value.is_integer() else f"{value:.{min(10 + len(str(int(abs(value)))), 15)}g}"
