package main

import "strings"

// explained returns whether a difference is intended. docs/validation.md has a row for each
// intended difference.
func explained(one *variant) bool {
	isExplained := isSessionOf16(one.server.reason) || isUnknownInPodSettings(one) ||
		isUnknownInUnsupportedPolicy(one)
	return one.server.refused && !one.towergate.refused && isExplained
}

// isUnknownInPodSettings returns whether the difference is an unknown field in the settings of an
// EnvoyProxy that have types of Kubernetes, such as volumes. These settings are copied as they are.
func isUnknownInPodSettings(one *variant) bool {
	return one.kind == "EnvoyProxy" &&
		strings.Contains(one.server.reason, `unknown field "spec.provider.kubernetes.`)
}

// isUnknownInUnsupportedPolicy returns whether the difference is an unknown field of an
// EnvoyExtensionPolicy or EnvoyPatchPolicy. Towergate reports that it does not support these kinds.
func isUnknownInUnsupportedPolicy(one *variant) bool {
	isUnsupported := one.kind == "EnvoyExtensionPolicy" || one.kind == "EnvoyPatchPolicy"
	return isUnsupported && strings.Contains(one.server.reason, `unknown field "`)
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
