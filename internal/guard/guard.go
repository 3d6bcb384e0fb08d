// Package guard calls what the user of the module supplied.
package guard

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// Call calls f, and turns a panic into a *[Panic]. Who is what panics, in words: "receiver: the deduper". A nil pointer as an error panics
// only when it is asked what it is, so Call asks.
func Call(who string, f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &Panic{who, value, debug.Stack()}
		}
	}()
	if err = f(); err != nil {
		_, _ = err.Error(), errors.Is(err, context.Canceled)
	}
	return err
}

// A Panic is an error that was a panic, or a runtime.Goexit.
type Panic struct {
	Who   string
	Value any
	Stack []byte
}

// Goexit is what a runtime.Goexit becomes. Call it on the goroutine that exits, for its stack.
func Goexit(who string) *Panic { return &Panic{who, "runtime.Goexit was called", debug.Stack()} }

func (p *Panic) Error() string { return fmt.Sprintf("%s panicked: %v", p.Who, p.Value) }

// Unwrap returns the value, if that is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Of returns err as a *Panic, nil if it is none. It looks no deeper: an error's methods may themselves panic.
func Of(err error) *Panic {
	p, _ := err.(*Panic) //nolint:errorlint // see above
	return p
}
