// Package suite keeps the conformance suite and the Gateway API module, whose CRDs the cluster
// installs, in go.mod.
//
// There is nothing to call. The suite's test binary is built from the suite's own package, unchanged:
// see build.sh.
package suite

import (
	_ "sigs.k8s.io/gateway-api/apis/v1"
	_ "sigs.k8s.io/gateway-api/conformance"
)
