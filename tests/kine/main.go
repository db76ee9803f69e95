// Command kine serves the API of etcd from a SQLite database, as k3s does by default. The API server of
// ../control-plane uses it in place of etcd (--store).
//
// It keeps its database in the folder of the control plane, listens on a free port of 127.0.0.1, prints its URL, and
// ends when its standard input closes.
//
// The tests build it automatically (tests/support/go_build.rs). Without cgo, kine uses the driver modernc.org/sqlite
// instead of mattn/go-sqlite3, which k3s uses. The settings of the database are the same.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"
	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

// The defaults of kine's own command, except for the compaction: the API server starts it.
const (
	maxIdleConnections = 20
	maxIdleTime        = 2 * time.Minute
	pollInterval       = time.Second
	pollBatchSize      = 500
	notifyInterval     = 5 * time.Second
	compactMinRetain   = 1000
	compactBatchSize   = 1000
	compactTimeout     = 5 * time.Second
	emulatedVersion    = "3.6.11"
)

func main() {
	folder := flag.String("resume", "", "the folder of the control plane")
	flag.Parse()

	address, err := serve(*folder)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kine:", err)
		os.Exit(1)
	}
	fmt.Println(address)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// serve returns the URL for clients.
func serve(folder string) (string, error) {
	if err := logTo(filepath.Join(folder, "log")); err != nil {
		return "", err
	}
	ctx := context.Background()
	_, backend, err := sqlite.New(ctx, &sync.WaitGroup{}, &drivers.Config{
		DataSourceName:       filepath.Join(folder, "kine.db") + "?" + sqlite.DefaultParams,
		ConnectionPoolConfig: generic.ConnectionPoolConfig{MaxIdle: maxIdleConnections, MaxIdleTime: maxIdleTime},
		PollInterval:         pollInterval,
		PollBatchSize:        pollBatchSize,
		CompactMinRetain:     compactMinRetain,
		CompactBatchSize:     compactBatchSize,
		CompactTimeout:       compactTimeout,
	})
	if err != nil {
		return "", err
	}
	if err := backend.Start(ctx); err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	rpc := grpc.NewServer(
		grpc.MaxConcurrentStreams(embed.DefaultMaxConcurrentStreams),
		grpc.MaxSendMsgSize(math.MaxInt32),
	)
	server.New(backend, "http", notifyInterval, emulatedVersion).Register(rpc)
	go func() {
		logrus.Fatal(rpc.Serve(listener))
	}()
	return "http://" + listener.Addr().String(), nil
}

func logTo(path string) error {
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	logrus.SetOutput(log)
	logrus.SetLevel(logrus.WarnLevel)
	return nil
}
