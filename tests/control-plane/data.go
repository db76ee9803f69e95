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

// data is the folder that holds all state: etcd's data, certificates, credentials, logs, and the API server's port.
type data struct {
	dir      string
	listener net.Listener // the API server's, bound early so that nobody else takes its port
}

// openData makes a new folder, or continues with that of an earlier instance.
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
	// Some have kept the old one: the API server's client of etcd, which has much to say when etcd hangs.
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

// reopen insists on the file that create wrote: the folder will be removed in the end, so it had better be one of ours.
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

// remove tries again for a while: etcd may still be adding files.
func (d *data) remove() (err error) {
	for range 50 {
		if err = os.RemoveAll(d.dir); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// logTail is what to show when the folder, and the log with it, is about to go.
func (d *data) logTail() string {
	log, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// kubeconfig names the certificate file that the API server generates in its --cert-dir: its own, then its issuer's.
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
