package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// workers is the number of objects that are sent at the same time.
const workers = 8

// server is the API server.
type server struct {
	base   string
	client *http.Client
}

func newServer(kubeconfig string) (*server, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	return &server{base: config.Host, client: client}, err
}

// tryAll sends each object to the API server. Unknown fields are errors, as in kubectl.
func (s *server) tryAll(ctx context.Context, cases []*variant) error {
	next := make(chan *variant)
	failed := make(chan error, workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for one := range next {
				if err := s.try(ctx, one); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for _, one := range cases {
		next <- one
	}
	close(next)
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (s *server) try(ctx context.Context, one *variant) error {
	url := s.base + one.path + "?dryRun=All&fieldValidation=Strict"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(one.text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	switch response.StatusCode {
	case http.StatusCreated:
		one.server = verdict{}
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		var status struct{ Message string }
		if err := json.Unmarshal(body, &status); err != nil {
			return err
		}
		one.server = verdict{refused: true, reason: status.Message}
	default:
		return fmt.Errorf("%s %s: %s: %s", one.kind, one.change, response.Status, body)
	}
	return nil
}

// refusals are the findings about invalid objects. Other findings are about missing references or
// unsupported features.
var refusals = map[string]bool{
	"invalid-name":      true,
	"invalid-object":    true,
	"missing-kind":      true,
	"missing-name":      true,
	"not-an-object":     true,
	"port-out-of-range": true,
	"schema-violation":  true,
	"syntax":            true,
	"unknown-field":     true,
}

// checkAll runs `towergate check` on a folder with a file for each object.
func checkAll(program string, cases []*variant) error {
	folder, err := os.MkdirTemp("", "differential")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	of := map[string]*variant{}
	for at, one := range cases {
		name := fmt.Sprintf("%05d.json", at)
		if err := os.WriteFile(filepath.Join(folder, name), []byte(one.text), 0o644); err != nil {
			return err
		}
		of[name] = one
	}
	command := exec.Command(program, "check", "--strict", "--format=json", folder)
	var errors bytes.Buffer
	command.Stderr = &errors
	output, err := command.Output()
	var findings []struct{ Severity, Code, File, Message string }
	if json.Unmarshal(output, &findings) != nil {
		return fmt.Errorf("%s check: %w: %s", program, err, errors.String())
	}
	for _, finding := range findings {
		one := of[filepath.Base(finding.File)]
		if one == nil || finding.Severity != "error" || !refusals[finding.Code] {
			continue
		}
		one.towergate.refused = true
		one.towergate.reason += fmt.Sprintf("%s: %s; ", finding.Code, finding.Message)
	}
	return nil
}
