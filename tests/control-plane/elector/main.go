// Command elector contends for one Lease with client-go's leader election: it leads for a while, gives the Lease up, rests
// and contends again, until its standard input closes.
//
// While it leads it says so to the register (tests/support/register.rs). On standard output it says `leading <hold>`,
// `left <hold>`, and how network.go obeys the orders that it reads from standard input.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

var (
	kubeconfig    = flag.String("kubeconfig", "", "path of the kubeconfig")
	namespace     = flag.String("namespace", "default", "namespace of the Lease")
	lease         = flag.String("lease", "", "name of the Lease")
	identity      = flag.String("identity", "", "holder identity")
	registerAddr  = flag.String("register", "", "address of the register")
	leaseDuration = flag.Duration("lease-duration", 15*time.Second, "as in LeaderElectionConfig")
	renewDeadline = flag.Duration("renew-deadline", 10*time.Second, "as in LeaderElectionConfig")
	retryPeriod   = flag.Duration("retry-period", 2*time.Second, "as in LeaderElectionConfig")
	release       = flag.Bool("release-on-cancel", true, "as in LeaderElectionConfig")
	term          = flag.Duration("term", time.Second, "for how long to lead at a time")
	rest          = flag.Duration("rest", time.Second, "for how long to rest after that")
)

func main() {
	flag.Parse()
	klog.SetLogger(logr.Discard())

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	check(err)
	network := newNetwork()
	config.Wrap(network.wrap)
	client, err := kubernetes.NewForConfig(config)
	check(err)
	register, err := dial(*registerAddr)
	check(err)

	go takeOrders(network)
	for n := 1; ; n++ {
		contend(client, newHold(register, fmt.Sprintf("%s#%d", *identity, n)))
		time.Sleep(*rest)
	}
}

// contend leads once.
func contend(client kubernetes.Interface, hold *hold) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: *namespace, Name: *lease},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: *identity},
		},
		LeaseDuration:   *leaseDuration,
		RenewDeadline:   *renewDeadline,
		RetryPeriod:     *retryPeriod,
		ReleaseOnCancel: *release,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				// The work ends before the context does, as ReleaseOnCancel demands.
				defer cancel()
				hold.lead(leading, *term)
			},
			OnStoppedLeading: func() {},
		},
	})
	// Run does not wait for the work.
	<-hold.ended
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
