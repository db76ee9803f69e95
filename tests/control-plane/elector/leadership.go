package main

import (
	"context"
	"errors"

	"k8s.io/client-go/kubernetes"
)

// leadership is acquired and released by orders.
type leadership struct {
	client  kubernetes.Interface
	lease   string
	cancel  context.CancelFunc
	stopped chan struct{}
}

func newLeadership(client kubernetes.Interface, lease string) *leadership {
	return &leadership{client: client, lease: lease, stopped: make(chan struct{})}
}

func (l *leadership) Acquire() error {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	leads := make(chan struct{})
	go func() {
		defer close(l.stopped)
		elect(ctx, l.client, l.lease, func(context.Context) { close(leads) })
	}()
	select {
	case <-leads:
		return nil
	case <-l.stopped:
		return errors.New("the elector stopped")
	}
}

// Release returns when the elector has stopped. The elector releases the Lease before that.
func (l *leadership) Release() error {
	l.cancel()
	<-l.stopped
	return nil
}
