package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"k8s.io/client-go/kubernetes"

	"control-plane/orders"
)

// hold is one term as leader, told to the register.
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

// contend leads once.
func (h *hold) contend(client kubernetes.Interface) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stand(ctx, client, *lease, func(leading context.Context) {
		// The work ends before the context does, as ReleaseOnCancel demands.
		defer cancel()
		h.lead(leading, *term)
	})
	// The election does not wait for the work.
	<-h.ended
}

// lead stamps the hold until the term is over or the elector says that it leads no more.
func (h *hold) lead(leading context.Context, term time.Duration) {
	defer close(h.ended)
	fmt.Println("leading", h.name)
	for end := time.Now().Add(term); time.Now().Before(end) && h.stamp(leading); {
		time.Sleep(5 * time.Millisecond)
	}
	h.tell("left %s %d", h.name, orders.Now())
	fmt.Println("left", h.name)
}

// stamp reads the clock before it asks, so that what it says was true at that time.
func (h *hold) stamp(leading context.Context) bool {
	at := orders.Now()
	if leading.Err() != nil {
		return false
	}
	h.tell("held %s - %d", h.name, at)
	return true
}

func (h *hold) tell(format string, args ...any) {
	_, err := fmt.Fprintf(h.register, format+"\n", args...)
	check(err)
}
