package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"k8s.io/client-go/kubernetes"

	"control-plane/orders"
)

// hold is one period as the leader, which is reported to the register.
type hold struct {
	register net.Conn
	name     string
	ended    chan struct{}
}

func newHold(register net.Conn, name string) *hold {
	return &hold{register: register, name: name, ended: make(chan struct{})}
}

func dial(address string) (net.Conn, error) {
	return net.Dial("tcp", address)
}

// contend waits until it is the leader, and leads once.
func (h *hold) contend(client kubernetes.Interface) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	elect(ctx, client, *lease, func(leading context.Context) {
		// The work must end before the context does, because of ReleaseOnCancel.
		defer cancel()
		h.lead(leading, *term)
	})
	// The election does not wait for the work.
	<-h.ended
}

// lead reports the hold until the term is over or the elector says that it is not the leader any more.
func (h *hold) lead(leading context.Context, term time.Duration) {
	defer close(h.ended)
	fmt.Println("leading", h.name)
	for end := time.Now().Add(term); time.Now().Before(end) && h.reportHeld(leading); {
		time.Sleep(5 * time.Millisecond)
	}
	h.report("left %s %d", h.name, orders.Now())
	fmt.Println("left", h.name)
}

// reportHeld reads the clock before it asks whether it leads, so that the report is true for that time.
func (h *hold) reportHeld(leading context.Context) bool {
	at := orders.Now()
	if leading.Err() != nil {
		return false
	}
	h.report("held %s - %d", h.name, at)
	return true
}

func (h *hold) report(format string, args ...any) {
	_, err := fmt.Fprintf(h.register, format+"\n", args...)
	check(err)
}
