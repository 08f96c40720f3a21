{{/* What the agent is told: defaults of the chart, then Falco's names, then `agent.config`. */}}
{{- define "rampart.agent.config" -}}
{{- $falco := .Values.falco -}}
{{- $config := dict -}}
{{- $levels := dict "emergency" "error" "alert" "error" "critical" "error" "error" "error" "warning" "warn" "warn" "warn" "notice" "info" "info" "info" "informational" "info" "debug" "debug" "trace" "trace" -}}
{{- $level := lower (toString $falco.log_level) -}}
{{- $_ := set $config "log" (dict "format" "json" "level" (default "info" (get $levels $level))) -}}
{{- $rules := dict "min_priority" (include "rampart.agent.priority" $falco.priority) "matching" $falco.rule_matching -}}
{{- $files := include "rampart.agent.files" . | fromYamlArray -}}
{{- if $files -}}{{- $_ := set $rules "files" $files -}}{{- end -}}
{{- $_ := set $config "rules" $rules -}}
{{- $form := ternary "json" "text" (eq true $falco.json_output) -}}
{{- $output := dict "stdout" (dict "enabled" $falco.stdout_output.enabled "format" $form) -}}
{{- if $falco.file_output.enabled -}}
{{- $_ := set $output "file" (dict "path" $falco.file_output.filename "format" $form) -}}
{{- end -}}
{{- if include "rampart.collected" . -}}
{{- $to := dict "url" (printf "https://%s.%s.svc:%d" (include "rampart.collector" .) (include "rampart.namespace" .) (int .Values.collector.port)) -}}
{{- if eq .Values.tls.mode "join" -}}
{{- $_ := merge $to (dict "ca_file" "/etc/rampart/tls/ca.crt" "service_account_token_file" "/etc/rampart/tls/token") -}}
{{- else if ne .Values.tls.mode "none" -}}
{{- $_ := merge $to (dict "ca_file" "/etc/rampart/tls/ca.crt" "cert_file" "/etc/rampart/tls/tls.crt" "key_file" "/etc/rampart/tls/tls.key") -}}
{{- end -}}
{{- $_ := set $output "collector" $to -}}
{{- end -}}
{{- $_ := set $config "output" $output -}}
{{- $admin := dict "enabled" $falco.webserver.enabled "listen" (printf "%s:%d" (include "rampart.agent.host" .) (int $falco.webserver.listen_port)) -}}
{{- if .Values.agent.adminToken.existingSecret -}}
{{- $_ := set $admin "token_file" "/etc/rampart/admin/token" -}}
{{- end -}}
{{- $_ := set $config "admin" $admin -}}
{{- $engines := .Values.collectors.containerEngine.engines -}}
{{- $asked := and .Values.collectors.enabled .Values.collectors.containerEngine.enabled -}}
{{- $containers := dict "enabled" $asked "host_root" "/host" -}}
{{- range $engine := list "docker" "podman" "containerd" "cri" -}}
{{- $one := default dict (get $engines $engine) -}}
{{- $_ := set $containers (printf "%s_sockets" $engine) (ternary (default list $one.sockets) list (ne false $one.enabled)) -}}
{{- end -}}
{{- $_ := set $config "containers" $containers -}}
{{- $_ := set $config "kubernetes" (dict "watch" (ternary "auto" "off" (and .Values.collectors.enabled .Values.collectors.kubernetes.enabled))) -}}
{{- $_ := set $config "node" (dict "runtime_dir" "/run/rampart" "state_dir" "/var/lib/rampart") -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.agent.config)) -}}
{{- end -}}

{{- define "rampart.agent.priority" -}}
{{- $priority := lower (toString .) -}}
{{- if eq $priority "info" -}}informational{{- else -}}{{ $priority }}{{- end -}}
{{- end -}}

{{/* Rule files, none for the built-in rules alone. Falco's own entries stand for what is there instead of them. */}}
{{- define "rampart.agent.files" -}}
{{- $own := ternary (list "/etc/falco/rules.d") list (not (empty (include "rampart.agent.rules" . | fromYaml))) -}}
{{- $files := list -}}
{{- range .Values.falco.rules_files -}}
{{- if has . (list "/etc/falco/falco_rules.yaml" "/etc/falco/k8s_audit_rules.yaml") -}}
{{- $files = append $files "/usr/share/rampart/rules" -}}
{{- else if not (has . (list "/etc/falco/falco_rules.local.yaml" "/etc/falco/rules.d")) -}}
{{- $files = append $files . -}}
{{- end -}}
{{- end -}}
{{- if and $own (not .Values.falco.rules_files) -}}{{- $files = list "/usr/share/rampart/rules" -}}{{- end -}}
{{- toYaml (concat (uniq $files) $own) -}}
{{- end -}}

{{/* Rule files that the chart mounts: `customRules`, and last what switches rules off and on. */}}
{{- define "rampart.agent.rules" -}}
{{- $rules := deepCopy .Values.customRules -}}
{{- $switched := list -}}
{{- range .Values.falco.rules -}}
{{- range $verb, $what := . -}}
{{- if or (not (has $verb (list "enable" "disable"))) (not $what.rule) (contains "*" $what.rule) -}}
{{- fail (printf "falco.rules: only `enable: {rule: NAME}` and `disable: {rule: NAME}` with a whole name are known, not `%s: %s`" $verb (toJson $what)) -}}
{{- end -}}
{{- $switched = append $switched (dict "rule" $what.rule "enabled" (eq $verb "enable") "override" (dict "enabled" "replace")) -}}
{{- end -}}
{{- end -}}
{{- if $switched -}}{{- $_ := set $rules "zz-switched.yaml" (toYaml $switched) -}}{{- end -}}
{{- range $name, $text := $rules -}}
{{- if not (regexMatch "\\.ya?ml$" $name) -}}
{{- fail (printf "customRules: `%s` must end with .yaml" $name) -}}
{{- end -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{/* The configuration as the templates ask about it. */}}
{{- define "rampart.agent.traffic" -}}
{{- $config := .Values.agent.config -}}
{{- if or (dig "limits" "enabled" false $config) (dig "services" "enabled" false $config) -}}yes{{- end -}}
{{- end -}}

{{- define "rampart.agent.services" -}}
{{- if dig "services" "enabled" false .Values.agent.config -}}yes{{- end -}}
{{- end -}}

{{- define "rampart.agent.responding" -}}
{{- if eq (dig "responses" "mode" "off" .Values.agent.config) "enforce" -}}yes{{- end -}}
{{- end -}}

{{- define "rampart.agent.hostNetwork" -}}
{{- $wish := .Values.agent.hostNetwork -}}
{{- if kindIs "invalid" $wish -}}{{ include "rampart.agent.traffic" . }}{{- else if $wish -}}yes{{- end -}}
{{- end -}}

{{/* Loopback in the node's network unless metrics are asked for; in a network of its own the pod's address. */}}
{{- define "rampart.agent.host" -}}
{{- if and (include "rampart.agent.hostNetwork" .) (not .Values.metrics.enabled) (not .Values.serviceMonitor.create) -}}
127.0.0.1
{{- else -}}
0.0.0.0
{{- end -}}
{{- end -}}

{{/* Address and port that the merged configuration comes to. */}}
{{- define "rampart.agent.listen" -}}
{{- $listen := dig "admin" "listen" "" (include "rampart.agent.config" . | fromYaml) -}}
{{- $port := regexReplaceAll "^.*:" $listen "" -}}
{{- toYaml (dict "host" (regexReplaceAll ":[0-9]+$" $listen "") "port" (int $port)) -}}
{{- end -}}

{{- define "rampart.agent.probe" -}}
{{- $listen := include "rampart.agent.listen" .root | fromYaml -}}
httpGet:
  path: {{ .path }}
  port: {{ $listen.port }}
  {{- if hasPrefix "127." $listen.host }}
  host: {{ $listen.host }}
  {{- end }}
{{ toYaml .settings }}
{{- end -}}

{{/* Everything dropped but what has a reason (values.yaml says which). */}}
{{- define "rampart.agent.security" -}}
{{- if .Values.containerSecurityContext -}}
{{- toYaml .Values.containerSecurityContext -}}
{{- else if .Values.agent.privileged -}}
privileged: true
readOnlyRootFilesystem: true
{{- else -}}
{{- $caps := .Values.agent.capabilities -}}
{{- $add := $caps.base -}}
{{- $responding := include "rampart.agent.responding" . -}}
{{- if or (include "rampart.agent.traffic" .) .Values.agent.hostNames $responding -}}{{- $add = concat $add $caps.traffic -}}{{- end -}}
{{- if $responding -}}{{- $add = concat $add $caps.respond -}}{{- end -}}
{{- if include "rampart.agent.services" . -}}{{- $add = concat $add $caps.drain -}}{{- end -}}
runAsUser: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add:
    {{- toYaml (concat $add $caps.extra | uniq) | nindent 4 }}
seccompProfile:
  {{- toYaml .Values.agent.seccompProfile | nindent 2 }}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
appArmorProfile:
  {{- toYaml .Values.agent.appArmorProfile | nindent 2 }}
{{- end }}
{{- end -}}
{{- end -}}
