package main

import "strings"

// widenSession makes the schema of sessionPersistence also accept the fields of Gateway API 1.6,
// which Envoy Gateway 1.9 uses: sessionName and cookieConfig instead of cookie and header.
func widenSession(session schema) {
	properties, _ := session["properties"].(schema)
	cookie, _ := properties["cookie"].(schema)
	fields, _ := cookie["properties"].(schema)
	if fields["lifetimeType"] == nil {
		return
	}
	properties["sessionName"] = schema{"type": "string", "maxLength": 128}
	properties["cookieConfig"] = schema{
		"type":       "object",
		"properties": schema{"lifetimeType": fields["lifetimeType"]},
	}
	rules, _ := session["x-kubernetes-validations"].([]any)
	var kept []any
	for _, item := range rules {
		rule, _ := item.(schema)
		if message, _ := rule["message"].(string); !strings.Contains(message, "must be specified for") {
			kept = append(kept, rule)
		}
	}
	session["x-kubernetes-validations"] = kept
}
