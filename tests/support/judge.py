#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Judges texts for tests/support/judge.c: "openmetrics SIZE" or "json SIZE" in a line of standard
# input, then so many bytes. The answer is a line: what is wrong with the text, or nothing.
#
# The parsers are others': Python's of JSON, and that of Prometheus' client for Python, which takes
# OpenMetrics 1.0 strictly. It lets pass what the rules below refuse.
import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def demand(condition, problem):
    if not condition:
        raise ValueError(problem)


def judge_family(family):
    name = family.name
    known = family.type in ("gauge", "counter", "histogram")
    demand(known, f"{name} has no TYPE, or another one: {family.type}")
    demand(family.documentation, f"{name} has no HELP")
    total = family.type == "counter" and name.endswith("_total")
    demand(not total, f"a counter's family is called {name}")
    for sample in family.samples:
        border = sample.labels.get("le", "+Inf")
        canonical = border == "+Inf" or "." in border or "e" in border
        demand(canonical, f"{name}: le={border} is not canonical")


def judge_openmetrics(text):
    series = [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]
    demand(len(set(series)) == len(series), "a series twice")
    for family in text_string_to_metric_families(text):
        judge_family(family)


# Not everybody reads exponents, and NaN is no JSON.
def decimal(text):
    demand("e" not in text.lower(), f"a number with an exponent: {text}")
    return float(text)


def no_number(text):
    demand(False, f"no number: {text}")


def judge_json(text):
    json.loads(text, parse_float=decimal, parse_constant=no_number)


for line in sys.stdin.buffer:
    kind, size = line.split()
    try:
        content = sys.stdin.buffer.read(int(size)).decode()
        {b"openmetrics": judge_openmetrics, b"json": judge_json}[kind](content)
        answer = ""
    except Exception as problem:
        answer = " ".join(f"{type(problem).__name__}: {problem}".split())
    print(answer, flush=True)
