// Package crashfs is a test package: a disk in memory that loses power, and a
// plan that says at which durable call.
//
// Model: what is written, and every name that is made, changed or removed, is
// pending until the file or the directory is synced. When the power goes, each
// pending change may be on the medium, or not, or in part, in any order. A
// sync that fails drops what was pending, as Linux does: the cache goes on
// showing it, and the next sync says that all is well. A [Power] numbers every
// durable call of a run, those of other parts (a database, a device) among
// them; a [Cut] says what happens at one of them.
//
// It is stricter than any file system in use: syncing a file does not make its
// name durable, and names are not kept in order.
package crashfs

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// ErrPowerLost is what every call returns once the power is gone.
var ErrPowerLost = errors.New("crashfs: the power is gone")

// How says what happens at a durable call.
type How string

// The power goes. What is pending is what no sync had returned for.
const (
	Before    How = "before"    // before the call; nothing pending survives
	Lost      How = "lost"      // after it; nothing pending survives
	Kept      How = "kept"      // after it; everything pending survives
	Torn512   How = "torn-512"  // all of it, but of the last write only the first 512 bytes
	Torn4096  How = "torn-4096" // all of it, but the last write is cut at a page
	Names     How = "names"     // the names without the content
	Content   How = "content"   // the content without the names
	Zeros     How = "zeros"     // names and lengths, but zeros in the place of bytes
	Reordered How = "reordered" // the last write, but none before it
	Some      How = "some"      // each with a chance of one half, by the seed
)

// The call fails once; the power stays.
const (
	EIO     How = "EIO"      // nothing was done; a failed sync drops what was pending
	EIOKept How = "EIO-kept" // all was done, and it fails nevertheless
	ENOSPC  How = "ENOSPC"   // a write is cut short
	EROFS   How = "EROFS"    // nothing was done
)

// Rot lets the call succeed, but one bit of what it wrote does not stick: the
// cache shows what was written, the medium something else.
const Rot How = "rot"

var faults = map[How]error{EIO: syscall.EIO, EIOKept: syscall.EIO, ENOSPC: syscall.ENOSPC, EROFS: syscall.EROFS}

// Fails tells whether the call fails and the power stays.
func (h How) Fails() bool { return faults[h] != nil }

// Cut is a mishap at one durable call.
type Cut struct {
	Call int // the number of the call, from 1
	How  How
	Seed uint64 // for what is left to chance
}

func (c Cut) String() string { return fmt.Sprintf("%d:%s:%d", c.Call, c.How, c.Seed) }

// Call is a durable call that was made.
type Call struct {
	Name string
	// Ways are those in which a cut here differs from the others.
	Ways []How
}

// Op is what a durable call does.
type Op struct {
	Name string
	// Apply does it. An error of its own is returned as it is.
	Apply func() error
	// Fail does what is left behind by a call that fails as how says; nil for
	// nothing.
	Fail func(how How)
	// Rot does it badly; nil when it writes nothing.
	Rot func(seed uint64)
	// Ways lists what makes a difference, asked after the call was made.
	Ways func() []How
}

// Power numbers the durable calls of a run and cuts it off as planned. It is
// safe for concurrent use.
type Power struct {
	mu    sync.Mutex
	made  int // calls so far
	calls []Call
	cuts  []Cut
	took  *Cut // the cut that took the power
	lost  func()
}

// WhenLost sets what is called when the power goes, in the middle of the call.
// It must not make durable calls.
func (p *Power) WhenLost(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = f
}

// NewPower has made calls behind it already, and the cuts, in ascending order,
// before it.
func NewPower(made int, cuts ...Cut) *Power { return &Power{made: made, cuts: cuts} }

// Do numbers a call and makes it, unless the plan has something else.
func (p *Power) Do(op Op) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.took != nil {
		return ErrPowerLost
	}
	p.made++
	if len(p.cuts) > 0 && p.cuts[0].Call == p.made {
		cut := p.cuts[0]
		p.cuts = p.cuts[1:]
		p.calls = append(p.calls, Call{Name: op.Name})
		return p.mishap(op, cut)
	}
	err := op.Apply()
	p.calls = append(p.calls, Call{Name: op.Name, Ways: op.Ways()})
	return err
}

func (p *Power) mishap(op Op, cut Cut) error {
	fault := faults[cut.How]
	switch {
	case cut.How == Rot:
		if op.Rot == nil {
			return op.Apply()
		}
		op.Rot(cut.Seed)
		return nil
	case cut.How == EIOKept:
		return errors.Join(op.Apply(), fault)
	case fault != nil:
		if op.Fail != nil {
			op.Fail(cut.How)
		}
		return fault
	}
	if cut.How != Before {
		if err := op.Apply(); err != nil {
			return err
		}
	}
	p.took = &cut
	if p.lost != nil {
		p.lost()
	}
	return ErrPowerLost
}

// Took returns the cut that took the power, nil while there is power.
func (p *Power) Took() *Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.took
}

// On turns the power on again; numbers go on.
func (p *Power) On() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took = nil
}

// Made is the number of calls so far.
func (p *Power) Made() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made
}

// Calls returns what was called since NewPower.
func (p *Power) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// Left returns the cuts that were not reached.
func (p *Power) Left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.cuts)
}
