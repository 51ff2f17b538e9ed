package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// lifetime is the validity of all certificates. It exceeds the duration of every run.
const lifetime = 30 * 24 * time.Hour

// authority signs the certificates of one run. Its key is never written to a file.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// writeCredentials creates the certificates of the run, the key for service account tokens, and a
// kubeconfig with an administrator's certificate.
func writeCredentials(d dirs, port int) error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	local := []string{"127.0.0.1", nodeIP, serviceIP, "localhost", "kubernetes",
		"kubernetes.default", "kubernetes.default.svc"}
	subject := func(name string, groups ...string) pkix.Name {
		return pkix.Name{CommonName: name, Organization: groups}
	}
	for file, cert := range map[string]struct {
		subject pkix.Name
		hosts   []string
	}{
		"apiserver":      {subject("kube-apiserver"), local},
		"node":           {subject("system:node:node", "system:nodes"), []string{nodeIP}},
		"kubelet-client": {subject("kube-apiserver-kubelet-client"), nil},
		// The authorizers of Kubernetes permit every request of this group.
		"admin": {subject("admin", "system:masters"), nil},
	} {
		if err := ca.issue(d.file("pki", file), cert.subject, cert.hosts); err != nil {
			return fmt.Errorf("the certificate of %s: %w", file, err)
		}
	}
	if err := writePEM(d.file("pki", "ca.crt"), "CERTIFICATE", ca.cert.Raw); err != nil {
		return err
	}
	if err := writeKey(d.file("pki", "account.key")); err != nil {
		return err
	}
	return os.WriteFile(d.kubeconfig(), []byte(kubeconfig(d, port)), 0o600)
}

// kubeconfig contains an address that is valid inside and outside of the cluster's network.
func kubeconfig(d dirs, port int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: conformance
contexts:
- name: conformance
  context: {cluster: conformance, user: admin}
clusters:
- name: conformance
  cluster:
    server: https://127.0.0.1:%d
    certificate-authority: %q
users:
- name: admin
  user:
    client-certificate: %q
    client-key: %q
`, port, d.file("pki", "ca.crt"), d.file("pki", "admin.crt"), d.file("pki", "admin.key"))
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template(pkix.Name{CommonName: "conformance cluster"})
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{key: key, cert: cert}, err
}

// issue writes path.crt and path.key: a certificate for hosts that is also valid for clients.
func (ca *authority) issue(path string, subject pkix.Name, hosts []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := template(subject)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{
		x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return err
	}
	if err := writePEM(path+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return writePrivateKey(path+".key", key)
}

func template(subject pkix.Name) *x509.Certificate {
	// 120 random bits are unique without a record of issued serial numbers.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic("the system gives no random numbers: " + err.Error())
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
	}
}

func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writePrivateKey(path, key)
}

func writePrivateKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
