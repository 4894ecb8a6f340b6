{{- define "labels" -}}
app.kubernetes.io/name: mlops-loop
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Values.images.tag | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "selector" -}}
app.kubernetes.io/name: mlops-loop
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "name" -}}
{{ printf "%s-%s" .root.Release.Name .component | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The address of a Service. Nginx's resolver knows full names only. */}}
{{- define "host" -}}
{{ include "name" . }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.gateway.clusterDomain }}
{{- end }}

{{- define "image" -}}
{{ .root.Values.images.registry }}/mlops-loop-{{ .target }}:{{ .root.Values.images.tag }}
{{- end }}

{{- /* No service account's token, no Service's address in the environment (SERVING_PORT would be one), no root. */}}
{{- define "pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 50000
  runAsGroup: 0
  fsGroup: 0
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "selector" . | nindent 8 }}
{{- end }}

{{- define "container" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- /* A variable from the Secret, whose key has the name that .env has. */}}
{{- define "secret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: { name: {{ .root.Values.existingSecret }}, key: {{ .key | default .name }} }
{{- end }}

{{- define "pools" -}}
{{ ternary "stable canary" "stable" .Values.canary.enabled }}
{{- end }}

{{- define "pool" -}}
{{ ternary "serving" "serving-canary" (eq . "stable") }}
{{- end }}

{{- /* The port of the store's address. */}}
{{- define "storePort" -}}
{{- $parts := splitList ":" (urlParse .Values.store.endpointUrl).host }}
{{- if gt (len $parts) 1 }}{{ last $parts }}{{ else if hasPrefix "https:" .Values.store.endpointUrl }}443{{ else }}80{{ end }}
{{- end }}
