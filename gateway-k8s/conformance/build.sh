# Builds the programs of the test cluster and of the suite, into $CONFORMANCE_BIN. Sourced.
#
# Go keeps compiled packages in its own cache. Whether programs are up to date is seen here from the
# times of our files, since asking Go takes seconds for so many packages.

# An older Go downloads the release that go.mod names.
export GOTOOLCHAIN=${GOTOOLCHAIN:-$(sed -n 's/^toolchain //p' "$here/go.mod")}

# The release of Kubernetes in go.mod.
kubernetes_version() {
    sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$here/go.mod"
}

# Envoy Gateway is not a requirement in go.mod, since only files of its module are needed: its
# version and checksum are pinned here.
envoy_gateway=github.com/envoyproxy/gateway@v1.9.1
envoy_gateway_sum=h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=

# fresh STAMP FILE...: whether none of these files is newer than STAMP, nor what they are built with.
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
    touch "$stamp.begun" # a file that changes during the build is newer than this
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

# find_modules prints where the modules lie that CRDs are read from.
find_modules() {
    local dir answer
    dir=$(cd "$here" && go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)
    echo "CONFORMANCE_GATEWAY_API=$dir"
    # Outside of our module, so that go.mod and go.sum stay as they are.
    answer=$(cd "$CONFORMANCE_BIN" && GOFLAGS= go mod download -json "$envoy_gateway") || true
    if [[ $answer != *"\"Sum\": \"$envoy_gateway_sum\""* ]]; then
        echo "warning: no $envoy_gateway with the known checksum: its CRDs are left out" >&2
        return
    fi
    dir=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$answer")
    echo "CONFORMANCE_ENVOY_GATEWAY=$dir"
}

# load_modules exports what find_modules found, and looks again if a module cache was emptied.
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
