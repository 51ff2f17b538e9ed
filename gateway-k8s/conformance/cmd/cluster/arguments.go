package main

import (
	"strconv"
	"strings"
)

func etcdArgs(d dirs) []string {
	return []string{
		"--name=node",
		"--data-dir=" + d.file("etcd", "data"),
		"--listen-client-urls=http://" + etcdAddress,
		"--advertise-client-urls=http://" + etcdAddress,
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=node=http://127.0.0.1:2380",
		// The data are in memory and are lost at the end of the run.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func apiserverArgs(d dirs, run running) []string {
	authorization := "RBAC"
	if run.Options.AllowAll {
		authorization = "AlwaysAllow"
	}
	return []string{
		"--etcd-servers=http://" + etcdAddress,
		"--bind-address=0.0.0.0",
		"--secure-port=" + strconv.Itoa(run.Port),
		// Without a default route, the API server cannot find its own address.
		"--advertise-address=" + nodeIP,
		"--external-hostname=" + nodeIP,
		"--service-cluster-ip-range=" + serviceIPs,
		"--authorization-mode=" + authorization,
		// This admission plugin would reject pods until each namespace has a default account. The node
		// agent mounts credentials for pods that name an account.
		"--disable-admission-plugins=ServiceAccount",
		"--allow-privileged=true",
		"--profiling=false",
		"--client-ca-file=" + d.file("pki", "ca.crt"),
		"--tls-cert-file=" + d.file("pki", "apiserver.crt"),
		"--tls-private-key-file=" + d.file("pki", "apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + d.file("pki", "account.key"),
		"--service-account-signing-key-file=" + d.file("pki", "account.key"),
		"--kubelet-certificate-authority=" + d.file("pki", "ca.crt"),
		"--kubelet-client-certificate=" + d.file("pki", "kubelet-client.crt"),
		"--kubelet-client-key=" + d.file("pki", "kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
	}
}

func controllersArgs(d dirs) []string {
	return []string{
		"-kubeconfig=" + d.kubeconfig(),
		"-root-ca=" + d.file("pki", "ca.crt"),
	}
}

func nodeArgs(d dirs, run running) []string {
	return []string{
		"-kubeconfig=" + d.kubeconfig(),
		"-images=" + d.file(imagesFile),
		"-bin=" + d.bin,
		"-work=" + d.file("pods"),
		"-logs=" + d.file("log", "pods"),
		"-address=" + nodeIP,
		"-pod-network=" + podNetwork,
		"-service-pool=" + servicePool,
		"-api=" + strings.Join([]string{nodeIP, strconv.Itoa(run.Port)}, ":"),
		"-ca=" + d.file("pki", "ca.crt"),
		"-cert=" + d.file("pki", "node.crt"),
		"-key=" + d.file("pki", "node.key"),
	}
}
