// Command etcdlock acquires and releases the lock of etcd itself, by orders from standard input (../orders). Locks that
// are made of Leases are compared with it. Each lock has a session of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"control-plane/orders"
)

var (
	etcd      = flag.String("etcd", "", "URL of etcd")
	namespace = flag.String("namespace", "default", "folder of the locks")
	ttl       = flag.Duration("lease-duration", 60*time.Second, "how long the locks of a crashed process stay held")
)

func main() {
	flag.Parse()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{*etcd}})
	check(err)
	check(orders.Obey(func(name string) (orders.Lock, error) { return newLock(client, name) }))
}

type lock struct {
	session *concurrency.Session
	mutex   *concurrency.Mutex
}

func newLock(client *clientv3.Client, name string) (*lock, error) {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl.Seconds())))
	if err != nil {
		return nil, err
	}
	renewals, err := client.KeepAlive(session.Ctx(), session.Lease())
	if err != nil {
		return nil, err
	}
	go reportRenewals(renewals, name)
	return &lock{session, concurrency.NewMutex(session, path.Join("/locks", *namespace, name))}, nil
}

// reportRenewals prints the renewals. Those of a Lease can be seen from outside, but these cannot.
func reportRenewals(renewals <-chan *clientv3.LeaseKeepAliveResponse, name string) {
	for range renewals {
		orders.Report("renewed", name)
	}
}

func (l *lock) Acquire() error {
	return l.mutex.Lock(context.Background())
}

func (l *lock) Release() error {
	if err := l.mutex.Unlock(context.Background()); err != nil {
		return err
	}
	return l.session.Close()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdlock:", err)
		os.Exit(1)
	}
}
