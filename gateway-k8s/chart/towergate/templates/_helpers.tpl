{{/* The name of the controller's objects. */}}
{{- define "towergate.name" -}}
{{- if contains "towergate" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}-controller
{{- else -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}-towergate-controller
{{- end -}}
{{- end -}}

{{/* The name of the controller's cluster-scoped objects. */}}
{{- define "towergate.clusterName" -}}
{{ .Release.Namespace }}-{{ include "towergate.name" . }}
{{- end -}}

{{- define "towergate.selector" -}}
app.kubernetes.io/name: towergate-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "towergate.labels" -}}
{{ include "towergate.selector" . }}
app.kubernetes.io/component: controller
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* An image: (dict "image" … "chart" .Chart). */}}
{{- define "towergate.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The options of data planes that the controller reads. Fields without a value are omitted: `null` removes a key. */}}
{{- define "towergate.dataPlane" -}}
{{- $given := .Values.dataPlane -}}
{{- $from := $given.from | default (printf "https://%s.%s.svc:%d" (include "towergate.name" .) .Release.Namespace (int .Values.controller.service.port)) -}}
{{- $plane := dict
  "image" (include "towergate.image" (dict "image" $given.image "chart" .Chart))
  "from" $from -}}
{{- with $given.image.pullPolicy -}}
{{- $_ := set $plane "imagePullPolicy" . -}}
{{- end -}}
{{- range $key := list "imagePullSecrets" "replicas" "leaveSeconds" "drainSeconds" "args" "resources" "volumes" "volumeMounts" "nodeSelector" "tolerations" "affinity" "priorityClassName" -}}
{{- if hasKey $given $key -}}
{{- $value := get $given $key -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $plane $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $service := dict -}}
{{- range $key, $value := $given.service -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $service $key $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $plane "service" $service -}}
{{- $plane | toPrettyJson -}}
{{- end -}}
