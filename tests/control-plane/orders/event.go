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

var telling sync.Mutex

// Tell says that this happens now.
func Tell(what, lock string) {
	event := event{Event: what, Lock: lock, At: Now()}
	telling.Lock()
	defer telling.Unlock()
	end(json.NewEncoder(os.Stdout).Encode(event))
}

// Now is the clock that all processes of this machine share, CLOCK_MONOTONIC, in nanoseconds.
func Now() int64 {
	var now unix.Timespec
	end(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return now.Nano()
}

// end ends the process if there is an error.
func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
