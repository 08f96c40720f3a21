{{/* What the collector is told: defaults of the chart, then falcosidekick's names, then `collector.config`. */}}
{{- define "rampart.collector.config" -}}
{{- $config := dict "log" (dict "format" "json") -}}
{{- $grpc := dict "listen" (printf "0.0.0.0:%d" (int .Values.collector.port)) -}}
{{- if eq .Values.tls.mode "join" -}}
{{- $account := printf "%s:%s" (include "rampart.namespace" .) (include "rampart.agent.account" .) -}}
{{- $identity := dict "ca_cert_file" "/etc/rampart/tls/tls.crt" "ca_key_file" "/etc/rampart/tls/tls.key" -}}
{{- $_ := merge $identity (dict "names" (include "rampart.collector.names" . | fromYamlArray) "kubernetes" (dict "accounts" (list $account))) -}}
{{- $_ := set $config "identity" $identity -}}
{{- $_ := set $grpc "tls" "always" -}}
{{- else if ne .Values.tls.mode "none" -}}
{{- $_ := merge $grpc (dict "cert_file" "/etc/rampart/tls/tls.crt" "key_file" "/etc/rampart/tls/tls.key" "client_ca_file" "/etc/rampart/tls/ca.crt") -}}
{{- end -}}
{{- $_ := set $config "grpc" $grpc -}}
{{- if not (include "rampart.collector.shared" .) -}}
{{- $_ := set $config "store" (dict "path" "/var/lib/rampart-collector/collector.db") -}}
{{- end -}}
{{- with .Values.collector.traces.endpoint -}}
{{- $traces := dict "endpoint" . -}}
{{- if not (kindIs "invalid" $.Values.collector.traces.sample) -}}{{- $_ := set $traces "sample" $.Values.collector.traces.sample -}}{{- end -}}
{{- $_ := set $config "traces" $traces -}}
{{- end -}}
{{- $sidekick := .Values.falcosidekick.config -}}
{{- range $channel := include "rampart.collector.channels" . | fromYamlArray -}}
{{- with get $sidekick $channel -}}{{- $_ := set $config $channel (deepCopy .) -}}{{- end -}}
{{- end -}}
{{- if and .Values.falco.http_output.enabled .Values.falco.http_output.url -}}
{{- $_ := set $config "webhook" (mergeOverwrite (dict "address" .Values.falco.http_output.url) (default dict $config.webhook)) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.collector.config)) -}}
{{- end -}}

{{/* Channels of falcosidekick that the collector has too. */}}
{{- define "rampart.collector.channels" -}}
[webhook, slack, teams, pagerduty, opsgenie, alertmanager, loki, elasticsearch, cloudevents, smtp]
{{- end -}}

{{/* Whether replicas share a store. */}}
{{- define "rampart.collector.shared" -}}
{{- if dig "store" "url" "" .Values.collector.config -}}yes{{- end -}}
{{- end -}}

{{- define "rampart.collector.kind" -}}
{{- if ne .Values.collector.kind "auto" -}}{{ .Values.collector.kind }}
{{- else if include "rampart.collector.shared" . -}}Deployment{{- else -}}StatefulSet{{- end -}}
{{- end -}}

{{- define "rampart.collector.replicas" -}}
{{- if not (kindIs "invalid" .Values.collector.replicas) -}}{{ int .Values.collector.replicas }}
{{- else -}}{{ ternary 3 1 (eq (include "rampart.collector.kind" .) "Deployment") }}{{- end -}}
{{- end -}}

{{/* Port of the pages for people, where they are not on loopback only; else empty. */}}
{{- define "rampart.collector.http" -}}
{{- $listen := dig "http" "listen" "127.0.0.1:8080" (include "rampart.collector.config" . | fromYaml) -}}
{{- if not (or (hasPrefix "127." $listen) (hasPrefix "[::1]" $listen)) -}}{{ regexReplaceAll "^.*:" $listen "" }}{{- end -}}
{{- end -}}

{{/* With pages that kubelet can reach, what they say; else whether agents can connect. */}}
{{- define "rampart.collector.probe" -}}
{{- $http := include "rampart.collector.http" .root -}}
{{- if $http -}}
httpGet:
  path: {{ .path }}
  port: http
{{- else -}}
tcpSocket:
  port: grpc
{{- end }}
periodSeconds: 10
timeoutSeconds: 5
failureThreshold: {{ .failures }}
{{- end -}}

{{- define "rampart.collector.secret" -}}
{{- if eq .Values.tls.mode "join" -}}{{ include "rampart.authority" . }}
{{- else if .Values.tls.collector.secretName -}}{{ .Values.tls.collector.secretName }}{{- else -}}{{ include "rampart.collector" . }}-tls{{- end -}}
{{- end -}}

{{- define "rampart.agent.secret" -}}
{{- if .Values.tls.agent.secretName -}}{{ .Values.tls.agent.secretName }}{{- else -}}{{ include "rampart.fullname" . }}-agent-tls{{- end -}}
{{- end -}}

{{- define "rampart.collector.names" -}}
{{- $name := include "rampart.collector" . -}}
{{- $namespace := include "rampart.namespace" . -}}
{{- toYaml (concat (list (printf "%s.%s.svc" $name $namespace) (printf "%s.%s.svc.cluster.local" $name $namespace) $name) .Values.tls.collector.dnsNames) -}}
{{- end -}}
