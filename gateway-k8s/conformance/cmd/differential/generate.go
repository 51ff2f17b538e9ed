package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
)

// verdict is the result of one side for an object.
type verdict struct {
	refused bool
	reason  string
}

func (v verdict) String() string {
	if v.refused {
		return "rejected: " + v.reason
	}
	return "accepted"
}

// variant is an object to compare.
type variant struct {
	kind              string
	path              string // resource path of the API server
	change            string // difference from the valid object
	text              string
	server, towergate verdict
}

// valid are the specs of one valid object of each kind. Each variant changes one place.
var valid = map[string]string{
	"GatewayClass": `{"controllerName":"example.com/controller"}`,
	"Gateway": `{"gatewayClassName":"c","listeners":[{"name":"a","port":80,"protocol":"HTTP"},
		{"name":"b","port":443,"protocol":"HTTPS","hostname":"example.com",
		 "tls":{"certificateRefs":[{"name":"c"}]}}]}`,
	"ListenerSet": `{"parentRef":{"name":"g"},"listeners":[{"name":"a","port":80,"protocol":"HTTP"}]}`,
	"HTTPRoute": `{"parentRefs":[{"name":"g"}],"hostnames":["example.com"],"rules":[
		{"matches":[{"path":{"type":"PathPrefix","value":"/a"}}],
		 "filters":[{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"x-a","value":"b"}]}}],
		 "backendRefs":[{"name":"s","port":80}]}]}`,
	"GRPCRoute": `{"parentRefs":[{"name":"g"}],"rules":[
		{"matches":[{"method":{"service":"a.B","method":"C"}}],"backendRefs":[{"name":"s","port":80}]}]}`,
	"TLSRoute": `{"parentRefs":[{"name":"g"}],"hostnames":["example.com"],
		"rules":[{"backendRefs":[{"name":"s","port":80}]}]}`,
	"TCPRoute":       `{"parentRefs":[{"name":"g"}],"rules":[{"backendRefs":[{"name":"s","port":80}]}]}`,
	"UDPRoute":       `{"parentRefs":[{"name":"g"}],"rules":[{"backendRefs":[{"name":"s","port":80}]}]}`,
	"ReferenceGrant": `{"from":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","namespace":"n"}],"to":[{"group":"","kind":"Service"}]}`,
	"BackendTLSPolicy": `{"targetRefs":[{"group":"","kind":"Service","name":"s"}],
		"validation":{"hostname":"example.com","wellKnownCACertificates":"System"}}`,
	"EnvoyProxy":           `{"logging":{"level":{"default":"warn"}}}`,
	"Backend":              `{"endpoints":[{"fqdn":{"hostname":"a.example.com","port":80}}]}`,
	"HTTPRouteFilter":      `{"directResponse":{"statusCode":200,"body":{"type":"Inline","inline":"ok"}}}`,
	"ClientTrafficPolicy":  `{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g"}]}`,
	"BackendTrafficPolicy": `{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}]}`,
	"SecurityPolicy":       `{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}]}`,
	"EnvoyExtensionPolicy": `{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}],
		"extProc":[{"backendRefs":[{"name":"s","port":80}],"failOpen":true}]}`,
	"EnvoyPatchPolicy": `{"type":"JSONPatch","targetRef":{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g"},
		"jsonPatches":[{"type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l",
		 "operation":{"op":"remove","path":"/a"}}]}`,
}

// envoyKinds are the other kinds of Envoy Gateway.
var envoyKinds = map[string]bool{
	"Backend": true, "EnvoyExtensionPolicy": true, "EnvoyPatchPolicy": true, "EnvoyProxy": true,
	"HTTPRouteFilter": true, "SecurityPolicy": true,
}

// generate returns the valid object of each kind and at most limit variants of it.
func generate(c *catalog, limit int, seed uint64) ([]*variant, error) {
	kinds := make([]string, 0, len(c.Kinds))
	for kind := range c.Kinds {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	var all []*variant
	for _, kind := range kinds {
		var spec any
		if err := json.Unmarshal([]byte(valid[kind]), &spec); err != nil {
			return nil, fmt.Errorf("the valid %s: %w", kind, err)
		}
		root := c.Schemas[c.Kinds[kind][newest(c.Kinds[kind])]]
		made := &generator{catalog: c, seen: map[string]bool{}}
		object := map[string]any{"spec": spec}
		made.emit("nothing", object)
		made.visit(root, "", object, func(change string, value any) { made.emit(change, value) })
		random := rand.New(rand.NewPCG(seed, uint64(len(all))))
		changed := made.made[1:]
		random.Shuffle(len(changed), func(i, j int) { changed[i], changed[j] = changed[j], changed[i] })
		if limit > 0 && len(changed) > limit {
			changed = changed[:limit]
		}
		for _, one := range append(made.made[:1:1], changed...) {
			object, _ := one.value.(map[string]any)
			finished, err := finish(kind, newest(c.Kinds[kind]), len(all), object)
			if err != nil {
				return nil, err
			}
			finished.change = one.change
			all = append(all, finished)
		}
	}
	return all, nil
}

// newest returns the version that sorts first: v1 sorts before v1alpha1 and v1beta1.
func newest(versions map[string]int) string {
	var first string
	for version := range versions {
		if first == "" || version < first {
			first = version
		}
	}
	return first
}

// finish sets the kind and a unique name of an object.
func finish(kind, version string, number int, object map[string]any) (*variant, error) {
	group := "gateway.networking.k8s.io"
	if strings.HasSuffix(kind, "TrafficPolicy") || envoyKinds[kind] {
		group = "gateway.envoyproxy.io"
	}
	plural := strings.ToLower(kind) + "s"
	plural = strings.Replace(strings.Replace(plural, "ys", "ies", 1), "sss", "sses", 1)
	if strings.HasSuffix(kind, "Gateway") {
		plural = "gateways"
	}
	metadata := map[string]any{"name": fmt.Sprintf("case-%05d", number)}
	path := fmt.Sprintf("/apis/%s/%s/%s", group, version, plural)
	if kind != "GatewayClass" {
		metadata["namespace"] = "default"
		path = fmt.Sprintf("/apis/%s/%s/namespaces/default/%s", group, version, plural)
	}
	whole := map[string]any{"apiVersion": group + "/" + version, "kind": kind, "metadata": metadata}
	for key, value := range object {
		whole[key] = value
	}
	text, err := json.Marshal(whole)
	return &variant{kind: kind, path: path, text: string(text)}, err
}

// changed is a value with a description of its change.
type changed struct {
	change string
	value  any
}

type generator struct {
	catalog *catalog
	made    []changed
	seen    map[string]bool
}

// emit adds a variant, unless it already exists.
func (g *generator) emit(change string, value any) {
	text, err := json.Marshal(value)
	if err != nil || g.seen[string(text)] {
		return
	}
	g.seen[string(text)] = true
	g.made = append(g.made, changed{change, value})
}

// visit creates the variants of a value. put places a value into the object.
func (g *generator) visit(s *schema, path string, value any, put func(string, any)) {
	for _, other := range g.others(s, value) {
		text, _ := json.Marshal(other)
		if len(text) > 60 {
			text = append(text[:60], "..."...)
		}
		put(fmt.Sprintf("%s = %s", path, text), other)
	}
	switch value := value.(type) {
	case map[string]any:
		g.object(s, path, value, put)
	case []any:
		if len(value) > 0 && s.Items != nil {
			g.visit(g.catalog.Schemas[*s.Items], path+"[0]", value[0], func(change string, item any) {
				put(change, append([]any{item}, value[1:]...))
			})
		}
	}
}

func (g *generator) object(s *schema, path string, value map[string]any, put func(string, any)) {
	var absent []string
	for _, name := range s.names() {
		below := g.catalog.Schemas[s.Properties[name]]
		at := path + "." + name
		whole := value
		if _, present := value[name]; present {
			put(at+" removed", without(value, name))
		} else {
			absent = append(absent, name)
			whole = g.extended(s, value, name, below)
			put(at+" added", whole)
			if _, typed := s.Properties["type"]; typed {
				put(at+" added without its type", with(value, name, whole[name]))
			}
		}
		g.visit(below, at, whole[name], func(change string, below any) { put(change, with(whole, name, below)) })
	}
	for i, first := range absent {
		for _, second := range absent[i+1:] {
			both := with(value, first, g.catalog.sample(g.catalog.Schemas[s.Properties[first]]))
			both[second] = g.catalog.sample(g.catalog.Schemas[s.Properties[second]])
			put(path+"."+first+" and "+second+" added", both)
		}
	}
	if s.Properties != nil {
		put(path+".unknownField added", with(value, "unknownField", "a"))
	}
}

// extended returns value with the property name. If value is a union and the property one of its
// members, the type of the union is set to that member.
func (g *generator) extended(s *schema, value map[string]any, name string, below *schema) map[string]any {
	sample := g.catalog.sample(below)
	if kind, isUnion := s.Properties["type"]; isUnion {
		for _, word := range g.catalog.Schemas[kind].words(g.catalog) {
			if text, _ := word.(string); strings.EqualFold(text, name) {
				member, _ := g.catalog.sample(s).(map[string]any)
				return with(with(member, "type", word), name, sample)
			}
		}
	}
	return with(value, name, sample)
}

// words returns the values of an enum, which may be in one of the schemas of allOf.
func (s *schema) words(c *catalog) []any {
	for _, part := range s.AllOf {
		if words := c.Schemas[part].Enum; len(words) > 0 {
			return words
		}
	}
	return s.Enum
}

func with(value map[string]any, name string, below any) map[string]any {
	copied := make(map[string]any, len(value)+1)
	for key, value := range value {
		copied[key] = value
	}
	copied[name] = below
	return copied
}

func without(value map[string]any, name string) map[string]any {
	copied := with(value, name, nil)
	delete(copied, name)
	return copied
}

// texts are values for text fields. Most are invalid for a given field.
var texts = []any{
	"", "a", "A_b", "a b", "*", "*.example.com", "a.*.com", "-a", "/", "/a", "a/b", "/a//b", "/a/./b",
	"/a/../b", "/a/..", "/a%2fb", "/a%2Fb", "/a%zz", "/a?b", "/a#b", "/a b", "192.0.2.1", "::1",
	"192.0.2.0/24", "192.0.2.0/33", "GET", "get", "FOO", "0s", "5s", "1.5s", "1h30m", "1d", "100000s",
	"5", "10Mi", "0", "-1", "1.5Gi", "https://example.com", "ftp://example.com/a?b#c", "é", "a\nb",
	"YQ==", "YQ", "host", "Authorization", "Service", "Gateway", "HTTPRoute", "gateway.networking.k8s.io",
	"Value", "Range", "Selector", "Terminate", "Passthrough", "TLS", "TCP", "HTTPS",
	7, 1.5, true, nil, []any{}, map[string]any{},
}

// others returns values that can replace value.
func (g *generator) others(s *schema, value any) []any {
	others := append([]any{}, s.words(g.catalog)...)
	switch {
	case s.IntOrString:
		return append(others, 0, 1, -1, 1.5, "1", "0", "10Mi", "10MB", "1.5Mi", "", true, nil)
	case s.Type == "string":
		others = append(others, texts...)
		if s.MaxLength != nil && *s.MaxLength < 5000 {
			for _, length := range []int{*s.MaxLength, *s.MaxLength + 1} {
				others = append(others, strings.Repeat("a", length), "/"+strings.Repeat("a", length-1),
					strings.Repeat("é", length))
			}
		}
	case s.Type == "integer" || s.Type == "number":
		others = append(others, 0, -1, 1, 100, 1.5, 2.0, "1", nil, true, int64(1)<<31, int64(-1)<<31-1,
			uint64(1)<<63)
		for _, bound := range []*float64{s.Minimum, s.Maximum} {
			if bound != nil {
				others = append(others, *bound-1, *bound, *bound+1)
			}
		}
	case s.Type == "boolean":
		others = append(others, true, false, "true", 1, nil)
	case s.Type == "array":
		others = append(others, []any{}, []any{nil}, "a", map[string]any{}, nil)
		others = append(others, g.lists(s, value)...)
	case s.Type == "object":
		others = append(others, map[string]any{}, "a", []any{}, nil)
		if s.Additional != nil {
			others = append(others, g.maps(s)...)
		}
	}
	return others
}

// lists returns lists with equal items, or with too many items.
func (g *generator) lists(s *schema, value any) []any {
	items, _ := value.([]any)
	if len(items) == 0 {
		items = []any{g.catalog.sample(g.catalog.Schemas[*s.Items])}
	}
	lists := []any{append([]any{items[0]}, items...)}
	if s.MaxItems == nil || *s.MaxItems > 1000 {
		return lists
	}
	for _, length := range []int{*s.MaxItems, *s.MaxItems + 1} {
		var long []any
		for at := range length {
			item := items[0]
			switch same := item.(type) {
			case string:
				item = fmt.Sprintf("%s%d", same, at)
			case map[string]any:
				if _, named := same["name"]; named {
					item = with(same, "name", fmt.Sprintf("a%d", at))
				}
			}
			long = append(long, item)
		}
		lists = append(lists, long)
	}
	return lists
}

// maps returns maps with invalid keys, or with too many keys.
func (g *generator) maps(s *schema) []any {
	sample := g.catalog.sample(g.catalog.Schemas[*s.Additional])
	var maps []any
	for _, key := range []string{"a", "a.example.com/b", "", "A_b", "a b", "-a", "a/b/c",
		strings.Repeat("a", 64), strings.Repeat("a", 254) + "/a"} {
		maps = append(maps, map[string]any{key: sample})
	}
	for _, value := range []any{"", "a b", strings.Repeat("a", 64), strings.Repeat("a", 5000), 7, nil} {
		maps = append(maps, map[string]any{"a": value})
	}
	if s.MaxProperties != nil {
		for _, length := range []int{*s.MaxProperties, *s.MaxProperties + 1} {
			long := map[string]any{}
			for at := range length {
				long[fmt.Sprintf("a%d", at)] = sample
			}
			maps = append(maps, long)
		}
	}
	return maps
}
