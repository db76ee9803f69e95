package main

import (
	"fmt"
	"net/http"
	"sync"
)

// network holds requests or replies back by order, like a network that is slow or disconnected for a while.
type network struct {
	mutex   sync.Mutex
	order   string
	changed chan struct{}
}

func newNetwork() *network {
	return &network{changed: make(chan struct{})}
}

// obey takes an order: "hold requests", "hold replies" or "pass". "hold" affects all requests, or those of one method,
// as in "hold requests PUT". Each order replaces the one before, also for requests that are held back.
func (n *network) obey(order string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.order = order
	fmt.Println("obeying", order)
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) wrap(inner http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if err := n.await("requests", request); err != nil {
			return nil, err
		}
		reply, err := inner.RoundTrip(request)
		if late := n.await("replies", request); late != nil && err == nil {
			reply.Body.Close()
			return nil, late
		}
		return reply, err
	})
}

// await returns when `what` is not held back any more, or when the caller has given up.
func (n *network) await(what string, request *http.Request) error {
	order := "hold " + what
	for printed := false; ; printed = true {
		n.mutex.Lock()
		held, changed := n.order == order || n.order == order+" "+request.Method, n.changed
		n.mutex.Unlock()
		if !held {
			return nil
		}
		if !printed {
			fmt.Println("holding", what, request.Method)
		}
		select {
		case <-changed:
		case <-request.Context().Done():
			return request.Context().Err()
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	return f(request)
}
