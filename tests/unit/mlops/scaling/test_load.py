"""The load of the replicas from two texts of their `/metrics`."""

from __future__ import annotations

import pytest

from mlops.errors import ScalingError
from mlops.scaling.load import measure_load, read_text


def make_text(**replicas: tuple[float, float]) -> str:
    """What the gateway's container prints, for replicas with their seconds of requests and of the processor."""
    parts = [
        f"== {address}\n# HELP process_cpu_seconds_total Total\n# TYPE process_cpu_seconds_total counter\n"
        f"process_cpu_seconds_total {cpu}\nprocess_resident_memory_bytes 1.048576e+08\n"
        f'bentoml_service_request_duration_seconds_sum{{endpoint="/predict",http_response_code="200"}} {requests}\n'
        'bentoml_service_request_duration_seconds_sum{endpoint="other",http_response_code="404"} 0.5\n'
        'bentoml_service_request_duration_seconds_count{endpoint="/predict",http_response_code="200"} 7.0\n'
        for address, (requests, cpu) in replicas.items()
    ]
    return "\n".join(["4\nMemAvailable:    2097152 kB", *parts])


def test_a_text_names_the_machine_and_each_replica() -> None:
    reading = read_text(make_text(a=(3.0, 9.0), b=(1.0, 2.0)), at=5.0)
    assert (reading.cores, reading.free_mb, reading.at) == (4, 2048, 5)
    assert {address: counts.request_seconds for address, counts in reading.replicas.items()} == {"a": 3.5, "b": 1.5}
    assert reading.room.replica_mb == 100


def test_the_load_is_the_larger_of_the_seconds_of_requests_and_of_the_processor() -> None:
    before = read_text(make_text(a=(1.0, 1.0), b=(1.0, 1.0)), at=10)
    after = read_text(make_text(a=(9.0, 2.0), b=(2.0, 5.0)), at=20)
    assert measure_load(before, after) == pytest.approx(0.8 + 0.4)


def test_a_replica_that_is_new_or_has_started_again_is_left_out() -> None:
    before = read_text(make_text(a=(1.0, 1.0), b=(50.0, 50.0)), at=10)
    after = read_text(make_text(a=(2.0, 6.0), b=(0.0, 0.0), c=(4.0, 4.0)), at=20)
    assert measure_load(before, after) == pytest.approx(0.5)
    assert measure_load(before, read_text(make_text(c=(4.0, 4.0)), at=20)) is None


def test_a_replica_without_an_answer_is_not_counted() -> None:
    assert set(read_text(make_text(a=(1.0, 1.0)) + "\n== b\n", at=0).replicas) == {"a"}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e308", "many"])
@pytest.mark.parametrize("name", ["process_cpu_seconds_total", "process_resident_memory_bytes"])
def test_a_replica_whose_numbers_are_no_counts_is_one_without_an_answer(name: str, value: str) -> None:
    """Infinite memory would end the loop, and less than none would allow any number of replicas."""
    lying = f"\n== b\nprocess_cpu_seconds_total 1.0\n{name} {value}\n"
    assert set(read_text(make_text(a=(1.0, 1.0)) + lying, at=0).replicas) == {"a"}


@pytest.mark.parametrize("memory", ["", "process_resident_memory_bytes 0\n"])
def test_a_replica_that_tells_no_memory_has_that_of_a_small_one(memory: str) -> None:
    text = f"4\nMemAvailable:    2097152 kB\n== a\nprocess_cpu_seconds_total 1.0\n{memory}"
    assert read_text(text, at=0).room.replica_mb == 100


@pytest.mark.parametrize("text", ["", "sh: getent: not found\n", "4\n"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ScalingError, match="expected the cores and the free memory"):
        read_text(text, at=0)
