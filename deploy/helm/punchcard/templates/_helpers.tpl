{{- define "punchcard.name" -}}
{{- if contains "punchcard" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-punchcard" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "punchcard.labels" -}}
{{ include "punchcard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "punchcard.selector" -}}
app.kubernetes.io/name: punchcard
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "punchcard.secret" -}}
{{ default (include "punchcard.name" .) .Values.existingSecret }}
{{- end }}

{{- define "punchcard.serviceAccount" -}}
{{ if .Values.serviceAccount.create }}{{ default (include "punchcard.name" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- /* The pod of one half: dict "root" $ "half" "worker" "values" .Values.worker "command" (list "worker") */ -}}
{{- define "punchcard.pod" -}}
metadata:
  labels:
    {{- include "punchcard.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .half }}
  annotations:
    checksum/secret: {{ include (print .root.Template.BasePath "/secret.yaml") .root | sha256sum }}
    {{- with .values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "punchcard.serviceAccount" .root }}
  automountServiceAccountToken: false
  # Kubernetes would add variables such as PUNCHCARD_PORT for the Service, and Punchcard refuses what is no setting.
  enableServiceLinks: false
  terminationGracePeriodSeconds: 45
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  # Not all of one half on one machine.
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "punchcard.selector" .root | nindent 10 }}
          app.kubernetes.io/component: {{ .half }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .half }}
      image: "{{ .root.Values.image.repository }}:{{ default .root.Chart.AppVersion .root.Values.image.tag }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .command }}
      envFrom:
        - secretRef:
            name: {{ include "punchcard.secret" .root }}
      env:
        - name: PUNCHCARD_DATA
          value: /data
        - name: PUNCHCARD_LAKE_URL
          value: {{ required "lakeUrl is missing. Set it to s3://bucket/prefix: a lake in a pod is lost with it." .root.Values.lakeUrl | quote }}
        {{- range $name, $value := merge (dict) .root.Values.settings .root.Values.environment }}
        - name: {{ $name }}
          value: {{ $value | toString | quote }}
        {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- if eq .half "serve" }}
      ports:
        - name: http
          containerPort: 8080
      # Live also while it waits for PostgreSQL or Kafka: a restart would not help.
      livenessProbe:
        httpGet: {path: /health/live, port: http}
        initialDelaySeconds: 20
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /health/ready, port: http}
        periodSeconds: 5
        timeoutSeconds: 10
        failureThreshold: 2
      lifecycle:
        preStop:
          exec:
            command: [sleep, "5"]  # until load balancers have noticed that it ends
      {{- end }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /data
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: data
      emptyDir:
        sizeLimit: {{ .root.Values.dataSizeLimit }}
    - name: tmp
      emptyDir: {}
{{- end }}
