package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
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

// lead stamps the hold until the term is over or the elector says that it leads no more.
func (h *hold) lead(leading context.Context, term time.Duration) {
	defer close(h.ended)
	fmt.Println("leading", h.name)
	for end := time.Now().Add(term); time.Now().Before(end) && h.stamp(leading); {
		time.Sleep(5 * time.Millisecond)
	}
	h.tell("left %s %d", h.name, now())
	fmt.Println("left", h.name)
}

// stamp reads the clock before it asks, so that what it says was true at that time.
func (h *hold) stamp(leading context.Context) bool {
	at := now()
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

// now is the clock that all processes of this machine share.
func now() int64 {
	var now unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return now.Nano()
}
