// Command elector contends for one Lease with client-go's leader election: it leads for a while, gives the Lease up, rests
// and contends again, until its standard input closes.
//
// While it leads it says so to the register (tests/support/register.rs). On standard output it says `leading <hold>`,
// `left <hold>`, and how network.go obeys the orders that it reads from standard input.
//
// With -by-order it does nothing of this, but acquires and releases Leases as it is ordered to (../orders).
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"control-plane/orders"
)

var (
	kubeconfig    = flag.String("kubeconfig", "", "path of the kubeconfig")
	namespace     = flag.String("namespace", "default", "namespace of the Lease")
	lease         = flag.String("lease", "", "name of the Lease")
	identity      = flag.String("identity", "", "holder identity")
	byOrder       = flag.Bool("by-order", false, "acquire and release Leases when standard input says so")
	registerAddr  = flag.String("register", "", "address of the register")
	leaseDuration = flag.Duration("lease-duration", 15*time.Second, "as in LeaderElectionConfig")
	renewDeadline = flag.Duration("renew-deadline", 10*time.Second, "as in LeaderElectionConfig")
	retryPeriod   = flag.Duration("retry-period", 2*time.Second, "as in LeaderElectionConfig")
	release       = flag.Bool("release-on-cancel", true, "as in LeaderElectionConfig")
	term          = flag.Duration("term", time.Second, "for how long to lead at a time")
	pause         = flag.Duration("rest", time.Second, "for how long to rest after that")
)

func main() {
	flag.Parse()
	klog.SetLogger(logr.Discard())

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	check(err)
	if *byOrder {
		obeyOrders(config)
	} else {
		takeTurns(config)
	}
}

// takeTurns never returns.
func takeTurns(config *rest.Config) {
	network := newNetwork()
	config.Wrap(network.wrap)
	client, err := kubernetes.NewForConfig(config)
	check(err)
	register, err := dial(*registerAddr)
	check(err)

	go takeOrders(network)
	for n := 1; ; n++ {
		newHold(register, fmt.Sprintf("%s#%d", *identity, n)).contend(client)
		time.Sleep(*pause)
	}
}

func obeyOrders(config *rest.Config) {
	// One elector never asks often enough to be throttled. Many in one process should not be either.
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	check(err)
	check(orders.Obey(func(lease string) (orders.Lock, error) { return newLeadership(client, lease), nil }))
}

func takeOrders(network *network) {
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		network.obey(orders.Text())
	}
	os.Exit(0)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "elector:", err)
		os.Exit(1)
	}
}
