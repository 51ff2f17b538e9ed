package main

import "strings"

// explained is whether a difference is meant: docs/validation.md has a row for each.
func explained(one *variant) bool {
	return one.server.refused && !one.towergate.refused && isSessionOf16(one.server.reason)
}

// isSessionOf16 is whether the API server misses a field of sessionPersistence that Gateway API 1.6 has, or
// requires one that it lacks.
func isSessionOf16(reason string) bool {
	for _, text := range []string{
		`.sessionPersistence.sessionName"`,
		`.sessionPersistence.cookieConfig"`,
		"sessionPersistence: Invalid value: cookie must be specified for Cookie type",
		"sessionPersistence: Invalid value: header must be specified for Header type",
	} {
		if strings.Contains(reason, text) {
			return true
		}
	}
	return false
}
