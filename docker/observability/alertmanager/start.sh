#!/bin/sh
# Writes Alertmanager's settings from .env: to Slack, by e-mail, to both or to nobody; then alerts stand on the pages alone.
set -eu
umask 077
folder=${SETTINGS_FOLDER:-/tmp}

case $ALERT_EMAIL_TO$SMTP_ADDRESS$SMTP_FROM$SMTP_USERNAME in
  *[!A-Za-z0-9@.:_+,-]*)
    echo "FAIL: ALERT_EMAIL_TO, SMTP_...: expected letters, digits and @ . : _ + , - alone, found another character" >&2
    exit 1
    ;;
esac
printf %s "$SLACK_WEBHOOK_URL" >"$folder/slack"
printf %s "$SMTP_PASSWORD" >"$folder/smtp"
{
  echo "route: { receiver: team, group_by: [alertname], group_wait: 5s, group_interval: 1m, repeat_interval: 12h }"
  echo "receivers:"
  echo "  - name: team"
  if [ "$SLACK_WEBHOOK_URL" ]; then
    echo "    slack_configs:"
    echo "      - api_url_file: $folder/slack"
    cat <<'SLACK'
        send_resolved: true
        title: "{{ .Status }}: {{ .CommonLabels.alertname }}"
        text: "{{ range .Alerts }}{{ .Annotations.summary }} ({{ .Annotations.runbook }})\n{{ end }}"
SLACK
  fi
  if [ "$ALERT_EMAIL_TO" ]; then
    echo "    email_configs:"
    echo "      - to: '$ALERT_EMAIL_TO'"
    echo "        from: '${SMTP_FROM:-$ALERT_EMAIL_TO}'"
    echo "        smarthost: '$SMTP_ADDRESS'"
    echo "        send_resolved: true"
    if [ "$SMTP_USERNAME" ]; then echo "        auth_username: '$SMTP_USERNAME'"; fi
    if [ "$SMTP_USERNAME" ]; then echo "        auth_password_file: $folder/smtp"; fi
  fi
} >"$folder/alertmanager.yml"
exec alertmanager "--config.file=$folder/alertmanager.yml" --storage.path=/alertmanager --cluster.listen-address=
