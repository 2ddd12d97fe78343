"""What is solved: problems, tasks and the registry.

>>> from srm_utils.tasks import get_task
>>> get_task("graph").problems(1, seed=0)[0].task
'graph'
"""

from __future__ import annotations

from srm_utils.tasks.problem import Grade, Problem, Prompt, StepCheck, Task, split_of
from srm_utils.tasks.registry import get_task, task_names

__all__ = ["Grade", "Problem", "Prompt", "StepCheck", "Task", "get_task", "split_of", "task_names"]
