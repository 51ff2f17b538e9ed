package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// tokenLifetime is the usual lifetime in a kubelet.
	tokenLifetime = time.Hour
	accountVolume = "..account"
)

// accountSource returns the volume with the credentials of the pod's account; nil if the pod names
// no account. The API server of this cluster does not add the volume.
func accountSource(pod *v1.Pod) *v1.Volume {
	spec := pod.Spec
	automount := spec.AutomountServiceAccountToken
	if spec.ServiceAccountName == "" || (automount != nil && !*automount) {
		return nil
	}
	seconds := int64(tokenLifetime.Seconds())
	return &v1.Volume{
		Name: accountVolume,
		VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{
			Sources: []v1.VolumeProjection{
				{ServiceAccountToken: &v1.ServiceAccountTokenProjection{
					Path: "token", ExpirationSeconds: &seconds}},
				{ConfigMap: &v1.ConfigMapProjection{
					LocalObjectReference: v1.LocalObjectReference{Name: "kube-root-ca.crt"}}},
				{DownwardAPI: &v1.DownwardAPIProjection{
					Items: []v1.DownwardAPIVolumeFile{{Path: "namespace",
						FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
			},
		}},
	}
}

// heldToken is a token of the API server, with the time at which to request the next one.
type heldToken struct {
	token string
	renew time.Time
}

// accountToken returns a token for the pod's account. A token is used for most of its lifetime, so
// that the volume is not rewritten each second.
func (p *pod) accountToken(ctx context.Context, audience string) (string, error) {
	if held, ok := p.tokens[audience]; ok && time.Now().Before(held.renew) {
		return held.token, nil
	}
	account := p.object.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	seconds := int64(tokenLifetime.Seconds())
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef: &authv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: p.object.Name, UID: p.object.UID},
	}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	answer, err := p.agent.client.CoreV1().ServiceAccounts(p.object.Namespace).CreateToken(
		ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("a token for account %s: %w", account, err)
	}
	p.tokens[audience] = heldToken{
		token: answer.Status.Token, renew: time.Now().Add(tokenLifetime * 8 / 10)}
	return answer.Status.Token, nil
}

// apiEnvironment returns the variables with the address of the API server that every client library
// expects. It is not the address of the Service, which is unreachable without kube-proxy.
func apiEnvironment(api string) []string {
	host, port, _ := strings.Cut(api, ":")
	return []string{
		"KUBERNETES_SERVICE_HOST=" + host,
		"KUBERNETES_SERVICE_PORT=" + port,
		"PATH=" + os.Getenv("PATH"),
	}
}
