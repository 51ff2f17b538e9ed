package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/fieldpath"
)

// accountMount is the folder in which programs expect the credentials of their service account.
const accountMount = "/var/run/secrets/kubernetes.io/serviceaccount"

// files are the contents of a volume, by path.
type files map[string]fileContent

type fileContent struct {
	data []byte
	mode fs.FileMode
}

func (f files) equal(other files) bool {
	if len(f) != len(other) {
		return false
	}
	for name, content := range f {
		o, ok := other[name]
		if !ok || o.mode != content.mode || !bytes.Equal(o.data, content.data) {
			return false
		}
	}
	return true
}

// volume is a folder that containers of a pod mount.
type volume struct {
	source v1.Volume
	dir    string
	// content is the content that was written last; nil for a folder that the pod itself fills.
	content files
}

// fill writes the volume, or the changes in it. It fails while a required Secret or ConfigMap is
// missing.
func (p *pod) fill(ctx context.Context, v *volume) error {
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		return err
	}
	if v.source.EmptyDir != nil {
		return os.Chmod(v.dir, 0o777)
	}
	content, err := p.content(ctx, v.source)
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.source.Name, err)
	}
	if v.content != nil && v.content.equal(content) {
		return nil
	}
	if err := writeFiles(v.dir, content); err != nil {
		return fmt.Errorf("volume %s: %w", v.source.Name, err)
	}
	v.content = content
	return nil
}

// content returns a volume's files from the objects of the API server.
func (p *pod) content(ctx context.Context, v v1.Volume) (files, error) {
	into := files{}
	switch {
	case v.Secret != nil:
		s := v.Secret
		return into, p.addSecret(into, s.SecretName, s.Items, isTrue(s.Optional), mode(s.DefaultMode))
	case v.ConfigMap != nil:
		c := v.ConfigMap
		return into, p.addConfig(into, c.Name, c.Items, isTrue(c.Optional), mode(c.DefaultMode))
	case v.DownwardAPI != nil:
		return into, p.addDownward(into, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode))
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			if err := p.addProjection(ctx, into, source, mode(v.Projected.DefaultMode)); err != nil {
				return nil, err
			}
		}
		return into, nil
	}
	return nil, fmt.Errorf("this kind of volume is not supported: secret, configMap, emptyDir, " +
		"downwardAPI and projected are")
}

func (p *pod) addProjection(ctx context.Context, into files, source v1.VolumeProjection, m fs.FileMode) error {
	switch {
	case source.Secret != nil:
		s := source.Secret
		return p.addSecret(into, s.Name, s.Items, isTrue(s.Optional), m)
	case source.ConfigMap != nil:
		c := source.ConfigMap
		return p.addConfig(into, c.Name, c.Items, isTrue(c.Optional), m)
	case source.DownwardAPI != nil:
		return p.addDownward(into, source.DownwardAPI.Items, m)
	case source.ServiceAccountToken != nil:
		token, err := p.accountToken(ctx, source.ServiceAccountToken.Audience)
		if err != nil {
			return err
		}
		into[source.ServiceAccountToken.Path] = fileContent{[]byte(token), m}
		return nil
	}
	return fmt.Errorf("this kind of projected volume is not supported")
}

func (p *pod) addSecret(into files, name string, items []v1.KeyToPath, optional bool, m fs.FileMode) error {
	secret, err := p.agent.secrets.Secrets(p.object.Namespace).Get(name)
	if err != nil {
		return unless(optional, err)
	}
	return addKeys(into, secret.Data, items, optional, m)
}

func (p *pod) addConfig(into files, name string, items []v1.KeyToPath, optional bool, m fs.FileMode) error {
	config, err := p.agent.configs.ConfigMaps(p.object.Namespace).Get(name)
	if err != nil {
		return unless(optional, err)
	}
	data := map[string][]byte{}
	for key, text := range config.Data {
		data[key] = []byte(text)
	}
	for key, binary := range config.BinaryData {
		data[key] = binary
	}
	return addKeys(into, data, items, optional, m)
}

// addKeys adds all keys under their own names, or only items under their given names.
func addKeys(into files, data map[string][]byte, items []v1.KeyToPath, optional bool, m fs.FileMode) error {
	if items == nil {
		for key, value := range data {
			into[key] = fileContent{value, m}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional {
				continue
			}
			return fmt.Errorf("missing key %q", item.Key)
		}
		mode := m
		if item.Mode != nil {
			mode = fs.FileMode(*item.Mode)
		}
		into[item.Path] = fileContent{value, mode}
	}
	return nil
}

func (p *pod) addDownward(into files, items []v1.DownwardAPIVolumeFile, m fs.FileMode) error {
	for _, item := range items {
		if item.FieldRef == nil {
			return fmt.Errorf("resourceFieldRef is not supported")
		}
		text, err := fieldpath.ExtractFieldPathAsString(p.object, item.FieldRef.FieldPath)
		if err != nil {
			return err
		}
		into[item.Path] = fileContent{[]byte(text), m}
	}
	return nil
}

// writeFiles replaces the content of dir so that readers see either all old or all new files: each
// name is a link through the link "..data", which is replaced atomically.
func writeFiles(dir string, content files) error {
	fresh, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	for name, file := range content {
		path := filepath.Join(fresh, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, file.data, 0o644); err != nil {
			return err
		}
		// The requested permissions, and always read permission: the files belong to root here, whereas a
		// kubelet gives them to the pod's group.
		if err := os.Chmod(path, file.mode|0o444); err != nil {
			return err
		}
	}
	data := filepath.Join(dir, "..data")
	former, _ := os.Readlink(data)
	next := filepath.Join(dir, "..next")
	if err := os.Symlink(filepath.Base(fresh), next); err != nil {
		return err
	}
	if err := os.Rename(next, data); err != nil {
		return err
	}
	if err := linkNames(dir, content); err != nil {
		return err
	}
	if former != "" {
		return os.RemoveAll(filepath.Join(dir, former))
	}
	return nil
}

// linkNames creates a link for each first path element of content, and removes all others.
func linkNames(dir string, content files) error {
	wanted := map[string]bool{}
	for name := range content {
		first, _, _ := strings.Cut(path.Clean(name), "/")
		wanted[first] = true
	}
	present, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range present {
		name := entry.Name()
		if strings.HasPrefix(name, "..") {
			continue
		}
		if !wanted[name] {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		delete(wanted, name)
	}
	for name := range wanted {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func unless(optional bool, err error) error {
	if optional {
		return nil
	}
	return err
}

func isTrue(b *bool) bool { return b != nil && *b }

func mode(m *int32) fs.FileMode {
	if m == nil {
		return 0o644
	}
	return fs.FileMode(*m)
}
