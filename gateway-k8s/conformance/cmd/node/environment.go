package main

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// environment contains variables in order. A later variable replaces an earlier one of the same
// name.
type environment struct {
	pairs []string
}

func (e *environment) set(name, value string) {
	prefix := name + "="
	e.pairs = slices.DeleteFunc(e.pairs, func(pair string) bool {
		return strings.HasPrefix(pair, prefix)
	})
	e.pairs = append(e.pairs, prefix+value)
}

// expand replaces $(NAME) by the variable's value, and keeps unknown names.
func (e *environment) expand(text string) string {
	values := map[string]string{}
	for _, pair := range e.pairs {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = value
	}
	return expansion.Expand(text, expansion.MappingFuncFor(values))
}

// environment returns a container's variables. It fails while an object that a variable refers to
// is missing.
func (p *pod) environment(c *v1.Container) (*environment, error) {
	e := &environment{pairs: apiEnvironment(p.agent.settings.api)}
	e.set("HOSTNAME", p.object.Name)
	for _, from := range c.EnvFrom {
		content := files{}
		var err error
		switch {
		case from.SecretRef != nil:
			err = p.addSecret(content, from.SecretRef.Name, nil, isTrue(from.SecretRef.Optional), 0)
		case from.ConfigMapRef != nil:
			err = p.addConfig(content, from.ConfigMapRef.Name, nil, isTrue(from.ConfigMapRef.Optional), 0)
		}
		if err != nil {
			return nil, fmt.Errorf("envFrom: %w", err)
		}
		for name, file := range content {
			e.set(from.Prefix+name, string(file.data))
		}
	}
	for _, variable := range c.Env {
		value, present, err := p.value(e, variable)
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", variable.Name, err)
		}
		if present {
			e.set(variable.Name, value)
		}
	}
	return e, nil
}

// value returns one variable's value; present is false for an optional variable whose object is
// missing.
func (p *pod) value(e *environment, variable v1.EnvVar) (value string, present bool, err error) {
	from := variable.ValueFrom
	if from == nil {
		return e.expand(variable.Value), true, nil
	}
	content := files{}
	var key string
	switch {
	case from.FieldRef != nil:
		text, err := p.field(from.FieldRef.FieldPath)
		return text, true, err
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		key = ref.Key
		err = p.addSecret(content, ref.Name, keyItem(key), isTrue(ref.Optional), 0)
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		key = ref.Key
		err = p.addConfig(content, ref.Name, keyItem(key), isTrue(ref.Optional), 0)
	default:
		err = fmt.Errorf("this source is not supported")
	}
	file, present := content[key]
	return string(file.data), present, err
}

func keyItem(key string) []v1.KeyToPath {
	return []v1.KeyToPath{{Key: key, Path: key}}
}

// field returns a field of the Pod. The addresses come from the agent, because the API server
// receives them later.
func (p *pod) field(path string) (string, error) {
	switch path {
	case "status.podIP", "status.podIPs":
		return p.network.addr.String(), nil
	case "status.hostIP", "status.hostIPs":
		return p.agent.settings.address, nil
	case "spec.nodeName":
		return nodeName, nil
	case "spec.serviceAccountName":
		return p.object.Spec.ServiceAccountName, nil
	}
	return fieldpath.ExtractFieldPathAsString(p.object, path)
}
