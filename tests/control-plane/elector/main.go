// Command elector contends for one Lease with client-go's leader election. It leads for a while, releases the Lease,
// pauses and contends again, until its standard input closes.
//
// While it leads, it reports that to the register (tests/support/register.rs). On standard output it prints `leading
// <hold>`, `left <hold>`, and what network.go does with the orders from standard input.
//
// With -by-order it does none of this, but acquires and releases Leases by orders from standard input (../orders).
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
	term          = flag.Duration("term", time.Second, "how long to lead")
	pause         = flag.Duration("rest", time.Second, "how long to pause after that")
)

func main() {
	flag.Parse()
	klog.SetLogger(logr.Discard())

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	check(err)
	if *byOrder {
		contendByOrder(config)
	} else {
		contendRepeatedly(config)
	}
}

// contendRepeatedly never returns.
func contendRepeatedly(config *rest.Config) {
	network := newNetwork()
	config.Wrap(network.wrap)
	client, err := kubernetes.NewForConfig(config)
	check(err)
	register, err := dial(*registerAddr)
	check(err)

	go readOrders(network)
	for n := 1; ; n++ {
		newHold(register, fmt.Sprintf("%s#%d", *identity, n)).contend(client)
		time.Sleep(*pause)
	}
}

func contendByOrder(config *rest.Config) {
	// A single elector never sends enough requests to be throttled. Many electors in one process should not be either.
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	check(err)
	check(orders.Obey(func(lease string) (orders.Lock, error) { return newLeadership(client, lease), nil }))
}

func readOrders(network *network) {
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
