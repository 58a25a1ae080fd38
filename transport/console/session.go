package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"otad/ota"
)

// maxNotes bounds what waits for the box to remember it; its log has the rest.
const maxNotes = 16

// idleLogout ends a login that nobody uses.
const idleLogout = 15 * time.Minute

// session is one life of a port. One loop owns it; what takes time runs beside
// the loop and posts what is left to do.
type session struct {
	*Options
	ctx   context.Context
	guard *guard
	out   *printer
	post  chan func()
	notes chan func() // what the box is to remember, beside the loop

	loggedIn  bool
	with      string    // what the login was made with: "PIN" or "key"
	used      time.Time // when the login was last used
	challenge string

	sieve sieve
	noise time.Time // when damage was last complained of

	// Of the person.
	editor  editor
	dumb    bool
	strikes int                // lines in a row that made no sense
	answer  func(line string)  // what the next line is for; nil: a command
	stop    context.CancelFunc // of the job in front; nil when there is none
	anyKey  bool               // stops it, not ^C alone
	raw     chan<- []byte      // takes all that comes in, while a file does
	rawDone <-chan struct{}    // it takes no more
	program program
}

func newSession(ctx context.Context, o *Options, g *guard, out *printer) *session {
	return &session{Options: o, ctx: ctx, guard: g, out: out, post: make(chan func()),
		notes: make(chan func(), maxNotes), dumb: o.Dumb}
}

// run serves the port until it fails or the session's context ends.
func (s *session) run(port io.Reader) {
	defer s.program.leave()
	chunks := make(chan []byte)
	go s.read(port, chunks)
	go s.keepNotes()
	fmt.Fprint(s.out, "\notad console, `help` lists the verbs\n")
	s.prompt()
	for {
		select {
		case chunk, open := <-chunks:
			if !open {
				return
			}
			s.take(chunk)
		case do := <-s.post:
			do()
		case <-s.ctx.Done():
			return
		}
	}
}

// read hands on what comes in. It ends with the port.
func (s *session) read(port io.Reader, chunks chan<- []byte) {
	defer close(chunks)
	buffer := make([]byte, 4096)
	for {
		n, err := port.Read(buffer)
		if n > 0 {
			select {
			case chunks <- bytes.Clone(buffer[:n]):
			case <-s.ctx.Done():
				return
			}
		}
		if err != nil || n == 0 {
			s.out.failed(errors.Join(errPortClosed, err))
			return
		}
	}
}

// take sorts bytes: to the file that comes in, to a program or to a person.
func (s *session) take(chunk []byte) {
	now := time.Now()
	for i, b := range chunk {
		if s.raw != nil {
			select {
			case s.raw <- chunk[i:]:
				return
			case <-s.rawDone:
				s.raw = nil
			}
		}
		sifted := s.sieve.feed(b)
		switch {
		case sifted.frame != nil:
			s.program.obey(s, *sifted.frame)
		case sifted.torn:
			s.complain(now)
		}
		for _, b := range sifted.text {
			s.press(b, now)
		}
	}
}

// complainEvery paces complaints about damage.
const complainEvery = 5 * time.Millisecond

// complain lets a program send again at once, instead of after its patience.
func (s *session) complain(now time.Time) {
	if now.Sub(s.noise) >= complainEvery {
		s.noise = now
		s.send(frame{kind: kindNoise, id: "0"})
	}
}

func (s *session) send(f frame) { _ = s.out.raw(f.append(nil)) } // a failure ends the session

// later does something in the loop.
func (s *session) later(do func()) {
	select {
	case s.post <- do:
	case <-s.ctx.Done():
	}
}

// allowed refuses what needs a login.
func (s *session) allowed(verb string) error {
	if !s.changes(verb) || !s.guard.login.needed() {
		return nil
	}
	now := time.Now()
	if s.loggedIn && now.Sub(s.used) > idleLogout {
		s.logout()
	}
	if !s.loggedIn {
		return ota.NewRefused(ota.CodeLogin, fmt.Errorf("cannot follow %q: a login is needed", verb)).WithHint("`login` first")
	}
	s.used = now
	return nil
}

// login takes the verdict of the guard on a login made with a PIN or a key.
func (s *session) login(err error, who, with string) error {
	if err != nil {
		s.Log.Warn("console login refused", "port", s.Port, "who", who, "with", with, "cause", err)
		s.remember(who+" ("+with+")", verbLogin, err)
		return err
	}
	s.loggedIn, s.with, s.used = true, with, time.Now()
	s.Log.Info("console login", "port", s.Port, "who", who, "with", with)
	s.remember(s.known(who), verbLogin, nil)
	return nil
}

// known is who stands at the line, as far as that is known.
func (s *session) known(who string) string {
	if s.loggedIn {
		return who + " (" + s.with + ")"
	}
	return who
}

func (s *session) logout() { s.loggedIn = false }

// remember lets the box remember what was settled here. Its memory may be slow,
// so that happens beside the loop.
func (s *session) remember(who, verb string, verdict error) {
	select {
	case s.notes <- func() { s.Box.Audit(who, verb, verdict) }:
	default:
	}
}

func (s *session) keepNotes() {
	for {
		select {
		case note := <-s.notes:
			note()
		case <-s.ctx.Done():
			return
		}
	}
}

// refused remembers a verb that does not get as far as the box.
func (s *session) refused(verb, who string, err error) {
	s.audit(verb, who, err)
	s.remember(s.known(who), verb, err)
}

// audit logs a verb that may have changed something.
func (s *session) audit(verb, who string, err error) {
	if !s.changes(verb) {
		return
	}
	var code ota.Code
	if err != nil {
		code = ota.FaultOf(err).Code
	}
	s.Log.Info("console command", "port", s.Port, "who", who, "verb", verb, "ok", err == nil, "code", code)
}
