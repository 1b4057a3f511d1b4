# SPDX-License-Identifier: GPL-2.0-only
"""The tables of the standards' numbered statements stay true: every statement is there, and is checked by a
test that exists and says so itself, or has a reason why there is nothing to check. Unnumbered rules stand
there under their section ("§3.1.2.11.3")."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# How many statements each section of a standard has; a pair: the first and the last number.
NUMBERS = {
    "statements_v5.md": {
        "1.5.4": 3, "1.5.5": 1, "1.5.7": 1, "2.1.3": 1, "2.2.1": (2, 6), "2.2.2": 1, "3.1.0": 2, "3.1.2": 30,
        "3.1.3": 12, "3.1.4": 6, "3.2.0": 2, "3.2.2": 22, "3.3.1": 13, "3.3.2": 20, "3.3.4": 10, "3.4.2": 3,
        "3.5.2": 3, "3.6.1": 1, "3.6.2": 3, "3.7.2": 3, "3.8.1": 1, "3.8.3": 5, "3.8.4": 8, "3.9.2": 2, "3.9.3": 2,
        "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.11.2": 2, "3.11.3": 2, "3.12.4": 1, "3.14.0": 1, "3.14.1": 1,
        "3.14.2": 4, "3.14.4": 3, "3.15.1": 1, "3.15.2": 3, "4.1.0": 2, "4.2": 1, "4.3.1": 1, "4.3.2": 5,
        "4.3.3": 13, "4.4.0": 2, "4.5.0": 2, "4.6.0": 6, "4.7.0": 1, "4.7.1": 2, "4.7.2": 1, "4.7.3": 4, "4.8.2": 6,
        "4.9.0": 3, "4.12.0": 7, "4.12.1": 2, "4.13.1": 1, "4.13.2": 1, "6.0.0": 4,
    },
    "statements_v311.md": {
        "1.5.3": 3, "2.2.2": 2, "2.3.1": 7, "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1, "3.2.2": 6,
        "3.3.1": 12, "3.3.2": 3, "3.3.4": 1, "3.3.5": 2, "3.6.1": 1, "3.8.1": 1, "3.8.3": 4, "3.8.4": 6, "3.9.3": 2,
        "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.12.4": 1, "3.14.1": 1, "3.14.4": 3, "4.1.0": 2, "4.3.1": 1,
        "4.3.2": 2, "4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6, "4.7.1": 3, "4.7.2": 1, "4.7.3": 4, "4.8.0": 2,
        "6.0.0": 4, "7.0.0": 2, "7.1.1": 1, "7.1.2": 1,
    },
    "statements_rfc6455.md": {},
}
TESTS = {"statements_v5.md": "test_mqtt5_*.py", "statements_v311.md": "test_mqtt3_*.py",
         "statements_rfc6455.md": "test_rfc6455_*.py"}

TABLES = list(NUMBERS)
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows(table):
    """{statement: (what it asks, the last column)}"""
    found = {}
    for line in (HERE / table).read_text().splitlines():
        cells = [c.strip() for c in line.strip("|").split(" | ")]
        if not line.startswith(("| MQTT-", "| §")):
            continue
        assert len(cells) == 3, f"not three columns: {line}"
        assert cells[0] not in found, f"twice: {cells[0]}"
        found[cells[0]] = cells[1], cells[2].removesuffix(" |").strip()
    return found


def marked(table):
    """{statement: tests that are marked with it}, read from the files without running them."""
    found = {}
    for path in sorted(HERE.glob(TESTS[table])):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "statement":
                    for argument in call.args:
                        found.setdefault(ast.literal_eval(argument), set()).add(f"{path.name}::{node.name}")
    return found


@pytest.mark.parametrize("table", TABLES)
def test_every_statement_is_there(table):
    wanted = set()
    for section, last in NUMBERS[table].items():
        first, last = last if isinstance(last, tuple) else (1, last)
        wanted |= {f"MQTT-{section}-{n}" for n in range(first, last + 1)}
    there = {s for s in rows(table) if s.startswith("MQTT-")}
    assert not wanted - there, f"missing: {sorted(wanted - there)}"
    assert not there - wanted, f"no such statement: {sorted(there - wanted)}"


@pytest.mark.parametrize("table", TABLES)
def test_every_statement_has_a_test_or_a_reason(table):
    for number, (asks, by) in rows(table).items():
        assert asks, f"{number} does not say what it asks"
        assert NAMED.search(by) or re.fullmatch(r"not applicable: .{12,}", by), f"{number}: {by!r}"


@pytest.mark.parametrize("table", TABLES)
def test_the_table_and_the_tests_say_the_same(table):
    said = {number: {f"{f}::{t}" for f, t in NAMED.findall(by)} for number, (_, by) in rows(table).items()}
    said = {number: tests for number, tests in said.items() if tests}
    there = marked(table)
    wrong = [f"{number}: the table says {sorted(said.get(number, []))}, the tests {sorted(there.get(number, []))}"
             for number in sorted(said.keys() | there.keys()) if said.get(number) != there.get(number)]
    assert not wrong, "\n".join(wrong)
