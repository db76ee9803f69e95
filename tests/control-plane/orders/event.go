package orders

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// event is one line on standard output.
type event struct {
	Event string `json:"event"`
	Lock  string `json:"lock"`
	At    int64  `json:"at"`
}

var reporting sync.Mutex

// Report prints that this event happens now.
func Report(what, lock string) {
	event := event{Event: what, Lock: lock, At: Now()}
	reporting.Lock()
	defer reporting.Unlock()
	exitOnError(json.NewEncoder(os.Stdout).Encode(event))
}

// Now reads CLOCK_MONOTONIC, which all processes of this machine share, in nanoseconds.
func Now() int64 {
	var now unix.Timespec
	exitOnError(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return now.Nano()
}

// exitOnError ends the process if there is an error.
func exitOnError(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
