package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// API paths of the kinds in the CRD folders.
var clusterPaths = map[string]string{
	"CustomResourceDefinition":         "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/",
	"ValidatingAdmissionPolicy":        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/",
	"ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/",
}

// installCRDs applies the selected CRDs and waits until the API server serves them.
func (a *api) installCRDs(ctx context.Context, o options) error {
	var folders []string
	if o.Channel != "none" {
		if a.dirs.gatewayAPI == "" {
			return errors.New("CONFORMANCE_GATEWAY_API is not set")
		}
		folders = append(folders, filepath.Join(a.dirs.gatewayAPI, "config/crd", o.Channel))
	}
	if o.Policies {
		if a.dirs.envoyGateway == "" {
			return errors.New("the module with Envoy Gateway's CRDs is not available (no network?): " +
				"use --policies=false")
		}
		folders = append(folders,
			filepath.Join(a.dirs.envoyGateway, "charts/gateway-helm/charts/crds/crds/generated"))
	}
	var crds []string
	for _, folder := range folders {
		applied, err := a.applyFolder(ctx, folder)
		if err != nil {
			return err
		}
		crds = append(crds, applied...)
	}
	for _, path := range crds {
		if err := poll(ctx, func(ctx context.Context) error { return a.established(ctx, path) }); err != nil {
			return err
		}
	}
	return nil
}

// applyFolder applies all manifests of a folder, and returns the paths of its CRDs.
func (a *api) applyFolder(ctx context.Context, folder string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var crds []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, document := range documents(text) {
			path, err := clusterPath(document)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if path == "" {
				continue
			}
			if err := a.apply(ctx, path, document); err != nil {
				return nil, err
			}
			if strings.HasPrefix(path, clusterPaths["CustomResourceDefinition"]) {
				crds = append(crds, path)
			}
		}
	}
	if len(crds) == 0 {
		return nil, fmt.Errorf("no CRD in %s", folder)
	}
	return crds, nil
}

// documents splits a YAML file at its "---" lines.
func documents(text []byte) [][]byte {
	return bytes.Split(append([]byte("\n"), text...), []byte("\n---\n"))
}

// clusterPath returns the API path of a cluster-scoped object; "" for a document without an object.
func clusterPath(document []byte) (string, error) {
	var head struct {
		Kind     string
		Metadata struct{ Name string }
	}
	if err := yaml.Unmarshal(document, &head); err != nil {
		return "", err
	}
	if head.Kind == "" {
		return "", nil
	}
	prefix, known := clusterPaths[head.Kind]
	if !known || head.Metadata.Name == "" {
		return "", fmt.Errorf("unexpected object %s %q", head.Kind, head.Metadata.Name)
	}
	return prefix + head.Metadata.Name, nil
}

func (a *api) established(ctx context.Context, path string) error {
	var crd conditioned
	if err := a.get(ctx, path, &crd); err != nil {
		return err
	}
	if !crd.is("Established") {
		return fmt.Errorf("%s is not established", path)
	}
	return nil
}
