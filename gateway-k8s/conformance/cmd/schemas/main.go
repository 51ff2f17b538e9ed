// Command schemas writes the validation schemas of Gateway API and of kinds of Envoy Gateway, as
// towergate-k8s embeds them.
//
// It reads the CustomResourceDefinitions that the test cluster installs and keeps the parts that
// determine whether an object is valid, without descriptions and statuses. Equal schemas are
// written once; a schema refers to others by index.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

// envoyKinds are the kinds of Envoy Gateway that Towergate supports.
var envoyKinds = map[string]bool{
	"Backend":              true,
	"EnvoyExtensionPolicy": true,
	"EnvoyPatchPolicy":     true,
	"EnvoyProxy":           true,
	"BackendTrafficPolicy": true,
	"ClientTrafficPolicy":  true,
	"HTTPRouteFilter":      true,
	"SecurityPolicy":       true,
}

// Keywords that contain other schemas are handled by (*catalog).add.
var keywords = []string{
	"default", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maxLength",
	"maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "multipleOf",
	"nullable", "pattern", "required", "type", "uniqueItems", "x-kubernetes-int-or-string",
	"x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-preserve-unknown-fields",
}

// ignored keywords do not affect whether an object is valid.
var ignored = map[string]bool{
	"description": true, "example": true, "externalDocs": true, "title": true,
	"x-kubernetes-embedded-resource": true, "x-kubernetes-map-type": true,
}

// widened patterns accept more than those of the CustomResourceDefinitions. docs/validation.md
// lists them.
var widened = map[string]string{
	// The issuer of an OpenID provider, which may be on the host itself.
	`^https://[^/?#@]+(/[^?#]*)?$`: `^(https://[^/?#@]+|http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?)(/[^?#]*)?$`,
}

type schema = map[string]any

// definition is the part of a CustomResourceDefinition that this program uses.
type definition struct {
	Kind     string
	Metadata struct{ Annotations map[string]string }
	Spec     struct {
		Group    string
		Names    struct{ Kind string }
		Versions []struct {
			Name   string
			Served bool
			Schema struct{ OpenAPIV3Schema schema }
		}
	}
}

// catalog contains each distinct schema once.
type catalog struct {
	lines []string
	index map[string]int
	kinds map[string]map[string]int
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) < 3 || len(arguments)%2 != 1 {
		return errors.New("usage: schemas FILE ORIGIN FOLDER [ORIGIN FOLDER ...]")
	}
	found := &catalog{index: map[string]int{}, kinds: map[string]map[string]int{}}
	var origins []string
	for at := 1; at < len(arguments); at += 2 {
		origins = append(origins, arguments[at])
		if err := found.addFolder(arguments[at+1]); err != nil {
			return err
		}
	}
	text, err := found.write(origins)
	if err != nil {
		return err
	}
	return os.WriteFile(arguments[0], text, 0o644)
}

func (c *catalog) addFolder(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no manifests in %s", folder)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, document := range bytes.Split(append([]byte("\n"), text...), []byte("\n---\n")) {
			if err := c.addDefinition(document); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

func (c *catalog) addDefinition(document []byte) error {
	var crd definition
	if err := yaml.Unmarshal(document, &crd); err != nil {
		return err
	}
	kind, group := crd.Spec.Names.Kind, crd.Spec.Group
	wanted := group == "gateway.networking.k8s.io" || group == "gateway.envoyproxy.io" && envoyKinds[kind]
	if crd.Kind != "CustomResourceDefinition" || !wanted {
		return nil
	}
	c.kinds[kind] = map[string]int{}
	for _, version := range crd.Spec.Versions {
		if !version.Served {
			continue
		}
		root := version.Schema.OpenAPIV3Schema
		properties, _ := root["properties"].(schema)
		for _, field := range []string{"apiVersion", "kind", "metadata", "status"} {
			delete(properties, field)
		}
		index, err := c.add(root)
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind, version.Name, err)
		}
		c.kinds[kind][version.Name] = index
	}
	return nil
}

// add writes the schemas within a schema, then the schema itself, and returns its index.
func (c *catalog) add(from schema) (int, error) {
	to := schema{}
	// The order is fixed, because the schemas within this one receive their indices here.
	keys := make([]string, 0, len(from))
	for key := range from {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		value := from[key]
		var err error
		switch key {
		case "properties":
			to[key], err = c.addNamed(value)
		case "items", "additionalProperties", "not":
			below, isSchema := value.(schema)
			if !isSchema {
				return 0, fmt.Errorf("%s is %v, not a schema", key, value)
			}
			to[key], err = c.add(below)
		case "allOf", "anyOf", "oneOf":
			to[key], err = c.addList(value)
		case "x-kubernetes-validations":
			var kept []schema
			if kept, err = rules(value); len(kept) > 0 {
				to[key] = kept
			}
		default:
			if err := keyword(key); err != nil {
				return 0, err
			}
			if !ignored[key] {
				to[key] = value
			}
			if pattern, isText := value.(string); key == "pattern" && isText && widened[pattern] != "" {
				to[key] = widened[pattern]
			}
		}
		if err != nil {
			return 0, err
		}
	}
	text, err := encode(to)
	if err != nil {
		return 0, err
	}
	if index, known := c.index[text]; known {
		return index, nil
	}
	c.index[text] = len(c.lines)
	c.lines = append(c.lines, text)
	return c.index[text], nil
}

// addNamed adds properties in the order of their names, which makes the output deterministic.
func (c *catalog) addNamed(value any) (map[string]int, error) {
	named, _ := value.(schema)
	names := make([]string, 0, len(named))
	for name := range named {
		names = append(names, name)
	}
	sort.Strings(names)
	indices := map[string]int{}
	for _, name := range names {
		below, _ := named[name].(schema)
		if name == "sessionPersistence" {
			widenSession(below)
		}
		index, err := c.add(below)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		indices[name] = index
	}
	return indices, nil
}

func (c *catalog) addList(value any) ([]int, error) {
	list, _ := value.([]any)
	var indices []int
	for _, item := range list {
		below, _ := item.(schema)
		index, err := c.add(below)
		if err != nil {
			return nil, err
		}
		indices = append(indices, index)
	}
	return indices, nil
}

// rules returns the CEL rules that apply when an object is created, each with its message.
func rules(value any) ([]schema, error) {
	list, _ := value.([]any)
	var kept []schema
	for _, item := range list {
		rule, _ := item.(schema)
		text, _ := rule["rule"].(string)
		for key := range rule {
			switch key {
			case "rule", "message", "reason":
			default:
				return nil, fmt.Errorf("%s of the rule %q is not supported", key, text)
			}
		}
		if !strings.Contains(text, "oldSelf") {
			kept = append(kept, schema{"rule": strings.TrimSpace(text), "message": rule["message"]})
		}
	}
	return kept, nil
}

// keyword rejects unknown keywords, so that an upgrade cannot lose a constraint.
func keyword(key string) error {
	if ignored[key] {
		return nil
	}
	for _, known := range keywords {
		if key == known {
			return nil
		}
	}
	return fmt.Errorf("the keyword %s is not supported", key)
}

// write returns the content of the file: one schema per line.
func (c *catalog) write(origins []string) ([]byte, error) {
	var text strings.Builder
	head, err := encode(map[string]any{
		"license": "Apache-2.0",
		"origins": origins,
	})
	if err != nil {
		return nil, err
	}
	kinds, err := encode(c.kinds)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&text, "%s,\n\"kinds\": %s,\n\"schemas\": [\n", strings.TrimSuffix(head, "}"), kinds)
	text.WriteString(strings.Join(c.lines, ",\n"))
	text.WriteString("\n]}\n")
	if !json.Valid([]byte(text.String())) {
		return nil, errors.New("the output is not JSON")
	}
	return []byte(text.String()), nil
}

// encode returns JSON with sorted keys and without HTML escapes.
func encode(value any) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return strings.TrimSpace(text.String()), nil
}
