{{/* Names and labels that all objects share. */}}
{{- define "rampart.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "rampart.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "rampart.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "rampart.collector" -}}{{ include "rampart.fullname" . }}-collector{{- end -}}

{{- define "rampart.namespace" -}}{{ default .Release.Namespace .Values.namespaceOverride }}{{- end -}}

{{- define "rampart.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: rampart
{{- end -}}

{{- define "rampart.selector" -}}
app.kubernetes.io/name: {{ include "rampart.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "rampart.agent.account" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "rampart.fullname" .) .Values.serviceAccount.name }}
{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{- end -}}
{{- end -}}

{{- define "rampart.collector.account" -}}
{{- $account := .Values.collector.serviceAccount -}}
{{- if $account.create -}}{{ default (include "rampart.collector" .) $account.name }}
{{- else -}}{{ default "default" $account.name }}{{- end -}}
{{- end -}}

{{- define "rampart.image" -}}
{{- $image := .Values.image -}}
{{- $name := ternary $image.repository (printf "%s/%s" $image.registry $image.repository) (empty $image.registry) -}}
{{- if $image.digest -}}{{ $name }}@{{ $image.digest }}
{{- else -}}{{ $name }}:{{ default .Chart.AppVersion $image.tag }}{{- end -}}
{{- end -}}

{{/* How agents and collector show who they are; empty where there is no collector. */}}
{{- define "rampart.tls" -}}
{{- if include "rampart.collected" . -}}{{ .Values.tls.mode }}{{- end -}}
{{- end -}}

{{- define "rampart.authority" -}}{{ default (printf "%s-ca" (include "rampart.collector" .)) .Values.tls.ca.secretName }}{{- end -}}

{{- define "rampart.authority.public" -}}
{{- default (printf "%s-ca" (include "rampart.collector" .)) .Values.tls.ca.configMapName }}
{{- end -}}

{{/* For whom the tokens are with which agents join. */}}
{{- define "rampart.audience" -}}
{{- dig "identity" "kubernetes" "audience" "rampart-collector" .Values.collector.config -}}
{{- end -}}

{{/* Whether there is a collector: our name for it, and the one that users of Falco know. */}}
{{- define "rampart.collected" -}}
{{- if or .Values.collector.enabled .Values.falcosidekick.enabled -}}yes{{- end -}}
{{- end -}}
