package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// api sends requests to the API server with plain HTTP. For so few calls, a client library would
// only make the build and the linking slower.
type api struct {
	dirs   dirs
	base   string
	client *http.Client
}

func newAPI(d dirs, port int) (*api, error) {
	ca, err := os.ReadFile(d.file("pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.crt contains no certificate")
	}
	admin, err := tls.LoadX509KeyPair(d.file("pki", "admin.crt"), d.file("pki", "admin.key"))
	if err != nil {
		return nil, err
	}
	return &api{
		dirs: d,
		base: fmt.Sprintf("https://127.0.0.1:%d", port),
		client: &http.Client{
			Timeout: 30 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{
				RootCAs: roots, Certificates: []tls.Certificate{admin}}},
		},
	}, nil
}

// get requests path and, unless into is nil, decodes the response into it.
func (a *api) get(ctx context.Context, path string, into any) error {
	return a.call(ctx, http.MethodGet, path, "", nil, into)
}

// apply creates or changes an object by server-side apply of the manifest.
func (a *api) apply(ctx context.Context, path string, manifest []byte) error {
	return a.call(ctx, http.MethodPatch, path+"?fieldManager=cluster&force=true",
		"application/apply-patch+yaml", manifest, nil)
}

func (a *api) call(
	ctx context.Context, method, path, kind string, body []byte, into any,
) error {
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.500s", method, path, answer.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

func (a *api) ready(ctx context.Context) error {
	return a.get(ctx, "/readyz", nil)
}

// conditioned is the part of a status with the conditions of an object.
type conditioned struct {
	Status struct {
		Conditions []struct{ Type, Status string }
	}
}

func (c conditioned) is(kind string) bool {
	for _, condition := range c.Status.Conditions {
		if condition.Type == kind {
			return condition.Status == "True"
		}
	}
	return false
}

// nodeReady returns nil if the node agent has registered its Node and the Node is ready.
func (a *api) nodeReady(ctx context.Context) error {
	var node conditioned
	if err := a.get(ctx, "/api/v1/nodes/node", &node); err != nil {
		return err
	}
	if !node.is("Ready") {
		return errors.New("the node is not ready")
	}
	return nil
}

// defaultAccount returns nil if the default account of the default namespace exists, which shows
// that the controllers work.
func (a *api) defaultAccount(ctx context.Context) error {
	return a.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
}
