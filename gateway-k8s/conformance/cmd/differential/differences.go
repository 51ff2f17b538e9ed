package main

import "strings"

// explained returns whether a difference is intended. docs/validation.md has a row for each
// intended difference.
func explained(one *variant) bool {
	return one.server.refused && !one.towergate.refused && isSessionOf16(one.server.reason)
}

// isSessionOf16 returns whether the difference is due to the fields of sessionPersistence in
// Gateway API 1.6: the API server does not have such a field, or requires a field that 1.6 does not
// have.
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
