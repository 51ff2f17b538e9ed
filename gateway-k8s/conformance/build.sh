# Builds the programs of the test cluster and of the suite, into $CONFORMANCE_BIN. This file is sourced.
#
# Go caches compiled packages. Still, Go needs seconds to check so many packages, so the times of our own
# files determine whether the programs are up to date.

# An older Go downloads the release that go.mod names.
export GOTOOLCHAIN=${GOTOOLCHAIN:-$(sed -n 's/^toolchain //p' "$here/go.mod")}

# The release of Kubernetes in go.mod.
kubernetes_version() {
    sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$here/go.mod"
}

# Envoy Gateway is not a requirement in go.mod, because only files of its module are needed. Its version and
# checksum are pinned here.
envoy_gateway=github.com/envoyproxy/gateway@v1.9.1
envoy_gateway_sum=h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=

# fresh STAMP FILE...: whether STAMP is newer than all these files and the build files.
fresh() {
    local stamp=$1
    shift
    [[ -e $stamp ]] && [[ -z $(find "$@" "$here/go.mod" "$here/go.sum" "$here/build.sh" \
        -newer "$stamp" -print -quit) ]]
}

require_go() {
    if ! command -v go >/dev/null; then
        echo "Go is needed to build the test cluster: https://go.dev/dl" >&2
        exit 1
    fi
}

build_cluster() {
    local stamp=$CONFORMANCE_BIN/.cluster
    if fresh "$stamp" "$here/cmd"; then
        return
    fi
    require_go
    mkdir -p "$CONFORMANCE_BIN"
    touch "$stamp.begun" # files that change during the build are newer than this
    echo "building the test cluster (the first time takes minutes) ..."
    local version minor
    version=$(kubernetes_version)
    minor=${version#v1.}
    minor=${minor%%.*}
    local v=k8s.io/component-base/version
    (
        cd "$here"
        CGO_ENABLED=0 go build -trimpath -o "$CONFORMANCE_BIN/" -ldflags "-s -w \
            -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$minor" \
            go.etcd.io/etcd/server/v3 \
            k8s.io/kubernetes/cmd/kube-apiserver \
            sigs.k8s.io/gateway-api-conformance-images/echo-basic \
            ./cmd/...
    )
    find_modules >"$CONFORMANCE_BIN/modules"
    mv "$stamp.begun" "$stamp"
}

build_suite() {
    local stamp=$CONFORMANCE_BIN/.suite
    if fresh "$stamp" "$here/suite"; then
        return
    fi
    require_go
    mkdir -p "$CONFORMANCE_BIN"
    touch "$stamp.begun"
    echo "building the conformance suite ..."
    (
        cd "$here"
        CGO_ENABLED=0 go test -c -trimpath -ldflags "-s -w" \
            -o "$CONFORMANCE_BIN/suite" sigs.k8s.io/gateway-api/conformance
    )
    mv "$stamp.begun" "$stamp"
}

# find_modules prints the folders of the modules that contain the CRDs.
find_modules() {
    local dir answer
    dir=$(cd "$here" && go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)
    echo "CONFORMANCE_GATEWAY_API=$dir"
    # Outside of our module, so that the command does not change go.mod and go.sum.
    answer=$(cd "$CONFORMANCE_BIN" && GOFLAGS= go mod download -json "$envoy_gateway") || true
    if [[ $answer != *"\"Sum\": \"$envoy_gateway_sum\""* ]]; then
        echo "warning: no $envoy_gateway with the known checksum: its CRDs are omitted" >&2
        return
    fi
    dir=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$answer")
    echo "CONFORMANCE_ENVOY_GATEWAY=$dir"
}

# load_modules exports the folders that find_modules printed. If a module cache was emptied, it searches
# again.
load_modules() {
    local name dir again=
    while IFS='=' read -r name dir; do
        export "$name=$dir"
        [[ -d $dir ]] || again=yes
    done <"$CONFORMANCE_BIN/modules"
    if [[ -n $again ]]; then
        (cd "$here" && go mod download sigs.k8s.io/gateway-api)
        find_modules >"$CONFORMANCE_BIN/modules"
        load_modules
    fi
}
