"""How the shards of a batch are shared out among the tasks that Airflow can map."""

from __future__ import annotations

from importlib.resources import files

import pytest
import yaml

from ml_code.batch.shards import MOST_TASKS, Shard, share_out
from ml_code.settings import REPOSITORY


def make_shards(count: int) -> list[Shard]:
    return [Shard("f", number, "m", "1", "u", "t", "parquet", "i", None) for number in range(count)]


def test_a_batch_of_more_shards_than_airflow_maps_has_larger_tasks() -> None:
    tasks = share_out(make_shards(2 * MOST_TASKS + 5))
    assert {len(task) for task in tasks} == {2, 3}
    assert len(tasks) == MOST_TASKS < read_largest_map()
    assert [shard.number for task in tasks for shard in task] == list(range(2 * MOST_TASKS + 5))


@pytest.mark.parametrize("count", [0, 1, MOST_TASKS])
def test_shards_that_airflow_can_map_have_a_task_each(count: int) -> None:
    assert share_out(make_shards(count)) == [[shard] for shard in make_shards(count)]


def read_largest_map() -> int:
    """Airflow's own limit, which the stack does not change."""
    assert "max_map_length" not in (REPOSITORY / "docker/airflow/airflow.cfg").read_text()
    options = yaml.safe_load((files("airflow") / "config_templates/config.yml").read_text())["core"]["options"]
    return int(options["max_map_length"]["default"])
