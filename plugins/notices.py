"""Notices of failed tasks and successful runs, sent to a Slack channel; a notice never changes a result."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, override

from airflow.sdk import BaseNotifier

CONNECTION = "my_webhook"
TIMEOUT_SECONDS = 5
# The client's timeout covers neither a slow name server nor a server that answers byte by byte.
LONGEST_SECONDS = TIMEOUT_SECONDS + 1
PAUSES_SECONDS = (1, 2)
"""Waits before a notice that Slack did not take is sent again."""
LONGEST_ERROR = 300

log = logging.getLogger(__name__)


def tell_failure() -> BaseNotifier:
    """Notice of a task without retries left, for `default_args={"on_failure_callback": ...}`."""
    return SlackNotice("failed")


def tell_success() -> BaseNotifier:
    """Notice of a successful run, for `@dag(on_success_callback=...)`."""
    return SlackNotice("succeeded")


class SlackNotice(BaseNotifier):
    """One message to the incoming webhook of the connection `my_webhook`, or one line in the log."""

    def __init__(self, outcome: str) -> None:
        super().__init__()
        self.outcome = outcome

    @override
    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Renders nothing: a notice has no templates, and `dag.test` passes a DAG that cannot render."""

    @override
    def notify(self, context: Mapping[str, Any]) -> None:
        try:
            problem = send(describe(context, self.outcome))
        except Exception as error:  # A notice is a process's last act, and its errors must not become the result.
            problem = type(error).__name__
        if problem:
            log.warning("Slack notice: found %s, expected 200; nothing else depends on it", problem)


def tell_person(text: str) -> None:
    """Sends a notice from within a task, without a change of its result."""
    try:
        problem = send(escape(text))
    except Exception as error:  # such as a connection that Airflow cannot look up
        problem = type(error).__name__
    if problem:
        log.warning("Slack notice: found %s, expected 200; nothing else depends on it. It says: %s", problem, text)


def describe(context: Mapping[str, Any], outcome: str) -> str:
    """Outcome, place, reason and link, in Slack's markup."""
    ti = context.get("ti")
    if outcome == "failed" and ti is not None:
        link, subject = ti.log_url, f"{ti.dag_id}.{ti.task_id}"
        place = f"map index {ti.map_index}, " if ti.map_index is not None and ti.map_index >= 0 else ""
        lines = [f"run {ti.run_id}, {place}try {ti.try_number}", first_line(context)]
    else:
        link = ti.log_url.partition("/tasks/")[0] if ti is not None else ""
        subject, lines = context["dag"].dag_id, [f"run {context['run_id']}"]
    text = "\n".join(escape(line) for line in lines if line)
    return f"*{escape(subject)}* {outcome}\n{text}" + (f"\n<{escape(link)}|open in Airflow>" if link else "")


def first_line(context: Mapping[str, Any]) -> str:
    """The first line of the error, with secrets masked; a task that was killed from outside has a reason or nothing."""
    from airflow.sdk.log import redact  # noqa: PLC0415  every DAG file imports this module

    error = context.get("exception") or context.get("reason") or ""
    # Masked before it is cut: half of a secret would match nothing.
    text = str(redact((str(error).strip().splitlines() or [""])[0]))[:LONGEST_ERROR]
    return f"{type(error).__name__}: {text}" if isinstance(error, BaseException) else text


def escape(text: str) -> str:
    """Escapes the three special characters of Slack's markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send(text: str) -> str:
    """Posts a message and returns the problem, without any address, or an empty text.

    Raises:
        Exception: Airflow could not look up the connection.
    """
    # Not at the top: every DAG file imports this module, and the provider takes a third of a second.
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier  # noqa: PLC0415
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415

    # The address of a webhook is its password, and the client logs it, at some levels and in some errors.
    silent = logging.getLogger("slack_sdk")
    silent.setLevel(logging.CRITICAL + 1)
    notifier = SlackWebhookNotifier(
        slack_webhook_conn_id=CONNECTION, text=text, timeout=TIMEOUT_SECONDS, retry_handlers=[]
    )
    try:
        client = notifier.hook.client
    except AirflowNotFoundException:
        log.info("Slack notice: the connection %s has no webhook, so nothing is sent", CONNECTION)
        return ""
    client.logger = silent  # instead of the hook's
    return post_patiently(lambda: str(client.send(text=text, unfurl_links=False).status_code))


def post_patiently(post: Callable[[], str]) -> str:
    """Posts until Slack takes the message, up to three times, and returns the last problem or an empty text.

    A message without an answer may have arrived. It is not sent again, so that no message comes twice.
    """
    for pause in (*PAUSES_SECONDS, None):
        answer = _wait_for(post)
        if pause is None or not is_refusal(answer):
            break
        time.sleep(pause)
    return "" if answer == "200" else answer


def is_refusal(answer: str) -> bool:
    """Whether Slack surely did not take a message, but may take it a little later."""
    return answer in {"URLError", "ConnectionRefusedError", "429"} or (answer.isdigit() and int(answer) >= 500)


def _wait_for(post: Callable[[], str]) -> str:
    answers: list[str] = []

    def run() -> None:
        try:
            answers.append(post())
        except Exception as error:  # The edge of this thread.
            answers.append(type(error).__name__)

    thread = threading.Thread(target=run, daemon=True, name="slack-notice")
    thread.start()
    thread.join(LONGEST_SECONDS)
    return answers[0] if answers else f"no answer in {LONGEST_SECONDS} s"
