"""Renders the chart with combinations of its switches and checks each object by the schemas of Kubernetes.

Runs with the packages of docker/requirements/chart.txt, in a process of its own, because Helm is a library in Go:
`python render.py CHART < QUESTION`. Standard output gets one line of JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import helm_python as helm
import kubernetes_validate
import yaml
from kubernetes_validate import utils

# It reads the schemas of a version, 4 MB, again for each object.
utils.schema_contents = cache(utils.schema_contents)


def choose_settings(numbers: list[int], *, all_of_them: bool) -> list[tuple[int, ...]]:
    """Settings of the switches by number: all combinations, or so many that each pair of settings is in one."""
    every = list(itertools.product(*map(range, numbers)))
    if all_of_them:
        return every
    missing = {pair for chosen in every for pair in list_pairs(chosen)}
    found = []
    while missing:
        best = max(every, key=lambda chosen: len(missing & list_pairs(chosen)))
        found.append(best)
        missing -= list_pairs(best)
    return found


@cache
def list_pairs(chosen: tuple[int, ...]) -> frozenset[tuple[tuple[int, int], ...]]:
    """The pairs of settings in a combination."""
    return frozenset(itertools.combinations(enumerate(chosen), 2))


def list_combinations(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The values with one setting of each switch."""
    switches = question["switches"]
    for chosen in choose_settings(list(map(len, switches)), all_of_them=question["all_combinations"]):
        values: dict[str, Any] = question["values"]
        for switch, number in zip(switches, chosen, strict=True):
            values = merge(values, switch[number])
        yield values


def merge(values: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Values with a change, as Helm merges two files of them."""
    both = {name for name in change if isinstance(change[name], dict) and isinstance(values.get(name), dict)}
    return {**values, **change, **{name: merge(values[name], change[name]) for name in both}}


def split_objects(rendered: Mapping[str, str]) -> list[str]:
    """The objects of a rendered chart, as texts."""
    return [f"{text}\n" for file in rendered.values() for text in file.split("\n---\n") if "kind:" in text]


def check_object(item: dict[str, Any], versions: list[str]) -> list[str]:
    """What is wrong with an object; a kind without a schema is wrong too."""
    found = []
    for version in versions:
        try:
            used = kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            found.append(f"{version}: no schema of {item['apiVersion']} {item['kind']}")
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {item['kind']} {'/'.join(map(str, error.absolute_path))}: {error.message}")
        else:
            found += [f"{version}: checked against {used}"] if used != version else []
    return found


def render_all(chart: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Each object that any combination has, once, and the objects of the combinations by their numbers."""
    texts: dict[str, int] = {}
    combinations = []
    for values in list_combinations(question):
        chart.validate_schema(values)
        numbers = [
            texts.setdefault(text, len(texts))
            for text in split_objects(chart.render(values, name="mlops", namespace="ml"))
        ]
        combinations.append(numbers)
    objects = [yaml.safe_load(text) for text in texts]
    problems = [problem for item in objects for problem in check_object(item, question["versions"])]
    return {"objects": objects, "combinations": combinations, "problems": problems}


def refuse_all(chart: Any, question: dict[str, Any]) -> dict[str, Any]:
    """What Helm says of values that it should refuse; an empty text where it takes them."""
    refusals = []
    for change in question["refused"]:
        try:
            chart.validate_schema(merge(question["values"], change))
        except helm.HelmError as error:
            refusals.append(str(error))
        else:
            refusals.append("")
    return {"refusals": refusals}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    with helm.Chart.load(sys.argv[1]) as loaded:
        answer = {**render_all(loaded, asked), **refuse_all(loaded, asked)}
    answer["broken"] = [check_object(item, asked["versions"]) for item in asked["broken"]]
    print(json.dumps(answer))
