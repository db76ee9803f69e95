// Package orders lets somebody else say when to acquire and release locks, and tells them exactly when what happened: that is
// how a benchmark measures two processes on one clock.
//
// Orders come on standard input, one per line: `acquire <lock>` and `release <lock>`. They are obeyed side by side, so that
// one process can wait for many locks. The process ends when standard input closes.
package orders

import (
	"bufio"
	"os"
	"strings"
)

// Lock is one acquisition.
type Lock interface {
	// Acquire waits until it holds the lock.
	Acquire() error
	Release() error
}

// Obey takes orders until standard input closes. What it takes to prepare an acquisition is not part of what it tells.
func Obey(prepare func(lock string) (Lock, error)) error {
	locks := map[string]*obedient{}
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		order, name, _ := strings.Cut(orders.Text(), " ")
		switch order {
		case "acquire":
			lock, err := prepare(name)
			if err != nil {
				return err
			}
			locks[name] = &obedient{name, lock}
			go locks[name].acquire()
		case "release":
			go locks[name].release()
		}
	}
	return nil
}

type obedient struct {
	name string
	lock Lock
}

func (o *obedient) acquire() {
	Tell("asking", o.name)
	err := o.lock.Acquire()
	end(err)
	Tell("acquired", o.name)
}

func (o *obedient) release() {
	Tell("releasing", o.name)
	err := o.lock.Release()
	end(err)
	Tell("released", o.name)
}
