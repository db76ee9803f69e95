package main

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"
)

// startEtcd starts an etcd cluster of one member, and returns the URL for clients.
func startEtcd(data *data) (string, error) {
	cfg := embed.NewConfig()
	cfg.Dir = data.path("etcd")
	cfg.LogOutputs = []string{data.path("log")}
	cfg.LogLevel = "warn"

	// Any free port for clients. There are no peers, so they need no port.
	cfg.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenPeerUrls = nil
	// Nobody uses its HTTP gateway, which would not find a server at port 0.
	cfg.EnableGRPCGateway = false

	// These settings make etcd faster and do not change its semantics. Data is lost only if the machine crashes, and a
	// cluster of one member can elect its leader quickly.
	cfg.UnsafeNoFsync = true
	cfg.TickMs = 10
	cfg.ElectionMs = 100

	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return "", err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return "http://" + etcd.Clients[0].Addr().String(), nil
	case err := <-etcd.Err():
		return "", err
	}
}

// spawnEtcd starts etcd in a process of its own. It returns the URL for clients and the process id.
func spawnEtcd(data *data) (string, int, error) {
	program, err := os.Executable()
	if err != nil {
		return "", 0, err
	}
	return spawn(program, "--only-etcd", "--resume", data.dir)
}

// spawn starts a process that ends when the standard input of both processes closes. It returns the URL that the
// process prints, and the process id.
func spawn(program string, arguments ...string) (string, int, error) {
	store := exec.Command(program, arguments...)
	store.Stdin, store.Stderr = os.Stdin, console
	out, err := store.StdoutPipe()
	if err != nil {
		return "", 0, err
	}
	if err := store.Start(); err != nil {
		return "", 0, err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", 0, fmt.Errorf("the process of etcd printed nothing: %w", err)
	}
	return strings.TrimSpace(address), store.Process.Pid, nil
}
