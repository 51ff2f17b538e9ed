package main

import (
	"encoding/json"
	"os"
	"regexp"
	"sort"
)

// catalog is the content of schemas.json.
type catalog struct {
	Kinds   map[string]map[string]int
	Schemas []*schema
}

// schema are the parts of a schema that the generator uses. Other schemas are referenced by index.
type schema struct {
	Type          string
	Format        string
	Default       any
	Enum          []any
	Pattern       string
	Minimum       *float64
	Maximum       *float64
	MinLength     *int
	MaxLength     *int
	MinItems      *int
	MaxItems      *int
	MaxProperties *int
	Required      []string
	Properties    map[string]int
	Items         *int
	Additional    *int `json:"additionalProperties"`
	AllOf         []int
	IntOrString   bool `json:"x-kubernetes-int-or-string"`
}

func readCatalog(file string) (*catalog, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	found := &catalog{}
	return found, json.Unmarshal(text, found)
}

// names are the sorted names of the properties of a schema.
func (s *schema) names() []string {
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// samples are texts. For most patterns, one of them matches.
var samples = []string{
	"a", "example.com", "*.example.com", "/a", "5s", "10Mi", "192.0.2.0/24", "192.0.2.1", "GET",
	"https://example.com", "example.com/a", "X-A", "DE", "1.2", "YQ==", "50%", "TLS_AES_128_GCM_SHA256",
	"100", "a/b", "0.5",
}

// sample returns a value that the schema accepts, without regard to other schemas.
func (c *catalog) sample(s *schema) any {
	if s.Default != nil {
		return s.Default
	}
	if len(s.Enum) > 0 {
		return s.Enum[0]
	}
	switch {
	case s.IntOrString:
		return c.text(s)
	case s.Type == "string":
		return c.text(s)
	case s.Type == "integer" || s.Type == "number":
		if s.Minimum != nil && *s.Minimum > 1 {
			return int64(*s.Minimum)
		}
		return int64(1)
	case s.Type == "boolean":
		return true
	case s.Type == "array":
		return []any{c.sample(c.Schemas[*s.Items])}
	}
	object := map[string]any{}
	for _, name := range s.Required {
		object[name] = c.sample(c.Schemas[s.Properties[name]])
	}
	return object
}

// text returns a text that the pattern, length and format of the schema accept.
func (c *catalog) text(s *schema) string {
	if s.Format == "byte" {
		return "YQ=="
	}
	if s.IntOrString {
		return "10Mi"
	}
	for _, text := range samples {
		fits := s.MinLength == nil || len(text) >= *s.MinLength
		fits = fits && (s.MaxLength == nil || len(text) <= *s.MaxLength)
		for _, part := range append([]int{}, s.AllOf...) {
			fits = fits && matches(c.Schemas[part].Pattern, text)
		}
		if fits && matches(s.Pattern, text) {
			return text
		}
	}
	return samples[0]
}

func matches(pattern, text string) bool {
	return pattern == "" || regexp.MustCompile(pattern).MatchString(text)
}
