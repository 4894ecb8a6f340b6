"""What the DAGs of rollouts and A/B tests share: connections, the steps of a canary, and how a person approves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, override

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from notices import escape, send

if TYPE_CHECKING:
    from serving.comparison.limits import Limits
    from serving.rollout.control import RolloutControl
    from serving.rollout.rows import Rollout

APPROVAL_WAIT = timedelta(hours=72)
"""Longest wait for a person; then the version counts as not approved."""


@contextmanager
def control_rollout() -> Iterator[RolloutControl]:
    """The rollout's connections, in the name of this run and of the person who started it, if one did.

    A rollout that has nothing to do skips its task.
    """
    from serving.errors import StandsAsideError
    from serving.rollout.control import connect

    context = get_current_context()
    ti, person = context["ti"], context["dag_run"].triggering_user_name
    try:
        yield connect(f"{ti.dag_id}/{ti.run_id}", ti.log_url.partition("/tasks/")[0], person)
    except StandsAsideError as error:
        raise AirflowSkipException(str(error)) from error


def asks_for_approval(limits: Limits, params: Mapping[str, Any]) -> bool:
    """Whether the form of a run makes an approval necessary."""
    return bool(params.get("require_approval") or limits.looser)


def describe_end(rollout: Rollout) -> str:
    """How a rollout ended, in Slack's markup."""
    link = f"\n<{escape(rollout.run_url)}|open in Airflow>" if rollout.run_url else ""
    return f"*{escape(rollout.name)}* {rollout.state}\n{escape(rollout.reason)}{link}"


@task
def validate_artifact(rollout_id: int, params: dict[str, Any]) -> str:
    """Opens and measures the version's file in a process of its own."""
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.validate_artifact(control, rollout_id, allow_schema_change=bool(params.get("allow_schema_change")))


@task
def start_canary(rollout_id: int) -> str:
    """Serves the version from the canary pool."""
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.start_canary(control, rollout_id)


@task
def wait_for_canary(rollout_id: int) -> str:
    """Waits until the canary pool answers with the version."""
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.wait_for_canary(control, rollout_id)


@task
def analyse_canary(rollout_id: int, params: dict[str, Any]) -> str:
    """Compares failures, latency and answers of both versions for the canary's window."""
    from serving.rollout import approval, steps

    with control_rollout() as control:
        limits = approval.read_limits(control, rollout_id, params)
        return steps.analyse_canary(control, rollout_id, limits.rules, limits.window_seconds)


# Sends no notice: the failed task has sent one.
@task(trigger_rule=TriggerRule.ONE_FAILED)
def abort(rollout_id: int | None) -> str:
    """Ends what a failed step has left under way."""
    from serving.rollout import steps

    if rollout_id is None:
        raise AirflowSkipException("no rollout was opened")
    with control_rollout() as control:
        return steps.clean_up(control, rollout_id, "a step failed; its log says why")


class RolloutApproval(ApprovalOperator):
    """Asks a person whether a rollout may go on, where one must; waits without a worker, and skips where none must."""

    template_fields = ("rollout_id", "subject", "body")

    def __init__(self, *, rollout_id: Any, **kwargs: Any) -> None:
        # Airflow ends the wait at the earlier of the two limits. A person who decides before the scheduler has seen
        # the task wait leaves it failed: it asks once more. A decision itself is final (FINAL_ERRORS).
        limit = APPROVAL_WAIT + timedelta(hours=1)
        super().__init__(subject="", response_timeout=APPROVAL_WAIT, execution_timeout=limit, retries=1, **kwargs)
        self.rollout_id = rollout_id

    @override
    def execute(self, context: Any) -> Any:
        from serving.rollout import approval

        with control_rollout() as control:
            limits = approval.read_limits(control, self.rollout_id, context["params"])
            is_asked_for = asks_for_approval(limits, context["params"])
            if not approval.needs_approval(control, self.rollout_id, is_asked_for=is_asked_for):
                raise AirflowSkipException("nobody has to approve it")
            self.subject, self.body = approval.ask_person(
                control, self.rollout_id, APPROVAL_WAIT.total_seconds(), limits.looser
            )
        send(f"*{self.subject}* waits for a person\n<{self.generate_link_to_ui_from_context(context=context)}|decide>")
        return super().execute(context)

    @override
    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        from serving.rollout import approval

        # Not the parent's: its way to skip what follows is blind to this task's map index.
        if "error" in event:
            self.process_trigger_event_error(event)
        person = str((event.get("responded_by_user") or {}).get("name") or "a person")
        with control_rollout() as control:
            if event["chosen_options"] != [self.APPROVE]:
                raise approval.reject(control, self.rollout_id, person)
            limits = approval.read_limits(control, self.rollout_id, context.get("params", {}))
            starter = getattr(context.get("dag_run"), "triggering_user_name", None)
            askers = approval.list_askers(control, self.rollout_id, starter, limits.looser)
            approval.refuse_asker(control, self.rollout_id, person, askers)
            approval.approve(control, self.rollout_id, person, limits.looser)
        return person
