package ota

import (
	"errors"
	"time"
)

// Class says what may be done about a fault. It is decided once, where the
// fault is seen, and carried up unchanged.
type Class string

const (
	// Transient faults may go away by themselves: retry with backoff.
	Transient Class = "transient"
	// Permanent faults will not go away for this offer: a bad signature, the
	// wrong hardware, an image that is too big. The offer is remembered as bad.
	Permanent Class = "permanent"
	// Refused means that a rule or a person said no, or that the request makes
	// no sense now. Nothing is broken. An update that a person refused is not
	// begun again by itself.
	Refused Class = "refused"
)

// Fault is an error with its class, its stable code and, for people, a hint.
// Its text is `cannot <verb> <object>: <cause>` and never holds a secret.
type Fault struct {
	Class Class
	Code  Code
	Hint  string // what a person can do about it, one sentence; may be empty
	// RetryAfter is the wait that the other side asked for; 0 when it did not.
	RetryAfter time.Duration
	// NeedBytes is, with CodeNoSpace, what must be free for another attempt
	// from the start; 0 when it is not known.
	NeedBytes int64
	Err       error
}

func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives the cause to errors.Is and errors.As.
func (f *Fault) Unwrap() error { return f.Err }

// WithHint returns f with the hint set, for use at the place of creation.
func (f *Fault) WithHint(hint string) *Fault {
	f.Hint = hint
	return f
}

// NewTransient classes err as transient under code.
func NewTransient(code Code, err error) *Fault {
	return &Fault{Class: Transient, Code: code, Err: err}
}

// NewPermanent classes err as permanent under code.
func NewPermanent(code Code, err error) *Fault {
	return &Fault{Class: Permanent, Code: code, Err: err}
}

// NewRefused classes err as refused under code.
func NewRefused(code Code, err error) *Fault {
	return &Fault{Class: Refused, Code: code, Err: err}
}

// FaultOf returns the fault inside err. An error that nobody classed counts as
// transient and internal: it is retried a bounded number of times and reported.
// FaultOf(nil) is nil.
func FaultOf(err error) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	if errors.As(err, &f) {
		if f.Err.Error() == err.Error() {
			return f
		}
		outer := *f
		outer.Err = err
		return &outer
	}
	return NewTransient(CodeInternal, err)
}
