package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

// data is the folder with all state: the data of etcd, certificates, credentials, logs, and the address of the API
// server.
type data struct {
	dir      string
	listener net.Listener // of the API server, bound early so that no other process takes its port
}

// openData creates a new folder, or opens the folder of an earlier instance.
func openData(resume string) (*data, error) {
	d := &data{dir: resume}
	if resume == "" {
		if err := d.create(); err != nil {
			return nil, err
		}
	} else if err := d.reopen(); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	os.Stderr = log
	// Some packages have kept the old os.Stderr, such as the etcd client of the API server, which logs a lot when etcd
	// hangs.
	return d, unix.Dup2(int(log.Fd()), 2)
}

func (d *data) create() (err error) {
	if d.dir, err = os.MkdirTemp("", "control-plane-"); err != nil {
		return err
	}
	if d.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	address, token := d.listener.Addr().String(), rand.Text()
	return d.write(map[string]string{
		"address":    address,
		"tokens":     token + `,admin,admin,"system:masters"`,
		"kubeconfig": kubeconfig(address, token),
	})
}

// reopen fails without the file that create writes. The folder is removed in the end, so it must be one that create
// made.
func (d *data) reopen() error {
	address, err := os.ReadFile(d.path("address"))
	if err != nil {
		return fmt.Errorf("not the folder of an earlier instance: %w", err)
	}
	d.listener, err = net.Listen("tcp", string(address))
	return err
}

func (d *data) path(name string) string {
	return filepath.Join(d.dir, name)
}

func (d *data) write(files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(d.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// remove retries for a while, because etcd may still be adding files.
func (d *data) remove() (err error) {
	for range 50 {
		if err = os.RemoveAll(d.dir); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// logTail returns the end of the log, for an error message: the log is removed together with the folder.
func (d *data) logTail() string {
	log, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// kubeconfig refers to the certificate file that the API server generates in its --cert-dir. It contains the
// certificate of the server, then that of its issuer.
func kubeconfig(address, token string) string {
	var out bytes.Buffer
	template.Must(template.New("").Parse(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: admin}}]
clusters: [{name: test, cluster: {server: "https://{{.Address}}", certificate-authority: apiserver.crt}}]
users: [{name: admin, user: {token: "{{.Token}}"}}]
`)).Execute(&out, map[string]string{"Address": address, "Token": token})
	return out.String()
}
