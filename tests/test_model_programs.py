"""Programs in the manner of what language models write when they are asked for one, run here and by Python itself.

Each text is a whole reply: sentences, fences, imports that nobody uses, docstrings, main guards, functions that
nobody calls. Python runs the same program in a process of its own, and both have to print the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from srm_utils.inference.program_text import program_in, stated_answer, with_print
from srm_utils.inference.sandbox import Sandbox
from srm_utils.tasks import get_task

#: A reply, and the answer that a person reads off what its program prints.
REPLIES: dict[str, tuple[str, str]] = {
    # ---------------------------------------------------------------- sums in words
    "eggs, as Qwen": (
        r"""To determine how much Janet makes every day, we compute the eggs left after breakfast and baking.

```python
# Define the number of eggs laid per day
eggs_per_day = 16

# Eggs eaten for breakfast and used for muffins
eggs_eaten = 3
eggs_baked = 4

# Remaining eggs
eggs_left = eggs_per_day - eggs_eaten - eggs_baked

# Price per egg
price_per_egg = 2

daily_earnings = eggs_left * price_per_egg
print(daily_earnings)
```

When you run this code, the output will be:

```output
18
```

So Janet makes **$18** every day.""",
        "18",
    ),
    "eggs, as Llama": (
        r'''Here is a Python program that solves the problem:

```python
import math

def calculate_earnings():
    """Calculate the daily earnings at the farmers' market."""
    eggs_laid = 16
    eggs_used = 3 + 4
    remaining = eggs_laid - eggs_used
    earnings = remaining * 2
    return earnings

# Call the function and print the result
print("Janet makes $", calculate_earnings(), "every day.")
```

The function `calculate_earnings` first computes the remaining eggs.''',
        "18",
    ),
    "robe, as Gemma": (
        r'''```python
def total_bolts(blue: int) -> float:
  """
  Calculates the total number of bolts of fiber.

  Args:
    blue: The number of bolts of blue fiber.

  Returns:
    The total number of bolts.
  """
  white = blue / 2
  return blue + white

blue_bolts = 2
total = total_bolts(blue_bolts)
print(f"It takes {total} bolts in total.")
```

**Explanation:**

1. **Function Definition:** the function takes the number of blue bolts.
2. **Calculation:** it halves them.
''',
        "3",
    ),
    "house, as DeepSeek": (
        r"""First, we need to find out the value of the house after repairs.

```python
import numpy as np

purchase_price = 80000
repairs = 50000
increase = 1.5  # 150%

new_value = purchase_price + purchase_price * increase
total_cost = purchase_price + repairs
profit = new_value - total_cost
print(f"Profit: ${profit:,.2f}")
```""",
        "70000",
    ),
    "main guard, as GPT": (
        r'''```python
from __future__ import annotations

from dataclasses import dataclass
from typing import List


@dataclass
class Runner:
    name: str
    sprints: int
    meters: int = 60

    def total(self) -> int:
        return self.sprints * self.meters


def weekly_meters(runners: List[Runner], sessions: int) -> int:
    """Return the total number of meters all runners run in a week."""
    return sum(runner.total() * sessions for runner in runners)


def main() -> None:
    runners = [Runner("James", 3)]
    answer = weekly_meters(runners, sessions=3)
    print(f"James runs a total of {answer} meters a week.")


if __name__ == "__main__":
    main()
```''',
        "540",
    ),
    "solution that nobody calls": (
        r'''def solution():
    """Wendi feeds each of her chickens three cups of mixed chicken feed."""
    chickens = 20
    cups_per_chicken = 3
    morning = 15
    afternoon = 25
    total = chickens * cups_per_chicken
    result = total - morning - afternoon
    return result''',
        "20",
    ),
    "solution called, value dropped": (
        r"""Here is the code:
```python
def solution():
    glasses = 16
    price = 5
    second = price * 0.6
    total = (glasses / 2) * price + (glasses // 2) * second
    return total
solution()
```""",
        "64",
    ),
    "answer in a branch": (
        r"""```python
seattle = 20
charleston = 4 * seattle
toulouse = 2 * charleston
if toulouse > charleston:
    answer = seattle + charleston + toulouse
else:
    answer = 0
```""",
        "260",
    ),
    "result in a loop": (
        r"""```python
speed = 40
for hour in range(1, 5):
    result = speed * hour + 20
```
The final value of `result` is the answer.""",
        "180",
    ),
    "bare, with sentences around": (
        r"""We will use Python to solve it step by step.

total_gb = 200
rate = 2
restart_at = total_gb * 40 / 100
minutes = restart_at / rate + 20 + total_gb / rate
print("It takes", int(minutes), "minutes")

This prints the number of minutes, which is the answer.""",
        "160",
    ),
    "indented as in a list": (
        r"""1. Compute the distance.

    ```python
    distance_out = 3 * 60
    time_back = 4
    back = 2 * 0 + 0.5 * 30 + 1.5 * 80
    print(distance_out - back)
    ```
""",
        "45",
    ),
    "dialogue with Python": (
        r""">>> rate = 10
>>> regular = 40 * rate
>>> overtime = 5 * rate * 1.2
>>> print(regular + overtime)
460.0""",
        "460",
    ),
    "percent format": (
        r"""```python
price = 104.5
parts = 5
each = price / parts
print("Each part costs $%.2f" % each)
print("That is %d parts at $%.1f each, or %s in all" % (parts, each, price))
```""",
        "104.5",
    ),
    "format method": (
        r"""```python
apples = 7
oranges = 12
total = apples + oranges
print("Apples: {}, oranges: {}, total: {}".format(apples, oranges, total))
print("There are {total:>5d} pieces of fruit.".format(total=total))
```""",
        "19",
    ),
    "step by step, small model": (
        r"""Sure! Here is the program.

```python
# Step 1: read the numbers
a = 12
b = 5
# Step 2: multiply
c = a * b
# Step 3: subtract
d = c - 8
print(d)
```

```python
# Step 1: read the numbers
a = 12
b = 5
c = a * b
d = c - 8
print(d)
""",
        "52",
    ),
    "asked for input, given a default": (
        r"""```python
def cost(pounds=0, rate=2.5):
    return pounds * rate

print("Total cost:", cost(pounds=4), sep=" ")
```""",
        "10",
    ),
    "two fences that belong together": (
        r"""First define the function:

```python
def savings(weekly, weeks):
    return weekly * weeks
```

Then call it:

```python
total = savings(25, 8)
print(total)
```""",
        "200",
    ),
    "no language on the fence": (
        r"""```
hens = 6
eggs = hens * 5
dozens = eggs / 12
print(dozens)
```
Output:
```
2.5
```""",
        "2.5",
    ),
    "thinking first": (
        r"""<think>
The user wants a program. Let me think: maybe
```python
print(99)
```
No, that is wrong.
</think>

```python
pages = 120
read_yesterday = 12
read_today = read_yesterday * 2
left = pages - read_yesterday - read_today
print(left / 2)
```<|im_end|>""",
        "42",
    ),
    "answer as last expression": (
        r"""```python
letters_a_week = 2 * 3 * 2
weeks = 52
letters_a_week * weeks
```""",
        "624",
    ),
    "thousands and rounding": (
        r"""```python
import math
principal = 10_000
rate = 0.05
years = 3
amount = principal * (1 + rate) ** years
print(f"Amount: {amount:,.2f}")
print("Rounded up:", math.ceil(amount))
```""",
        "11577",
    ),
    "type hints and a walrus": (
        r"""```python
from typing import Dict, Optional

prices: Dict[str, float] = {"pen": 1.5, "book": 4.25}
order: Dict[str, int] = {"pen": 4, "book": 2}

def price_of(item: str) -> Optional[float]:
    return prices.get(item)

total: float = 0.0
for item, count in order.items():
    if (price := price_of(item)) is not None:
        total += price * count
print(total)
```""",
        "14.5",
    ),
    "names of other scripts": (
        r"""```python
# 小明有3个苹果
苹果 = 3
橘子 = 苹果 * 2
Zoë = 4
π = 3.14
print("总共", 苹果 + 橘子 + Zoë)
```""",
        "13",
    ),
    "try and except": (
        r"""```python
def divide(a, b):
    try:
        result = a / b
    except ZeroDivisionError:
        print("Cannot divide by zero")
        result = None
    else:
        print("Division done")
    finally:
        print("Checked")
    return result

print(divide(10, 0))
print(divide(45, 9))
```""",
        "5",
    ),
    "raise and assert": (
        r'''```python
def speed(distance, time):
    """Return the speed.

    Raises:
        ValueError: If time is not positive.
    """
    if time <= 0:
        raise ValueError(f"time must be positive, got {time}")
    return distance / time

assert speed(10, 2) == 5, "wrong"
try:
    speed(10, 0)
except ValueError as e:
    print("Error:", e)
print(speed(150, 2.5))
```''',
        "60",
    ),
    # ---------------------------------------------------------------- counting and number theory
    "primes by trial": (
        r"""```python
import math

def is_prime(n):
    if n < 2:
        return False
    for i in range(2, int(math.sqrt(n)) + 1):
        if n % i == 0:
            return False
    return True

primes = [n for n in range(2, 100) if is_prime(n)]
print(f"Number of primes below 100: {len(primes)}")
```""",
        "25",
    ),
    "sieve": (
        r"""```python
def sieve(limit):
    is_prime = [True] * (limit + 1)
    is_prime[0] = is_prime[1] = False
    for i in range(2, int(limit ** 0.5) + 1):
        if is_prime[i]:
            for j in range(i * i, limit + 1, i):
                is_prime[j] = False
    return [i for i, prime in enumerate(is_prime) if prime]

primes = sieve(1000)
print(sum(primes))
```""",
        "76127",
    ),
    "sum of digits": (
        r"""```python
n = 2 ** 100
digit_sum = sum(int(d) for d in str(n))
print("The sum of the digits is", digit_sum)
```""",
        "115",
    ),
    "binary and bases": (
        r"""```python
number = int("101101", 2)
print(bin(number), hex(number), oct(number))
print(int("ff", 16) + number)
```""",
        "300",
    ),
    "star imports": (
        r"""```python
from math import *

area = pi * 5 ** 2
print(round(area, 2))
print(gcd(84, 36) + lcm(4, 6) + factorial(5) + comb(5, 2) + floor(2.7))
```""",
        "156",
    ),
    "aliases": (
        r"""```python
import math as m
from math import gcd as greatest, sqrt
print(greatest(48, 18), m.isqrt(50), sqrt(2.25), m.hypot(3, 4))
```""",
        "5.0",
    ),
    "divisors": (
        r"""```python
def divisors(n):
    result = set()
    for i in range(1, int(n ** 0.5) + 1):
        if n % i == 0:
            result.add(i)
            result.add(n // i)
    return sorted(result)

d = divisors(360)
print(d)
print(len(d))
```""",
        "24",
    ),
    "collatz": (
        r"""```python
def collatz_length(n: int) -> int:
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps

best = max(range(1, 1000), key=collatz_length)
print(best, collatz_length(best))
```""",
        "178",
    ),
    "memoised recursion": (
        r'''```python
from functools import lru_cache

@lru_cache(maxsize=None)
def ways(n):
    """Number of ways to climb n stairs."""
    if n <= 1:
        return 1
    return ways(n - 1) + ways(n - 2)

print(ways(40))
```''',
        "165580141",
    ),
    "deep recursion": (
        r"""```python
import sys
sys.setrecursionlimit(10000)

def total(n):
    return 0 if n == 0 else n + total(n - 1)

print(total(900))
```""",
        "405450",
    ),
    "generator function": (
        r"""```python
def fibonacci():
    a, b = 0, 1
    while True:
        yield a
        a, b = b, a + b

total = 0
for value in fibonacci():
    if value > 4_000_000:
        break
    if value % 2 == 0:
        total += value
print(total)
```""",
        "4613732",
    ),
    "coins by dynamic programming": (
        r"""```python
def count_ways(coins, amount):
    dp = [0] * (amount + 1)
    dp[0] = 1
    for coin in coins:
        for x in range(coin, amount + 1):
            dp[x] += dp[x - coin]
    return dp[amount]

print(count_ways([1, 5, 10, 25, 50], 100))
```""",
        "292",
    ),
    "brute force over pairs": (
        r"""```python
found = False
for chickens in range(0, 36):
    for rabbits in range(0, 36 - chickens):
        if chickens + rabbits == 35 and 2 * chickens + 4 * rabbits == 94:
            print(f"Chickens: {chickens}, rabbits: {rabbits}")
            found = True
            break
    if found:
        break
```""",
        "12",
    ),
    "while with else": (
        r"""```python
n = 97
d = 2
while d * d <= n:
    if n % d == 0:
        print("composite")
        break
    d += 1
else:
    print(n, "is prime after", d - 2, "tests")
```""",
        "8",
    ),
    "perfect numbers": (
        r"""```python
perfect = list(filter(lambda n: sum(d for d in range(1, n) if n % d == 0) == n, range(2, 500)))
print(perfect, sum(perfect))
```""",
        "[6, 28, 496] 530",
    ),
    # ---------------------------------------------------------------- chances
    "dice by product": (
        r"""```python
import itertools
from fractions import Fraction

outcomes = list(itertools.product(range(1, 7), repeat=2))
favorable = [o for o in outcomes if sum(o) == 7]
probability = Fraction(len(favorable), len(outcomes))
print(f"The probability is {probability}")
```""",
        "1/6",
    ),
    "cards by combinations": (
        r"""```python
from math import comb
total_hands = comb(52, 5)
flushes = 4 * comb(13, 5)
p = flushes / total_hands
print(f"P(flush) = {p:.6f}")
```""",
        "0.001981",
    ),
    "marbles": (
        r"""```python
from itertools import combinations
marbles = ["red"] * 4 + ["blue"] * 3 + ["green"] * 2
pairs = list(combinations(range(len(marbles)), 2))
same = sum(1 for i, j in pairs if marbles[i] == marbles[j])
print(same, "/", len(pairs))
print(same / len(pairs))
```""",
        "0.27777777777777778",
    ),
    "permutations of a word": (
        r"""```python
from itertools import permutations
word = "LEVEL"
distinct = set("".join(p) for p in permutations(word))
print(len(distinct))
```""",
        "30",
    ),
    "expected value": (
        r"""```python
outcomes = {1: 0.5, 5: 0.3, 10: 0.2}
expected = sum(value * p for value, p in outcomes.items())
print("Expected value:", round(expected, 2))
```""",
        "4",
    ),
    "bayes": (
        r"""```python
p_disease = 0.01
p_pos_given_disease = 0.99
p_pos_given_healthy = 0.05
p_pos = p_pos_given_disease * p_disease + p_pos_given_healthy * (1 - p_disease)
posterior = p_pos_given_disease * p_disease / p_pos
print(f"{posterior:.2%}")
```""",
        "16.67%",
    ),
    "statistics": (
        r"""```python
import statistics as stats
scores = [85, 90, 78, 92, 88]
print("Mean:", stats.mean(scores))
print("Median:", stats.median(scores))
print("Population standard deviation:", round(stats.pstdev(scores), 3))
```""",
        "4.883",
    ),
    "numpy on plain numbers": (
        r"""```python
import numpy as np
scores = [80, 90, 100]
print(np.mean(scores), np.sqrt(16), np.ceil(4.2), np.pi > 3)
average = np.mean(scores)
print("The average is", average)
```""",
        "90",
    ),
    # ---------------------------------------------------------------- dates and times
    "a week from": (
        r"""```python
from datetime import datetime, timedelta

# It is 4/19/1969 today.
today = datetime(1969, 4, 19)
one_day_ago = today - timedelta(days=1)
print(one_day_ago.strftime("%m/%d/%Y"))
```""",
        "04/18/1969",
    ),
    "months before, as PAL": (
        r"""from datetime import date, timedelta
from dateutil.relativedelta import relativedelta
# If 2015 is coming in 36 hours, then today is 36 hours before.
today = date(2015, 1, 31) - relativedelta(months=2) + relativedelta(years=1, days=3)
one_week_from_today = today + relativedelta(weeks=1)
print(one_week_from_today.strftime('%m/%d/%Y'))""",
        "12/10/2015",
    ),
    "days between": (
        r"""```python
import datetime
start = datetime.date(2024, 1, 15)
end = datetime.date(2024, 3, 1)
difference = (end - start).days
print(f"There are {difference} days between {start} and {end}, that is {difference} days")
```""",
        "46",
    ),
    "weekday": (
        r"""```python
import calendar
from datetime import date
d = date(2023, 7, 4)
print(d.strftime("%A"), calendar.day_name[d.weekday()], d.isoweekday(), calendar.isleap(2024))
print(calendar.monthrange(2024, 2)[1])
```""",
        "29",
    ),
    "clock": (
        r"""```python
from datetime import datetime, timedelta
start = datetime.strptime("2023-05-01 09:45", "%Y-%m-%d %H:%M")
end = start + timedelta(hours=2, minutes=50)
print(f"{end:%H:%M}")
minutes = int((end - start).total_seconds() // 60)
h, m = divmod(minutes, 60)
print(f"{h:02d}:{m:02d}")
print(minutes)
```""",
        "170",
    ),
    # ---------------------------------------------------------------- texts
    "letters": (
        r"""```python
word = "strawberry"
count = word.count('r')
print(f"The letter 'r' appears {count} times in '{word}': {count}")
```""",
        "3",
    ),
    "last letters": (
        r"""```python
name = "Elon Musk Larry Page"
last_letters = ''.join([word[-1] for word in name.split()])
print(last_letters)
```""",
        "nkye",
    ),
    "reversed words": (
        r"""```python
sentence = "the quick  brown fox"
words = sentence.split()
words.reverse()
print(" ".join(w.capitalize() for w in words), len(words))
```""",
        "4",
    ),
    "palindromes": (
        r"""```python
import re
def is_palindrome(s: str) -> bool:
    cleaned = re.sub(r'[^a-z0-9]', '', s.lower())
    return cleaned == cleaned[::-1]

tests = ["A man, a plan, a canal: Panama", "hello", "No lemon, no melon"]
for t in tests:
    print(f"{t!r:<35}{is_palindrome(t)}")
print(sum(map(is_palindrome, tests)))
```""",
        "2",
    ),
    "vowels by counter": (
        r"""```python
from collections import Counter
text = "Mississippi River"
counts = Counter(c for c in text.lower() if c.isalpha())
print(counts.most_common(2))
vowels = {c: n for c, n in counts.items() if c in "aeiou"}
print(sorted(vowels.items()))
print(sum(vowels.values()))
```""",
        "6",
    ),
    "caesar": (
        r"""```python
def shift(text, k):
    out = []
    for ch in text:
        if ch.isupper():
            out.append(chr((ord(ch) - ord('A') + k) % 26 + ord('A')))
        elif ch.islower():
            out.append(chr((ord(ch) - ord('a') + k) % 26 + ord('a')))
        else:
            out.append(ch)
    return ''.join(out)

print(shift("Hello, World!", 3))
```""",
        "Khoor, Zruog!",
    ),
    "table": (
        r"""```python
rows = [("apple", 3, 0.5), ("pear", 10, 0.25)]
print("Item".ljust(10) + "Qty".rjust(5) + "Price".rjust(8))
print("-" * 23)
total = 0
for name, qty, price in rows:
    print(f"{name:<10}{qty:>5}{price:>8.2f}")
    total += qty * price
print(f"{'Total':<10}{'':>5}{total:>8.2f}")
```""",
        "4",
    ),
    # ---------------------------------------------------------------- lists, sorting, searching
    "sorting by key": (
        r"""```python
people = [{"name": "Ann", "age": 31}, {"name": "Bob", "age": 25}, {"name": "Cy", "age": 31}]
people.sort(key=lambda p: (-p["age"], p["name"]))
print([p["name"] for p in people])
youngest = min(people, key=lambda p: p["age"])
print(f"The youngest is {youngest['name']} at {youngest['age']}")
```""",
        "25",
    ),
    "bubble sort": (
        r"""```python
def bubble_sort(arr):
    n = len(arr)
    swaps = 0
    for i in range(n):
        swapped = False
        for j in range(0, n - i - 1):
            if arr[j] > arr[j + 1]:
                arr[j], arr[j + 1] = arr[j + 1], arr[j]
                swaps += 1
                swapped = True
        if not swapped:
            break
    return arr, swaps

numbers = [64, 34, 25, 12, 22, 11, 90]
result, swaps = bubble_sort(numbers.copy())
print("Sorted:", *result)
print("Swaps:", swaps)
```""",
        "14",
    ),
    "quicksort": (
        r"""```python
def quicksort(xs):
    if len(xs) <= 1:
        return xs
    pivot, *rest = xs
    return quicksort([x for x in rest if x < pivot]) + [pivot] + quicksort([x for x in rest if x >= pivot])

print(quicksort([3, 6, 1, 8, 2, 9, 2]))
```""",
        "[1, 2, 2, 3, 6, 8, 9]",
    ),
    "breadth first": (
        r"""```python
from collections import deque, defaultdict

graph = defaultdict(list)
edges = [("A", "B"), ("A", "C"), ("B", "D"), ("C", "D"), ("D", "E")]
for u, v in edges:
    graph[u].append(v)
    graph[v].append(u)

def bfs(start, goal):
    queue = deque([(start, 0)])
    seen = {start}
    while queue:
        node, dist = queue.popleft()
        if node == goal:
            return dist
        for nxt in graph[node]:
            if nxt not in seen:
                seen.add(nxt)
                queue.append((nxt, dist + 1))
    return -1

print(bfs("A", "E"))
```""",
        "3",
    ),
    "dijkstra": (
        r"""```python
import heapq

graph = {'A': {'B': 1, 'C': 4}, 'B': {'C': 2, 'D': 5}, 'C': {'D': 1}, 'D': {}}
dist = {node: float('inf') for node in graph}
dist['A'] = 0
heap = [(0, 'A')]
while heap:
    d, node = heapq.heappop(heap)
    if d > dist[node]:
        continue
    for nxt, w in graph[node].items():
        if d + w < dist[nxt]:
            dist[nxt] = d + w
            heapq.heappush(heap, (d + w, nxt))
print(dist)
print(dist['D'])
```""",
        "4",
    ),
    "matrix": (
        r"""```python
A = [[1, 2], [3, 4]]
B = [[5, 6], [7, 8]]
C = [[sum(a * b for a, b in zip(row, col)) for col in zip(*B)] for row in A]
for row in C:
    print(row)
det = A[0][0] * A[1][1] - A[0][1] * A[1][0]
print("det =", det)
```""",
        "-2",
    ),
    "set operations": (
        r"""```python
soccer = {"Ann", "Bob", "Cy", "Dee"}
tennis = {"Cy", "Dee", "Eve"}
both = soccer & tennis
either = soccer | tennis
print(sorted(both), sorted(soccer - tennis), len(either))
print(len(soccer ^ tennis))
```""",
        "3",
    ),
    "two pointers": (
        r"""```python
def longest_run(bits: str) -> int:
    best = current = 0
    for b in bits:
        current = current + 1 if b == "1" else 0
        best = max(best, current)
    return best

assert longest_run("") == 0
print(longest_run("110111101111100"))
```""",
        "5",
    ),
    "queens": (
        r"""```python
def solve_n_queens(n):
    solutions = []
    def place(row, cols, d1, d2, board):
        if row == n:
            solutions.append(board[:])
            return
        for col in range(n):
            if col in cols or row + col in d1 or row - col in d2:
                continue
            place(row + 1, cols | {col}, d1 | {row + col}, d2 | {row - col}, board + [col])
    place(0, set(), set(), set(), [])
    return solutions

print(len(solve_n_queens(6)))
```""",
        "4",
    ),
    "nested functions and nonlocal": (
        r"""```python
def make_counter():
    count = 0
    def increment(by=1):
        nonlocal count
        count += by
        return count
    return increment

counter = make_counter()
counter(); counter(4)
print(counter())
```""",
        "6",
    ),
    "global": (
        r"""```python
total = 0

def add(x):
    global total
    total += x

for value in (3, 9, 27):
    add(value)
print("Total is", total)
```""",
        "39",
    ),
    "running totals": (
        r"""```python
from itertools import accumulate
import operator
from functools import reduce
sales = [5, 8, 2, 10]
print(list(accumulate(sales)), reduce(operator.mul, sales, 1), list(accumulate(sales, max)))
del sales[0]
print(sum(sales))
```""",
        "20",
    ),
    "groups": (
        r"""```python
from itertools import groupby
data = sorted(["apple", "avocado", "banana", "blueberry", "cherry"], key=lambda w: w[0])
for letter, words in groupby(data, key=lambda w: w[0]):
    words = list(words)
    print(letter, len(words), words)
```""",
        "['cherry']",
    ),
    # ---------------------------------------------------------------- algebra and geometry
    "quadratic": (
        r"""```python
import math
import sympy as sp

a, b, c = 1, -5, 6
discriminant = b ** 2 - 4 * a * c
if discriminant > 0:
    x1 = (-b + math.sqrt(discriminant)) / (2 * a)
    x2 = (-b - math.sqrt(discriminant)) / (2 * a)
    print("Two roots:", x1, "and", x2)
elif discriminant == 0:
    print("One root:", -b / (2 * a))
else:
    print("No real roots")
```""",
        "2",
    ),
    "two equations": (
        r"""```python
# 2x + 3y = 12, x - y = 1
from fractions import Fraction

def solve(a1, b1, c1, a2, b2, c2):
    det = a1 * b2 - a2 * b1
    if det == 0:
        raise ValueError("no unique solution")
    return Fraction(c1 * b2 - c2 * b1, det), Fraction(a1 * c2 - a2 * c1, det)

x, y = solve(2, 3, 12, 1, -1, 1)
print(x, y, float(x), x + y)
```""",
        "3 2 3.0 5",
    ),
    "bisection": (
        r"""```python
def f(x):
    return x ** 3 - x - 2

lo, hi = 1, 2
while hi - lo > 1e-9:
    mid = (lo + hi) / 2
    if f(lo) * f(mid) <= 0:
        hi = mid
    else:
        lo = mid
print(f"{lo:.4f}")
```""",
        "1.5214",
    ),
    "newton with tolerance": (
        r"""```python
def newton(f, df, x0, tol=1e-10, max_iter=100):
    x = x0
    for i in range(max_iter):
        step = f(x) / df(x)
        x -= step
        if abs(step) < tol:
            return x, i + 1
    return x, max_iter

root, iterations = newton(lambda x: x * x - 2, lambda x: 2 * x, 1.0)
print(round(root, 6), "in", iterations, "iterations")
```""",
        "5",
    ),
    "triangle": (
        r"""```python
from math import sqrt, acos, degrees
a, b, c = 3.0, 4.0, 5.0
s = (a + b + c) / 2
area = sqrt(s * (s - a) * (s - b) * (s - c))
angle = degrees(acos((a*a + b*b - c*c) / (2*a*b)))
print("Area:", area, "Angle:", angle)
```""",
        "90",
    ),
    "decimal money": (
        r"""```python
from decimal import Decimal, ROUND_HALF_UP
price = Decimal("19.99")
total = (price * 3 * Decimal("1.0825")).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
print(f"Total: ${total}")
```""",
        "64.92",
    ),
    "polynomial": (
        r"""```python
coeffs = [2, -3, 0, 5]
def evaluate(x):
    value = 0
    for c in coeffs:
        value = value * x + c
    return value
print([evaluate(x) for x in range(-1, 3)])
print(evaluate(2))
```""",
        "9",
    ),
    "compound growth": (
        r"""```python
population = 1000
years = 0
while population < 2000:
    population *= 1.07
    years += 1
print(f"It takes {years} years")
```""",
        "11",
    ),
    # ---------------------------------------------------------------- logic, classes, odds and ends
    "bank account": (
        r'''```python
class InsufficientFunds(Exception):
    """Raised when a withdrawal is too large."""


class BankAccount:
    fee = 2

    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance
        self.history = []

    def deposit(self, amount):
        self.balance += amount
        self.history.append(("deposit", amount))

    def withdraw(self, amount):
        if amount + self.fee > self.balance:
            raise InsufficientFunds("not enough money")
        self.balance -= amount + BankAccount.fee
        self.history.append(("withdraw", amount))

    def __str__(self):
        return f"{self.owner}: {self.balance}"


account = BankAccount("Ann", 100)
account.deposit(50)
account.withdraw(30)
try:
    account.withdraw(1000)
except InsufficientFunds as error:
    print("Error:", error)
print(account, len(account.history))
print(account.balance)
```''',
        "118",
    ),
    "points": (
        r"""```python
from dataclasses import dataclass, field

@dataclass
class Point:
    x: float
    y: float = 0.0
    tags: list = field(default_factory=list)

    def distance(self, other: "Point") -> float:
        return ((self.x - other.x) ** 2 + (self.y - other.y) ** 2) ** 0.5

a, b = Point(0, 3), Point(4)
a.tags.append("start")
print(a, a == Point(0, 3, ["start"]), b.tags)
print(a.distance(b))
```""",
        "5",
    ),
    "knights and knaves": (
        r"""```python
from itertools import product
names = ["A", "B"]
for values in product([True, False], repeat=2):
    a, b = values
    # A says: we are both knaves
    if a == (not a and not b):
        print({name: "knight" if v else "knave" for name, v in zip(names, values)})
        break
else:
    print("none")
```""",
        "{'A': 'knave', 'B': 'knight'}",
    ),
    "object tracking": (
        r"""```python
swaps = [("Alice", "Bob"), ("Bob", "Claire"), ("Alice", "Claire")]
holding = {"Alice": "red", "Bob": "blue", "Claire": "green"}
for p, q in swaps:
    holding[p], holding[q] = holding[q], holding[p]
print(holding["Claire"], *sorted(holding.values()), sep=", ")
```""",
        "blue, blue, green, red",
    ),
    "arguments of every kind": (
        r"""```python
def describe(first, *rest, sep=", ", **extra):
    parts = [str(first), *map(str, rest)]
    for key, value in extra.items():
        parts.append(f"{key}={value}")
    return sep.join(parts)

print(describe(1, 2, 3, sep=" | ", a=4))
options = {"sep": "-", "z": 26}
print(describe(*range(3), **options))
```""",
        "0-1-2-z=26",
    ),
    "isinstance": (
        r"""```python
def flatten(items):
    flat = []
    for item in items:
        if isinstance(item, (list, tuple)):
            flat.extend(flatten(item))
        else:
            flat.append(item)
    return flat

print(flatten([1, [2, (3, 4)], [[5]]]), type(3).__name__, isinstance(True, int))
```""",
        "[1, 2, 3, 4, 5] int True",
    ),
    "continue, enumerate, zip": (
        r"""```python
names = ["Tom", "Ann", "Lee"]
ages = [12, 15, 11]
for i, (name, age) in enumerate(zip(names, ages), start=1):
    if age < 12:
        continue
    print(f"{i}. {name} ({age})", end="; ")
print()
print(max(zip(ages, names))[1], dict(zip(names, ages)))
```""",
        "Ann {'Tom': 12, 'Ann': 15, 'Lee': 11}",
    ),
    "any, all, next": (
        r"""```python
nums = [4, 8, 15, 16, 23, 42]
print(any(n % 5 == 0 for n in nums), all(n > 3 for n in nums))
first = next((n for n in nums if n > 15), None)
print("The first is", first)
```""",
        "16",
    ),
    "slices": (
        r"""```python
xs = list(range(10))
xs[2:5] = [20, 30]
print(xs, xs[::-2], xs[-3:], xs[:0])
first, *middle, last = xs
print(first, middle, last, sum(middle))
```""",
        "0 [1, 20, 30, 5, 6, 7, 8] 9 77",
    ),
    "ternary chain": (
        r"""```python
def grade(score):
    return "A" if score >= 90 else "B" if score >= 80 else "C" if score >= 70 else "F"

scores = {"Ann": 92, "Bob": 85, "Cy": 64}
grades = {name: grade(score) for name, score in scores.items()}
print(grades)
print(sum(1 for g in grades.values() if g != "F"))
```""",
        "2",
    ),
    "cost of a printer": (
        r"""```python
cost_of_printer = 120
discount = cost_of_printer * 15 // 100
answer = cost_of_printer - discount
```""",
        "102",
    ),
    "matplotlib unused": (
        r"""```python
import matplotlib.pyplot as plt
import pandas as pd
import random
import time
import sys

distance = 240
speed = 60
time_needed = distance / speed
print("Time needed:", time_needed, "hours")
```""",
        "4",
    ),
    "printed in steps": (
        r"""```python
def solve_problem():
    print("Step 1: find the total number of seats.")
    seats = 12 * 8
    print(f"  12 x 8 = {seats}")
    print("Step 2: subtract the seats that are taken.")
    free = seats - 57
    print(f"  {seats} - 57 = {free}")
    return free

if __name__ == '__main__':
    answer = solve_problem()
    print("=" * 20)
    print(f"Final answer: {answer}")
```""",
        "39",
    ),
    "simulation with a seed": (
        r"""```python
import random
random.seed(42)
rolls = [random.randint(1, 6) for _ in range(1000)]
print(sum(rolls), random.choice(["a", "b", "c"]), rolls[:5])
hits = sum(1 for _ in range(2000) if random.random() ** 2 + random.random() ** 2 <= 1)
print(4 * hits / 2000)
```""",
        "3.16",
    ),
    "string building": (
        r"""```python
rows = 4
for i in range(1, rows + 1):
    print(" " * (rows - i) + "*" * (2 * i - 1))
print(str(rows).zfill(3), "done".upper().center(10, "."))
```""",
        "004 ...DONE...",
    ),
    "lambda table": (
        r"""```python
operations = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}
value = 10
for name, arg in [("add", 5), ("mul", 3), ("sub", 7)]:
    value = operations[name](value, arg)
print("Result:", value)
```""",
        "38",
    ),
    "roman numerals": (
        r'''```python
def to_roman(num: int) -> str:
    """Convert an integer to a Roman numeral."""
    values = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
              (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    result = ""
    for value, symbol in values:
        while num >= value:
            result += symbol
            num -= value
    return result

print(to_roman(1994))
```''',
        "MCMXCIV",
    ),
    "knapsack": (
        r"""```python
def knapsack(weights, values, capacity):
    n = len(weights)
    table = [[0 for _ in range(capacity + 1)] for _ in range(n + 1)]
    for i in range(1, n + 1):
        for w in range(1, capacity + 1):
            table[i][w] = table[i-1][w]
            if weights[i-1] <= w:
                table[i][w] = max(table[i][w], values[i-1] + table[i-1][w - weights[i-1]])
    return table[n][capacity]

max_value = knapsack([1, 3, 4, 5], [1, 4, 5, 7], 7)
print("Maximum value:", max_value)
```""",
        "9",
    ),
}

#: Runs each program of a list as a module of its own and prints what it printed, None where it failed.
PYTHON = r"""
import contextlib, io, json, sys, types
# No program uses these, and they take seconds to import.
for name in ("pandas", "matplotlib", "matplotlib.pyplot", "sympy"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["matplotlib"].pyplot = sys.modules["matplotlib.pyplot"]
for program in json.load(sys.stdin):
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "program", "exec"), {"__name__": "__main__"})
        print(json.dumps(printed.getvalue()))
    except Exception:
        print("null")
"""


def by_python(programs: list[str]) -> list[str | None]:
    """What Python prints for each program, in one process."""
    done = subprocess.run(
        [sys.executable, "-c", PYTHON],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def runs():
    """Each reply's program, what Python printed, and what the sandbox made of it."""
    programs = {name: with_print(program_in(text)) for name, (text, _) in REPLIES.items()}
    printed = by_python(list(programs.values()))
    with Sandbox() as sandbox:
        outcomes = sandbox.run(list(programs.values()))
    return {name: (programs[name], p, o) for name, p, o in zip(programs, printed, outcomes, strict=True)}


def test_there_are_replies_enough() -> None:
    assert len(REPLIES) >= 80


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_runs_as_python_runs_it(runs, name) -> None:
    program, printed, outcome = runs[name]
    assert printed, f"Python itself fails on or prints nothing for:\n{program}"
    assert (outcome.output, outcome.refusal) == (printed, "")


@pytest.mark.parametrize("name", REPLIES)
def test_the_answer_is_what_a_person_reads(runs, name) -> None:
    answer = REPLIES[name][1]
    _, _, outcome = runs[name]
    try:
        float(answer.rstrip("%"))
    except ValueError:
        assert outcome.answer is not None and outcome.answer.endswith(answer)
    else:
        read = stated_answer(get_task("chain"), outcome)
        assert read is not None and float(read) == pytest.approx(float(answer.rstrip("%")), rel=1e-9)
