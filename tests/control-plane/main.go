// Command control-plane is a whole Kubernetes control plane for tests: etcd and kube-apiserver in one process,
// or in two with --separate-etcd. With --store another program takes the place of etcd, for example ../kine.
//
// It listens on 127.0.0.1 only, chooses its ports and keeps everything in one temporary folder. When it is ready, it
// prints one line of JSON (see ready.go). It ends when its standard input closes, so that it never outlives the test
// that started it. It also ends on SIGTERM, with the graceful shutdown of the API server. In both cases it removes its
// folder.
//
// The tests build it automatically (tests/support/go_build.rs). By hand:
//
//	CGO_ENABLED=0 go build -trimpath -ldflags "-X k8s.io/component-base/version.gitVersion=v1.37.2" .
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	resume := flag.String("resume", "", "continue with the folder of an instance that was killed")
	audit := flag.Bool("audit", false, "write the metadata of every request to an audit log")
	coordinated := flag.Bool("coordinated", false, "run coordinated leader elections (KEP-4355)")
	separate := flag.Bool("separate-etcd", false, "run etcd in a process of its own, which can be paused alone")
	only := flag.Bool("only-etcd", false, "be the process of etcd alone")
	store := flag.String("store", "", "a program to run in place of etcd, with the interface of --only-etcd --resume")
	flag.Parse()

	if *only {
		onlyEtcd(&data{dir: *resume})
	}
	data, err := openData(*resume)
	if err != nil {
		fail(err)
	}
	go endWithParent(data)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = run(ctx, data, *audit, *coordinated, *separate, *store)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, data.logTail())
	}
	if err := errors.Join(err, data.remove()); err != nil {
		fail(err)
	}
}

// run starts etcd or the program in its place, then the API server, and returns when the API server has ended.
func run(ctx context.Context, data *data, audit, coordinated, separate bool, store string) error {
	etcd, pid, err := "", os.Getpid(), error(nil)
	switch {
	case store != "":
		etcd, pid, err = spawn(store, "--resume", data.dir)
	case separate:
		etcd, pid, err = spawnEtcd(data)
	default:
		etcd, err = startEtcd(data)
	}
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	go reportWhenReady(ctx, data, audit, etcd, pid, store)
	if err := serve(ctx, data, etcd, audit, coordinated); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	return nil
}

// onlyEtcd prints the address of etcd, and runs until its parent ends. The parent removes the folder.
func onlyEtcd(data *data) {
	address, err := startEtcd(data)
	if err != nil {
		fail(err)
	}
	fmt.Println(address)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// endWithParent ends the process as soon as standard input closes. No client is left that needs a graceful shutdown.
func endWithParent(data *data) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := data.remove(); err != nil {
		fail(err)
	}
	os.Exit(0)
}

// console is the original standard error. Standard error itself becomes the log file.
var console = func() *os.File {
	fd, err := unix.Dup(2)
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(fd), "standard error")
}()

func fail(err error) {
	fmt.Fprintln(console, "control-plane:", err)
	os.Exit(1)
}
