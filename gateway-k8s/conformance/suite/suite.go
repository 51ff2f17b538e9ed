// Package suite keeps two modules in go.mod: the conformance suite, and Gateway API, whose CRDs the
// cluster installs.
//
// The package has no functions. The suite's test binary is built from the unchanged package of the
// suite: see build.sh.
package suite

import (
	_ "sigs.k8s.io/gateway-api/apis/v1"
	_ "sigs.k8s.io/gateway-api/conformance"
)
