// Package orders acquires and releases locks by orders from another process, and reports the exact time of each event.
// So a benchmark can measure two processes on one clock.
//
// Orders come on standard input, one per line: `acquire <lock>` and `release <lock>`. They are carried out
// concurrently, so that one process can wait for many locks. The process ends when standard input closes.
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

// Obey carries out orders until standard input closes. The time of prepare is not part of the reported acquisition.
func Obey(prepare func(lock string) (Lock, error)) error {
	locks := map[string]*orderedLock{}
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		order, name, _ := strings.Cut(orders.Text(), " ")
		switch order {
		case "acquire":
			lock, err := prepare(name)
			if err != nil {
				return err
			}
			locks[name] = &orderedLock{name, lock}
			go locks[name].acquire()
		case "release":
			go locks[name].release()
		}
	}
	return nil
}

type orderedLock struct {
	name string
	lock Lock
}

func (o *orderedLock) acquire() {
	Report("asking", o.name)
	err := o.lock.Acquire()
	exitOnError(err)
	Report("acquired", o.name)
}

func (o *orderedLock) release() {
	Report("releasing", o.name)
	err := o.lock.Release()
	exitOnError(err)
	Report("released", o.name)
}
