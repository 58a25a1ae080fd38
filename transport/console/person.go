package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"otad/ota"
)

const (
	// maxStrikes lines in a row that make no sense are no person: the console
	// goes deaf until the line was quiet for quietAfterStrikes, so that another
	// machine on the line, or our own echo, starts no conversation.
	maxStrikes        = 3
	quietAfterStrikes = 2 * time.Second
	// settle lets a terminal program come back from its sender.
	settle = 500 * time.Millisecond
)

const ownHelp = `login                      give the PIN; logout ends it
receive [--yes] [--wait]   take a file by YMODEM (sb FILE), then install it
terminal vt100|dumb        redraw progress on one line, or print lines
help                       this list
^U clears the line, ^C stops looking on (the update goes on)
`

// press takes a byte from a person.
func (s *session) press(b byte, now time.Time) {
	echo, what := s.editor.feed(b, now)
	if s.stop != nil { // a job is in front: only ^C is for us, or any key
		if s.anyKey || what == pressedInterrupt {
			fmt.Fprint(s.out, echo)
			s.stop()
		}
		s.editor.line = s.editor.line[:0]
		return
	}
	if echo != "" {
		fmt.Fprint(s.out, echo)
	}
	switch what {
	case pressedEnter:
		s.typed(s.editor.take())
	case pressedInterrupt:
		s.answer, s.editor.hidden = nil, false
		s.prompt()
	}
}

func (s *session) prompt() {
	mark := "> "
	if s.loggedIn {
		mark = "# "
	}
	fmt.Fprint(s.out, "otad"+mark)
}

// typed acts on a line.
func (s *session) typed(line string) {
	if answer := s.answer; answer != nil {
		s.answer, s.editor.hidden = nil, false
		answer(line)
		return
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		s.prompt()
		return
	}
	switch words[0] {
	case "help":
		fmt.Fprint(s.out, s.Face.Help()+ownHelp)
	case "login":
		s.askPIN()
		return
	case "logout":
		s.logout()
	case "terminal":
		s.terminal(words[1:])
	case "receive":
		s.receive(words[1:])
		return
	default:
		s.command(words)
		return
	}
	s.strikes = 0
	s.prompt()
}

// tell prints a fault, like the command line does.
func (s *session) tell(err error) {
	text := err.Error() + "\n"
	if hint := ota.FaultOf(err).Hint; hint != "" {
		text += "hint: " + hint + "\n"
	}
	fmt.Fprint(s.out, text)
}

func (s *session) terminal(args []string) {
	if len(args) != 1 || args[0] != "vt100" && args[0] != "dumb" {
		fmt.Fprint(s.out, "want vt100 or dumb\n")
		return
	}
	s.dumb = args[0] == "dumb"
}

func (s *session) askPIN() {
	if s.Login.PIN == "" {
		fmt.Fprint(s.out, "no PIN is set\n")
		s.prompt()
		return
	}
	fmt.Fprint(s.out, "PIN: ")
	s.editor.hidden = true
	s.answer = func(line string) {
		if err := s.login(s.guard.pin(line, time.Now()), "person", "PIN"); err != nil {
			s.tell(err)
		}
		s.prompt()
	}
}

// command acts on a verb of the box.
func (s *session) command(words []string) {
	c, err := s.Face.Parse(words)
	if err != nil {
		s.tell(err)
		if s.strikes++; s.strikes >= maxStrikes {
			s.strikes = 0
			s.editor.deafen(quietAfterStrikes)
		}
		s.prompt()
		return
	}
	s.strikes = 0
	if err := s.allowed(c.Verb); err != nil {
		s.refused(c.Verb, "person", err)
		s.tell(err)
		s.prompt()
		return
	}
	if c.Tail {
		s.tail(c)
		return
	}
	if c.Question == "" {
		s.start(c)
		return
	}
	fmt.Fprintf(s.out, "%s [y/N] ", c.Question)
	s.answer = func(line string) {
		if a := strings.ToLower(strings.TrimSpace(line)); a == "y" || a == "yes" {
			s.start(c)
			return
		}
		fmt.Fprint(s.out, "not started\n")
		s.prompt()
	}
}

// inFront runs a job that the person waits for, then does next, if any.
func (s *session) inFront(job func(ctx context.Context) (next func())) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.stop = cancel
	go func() {
		next := job(ctx)
		cancel()
		s.later(func() {
			s.stop, s.anyKey = nil, false
			if next == nil {
				next = s.prompt
			}
			next()
		})
	}()
}

func (s *session) start(c Command) {
	live, who := !s.dumb, s.known("person")
	s.inFront(func(ctx context.Context) func() {
		data, err := s.Box.Do(ctx, who, c.Verb, c.Args)
		s.audit(c.Verb, "person", err)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.tell(err)
		case c.Wait:
			s.follow(ctx, s.Face.Progress(s.out, data, live))
		default:
			s.Face.Say(s.out, c, data)
		}
		return nil
	})
}

// tail shows the log as it comes, until a key is pressed.
func (s *session) tail(c Command) {
	fmt.Fprint(s.out, "any key ends it\n")
	s.inFront(func(ctx context.Context) func() {
		err := s.Box.Tail(ctx, c.Lines, func(lines []string) bool {
			s.Face.Log(s.out, lines)
			return ctx.Err() == nil
		})
		if err != nil && ctx.Err() == nil {
			s.tell(err)
		}
		return nil
	})
	s.anyKey = true
}

// follow shows the update to its end, or until the person has seen enough.
func (s *session) follow(ctx context.Context, show func(json.RawMessage) bool) {
	err := s.Box.Follow(ctx, show)
	switch {
	case ctx.Err() != nil:
		fmt.Fprint(s.out, "the update goes on; `cancel` stops it\n")
	case errors.Is(err, io.EOF):
		fmt.Fprint(s.out, "\nthe box or its agent restarts; the update goes on then\n")
	case err != nil:
		s.tell(err)
	}
}

// receive takes a file by YMODEM and goes on as if its install had been typed.
func (s *session) receive(flags []string) {
	install := func(path string) []string { return append([]string{"install", path}, flags...) }
	c, err := s.Face.Parse(install("/file"))
	if err == nil {
		err = s.allowed(c.Verb)
	}
	if err != nil {
		s.refused("receive", "person", err)
		s.tell(err)
		s.prompt()
		return
	}
	chunks, done := make(chan []byte), make(chan struct{})
	s.raw, s.rawDone = chunks, done
	who := s.known("person")
	s.inFront(func(ctx context.Context) func() {
		defer close(done)
		path, err := s.byYmodem(ctx, chunks)
		s.audit("receive", "person", err)
		s.Box.Audit(who, "receive", err)
		if err != nil {
			s.tell(err)
			return nil
		}
		return func() { s.command(install(path)) }
	})
}

func (s *session) byYmodem(ctx context.Context, chunks <-chan []byte) (path string, err error) {
	if err := s.Box.Ready(ctx); err != nil {
		return "", err
	}
	fmt.Fprint(s.out, "send the file by YMODEM now (sb FILE); ^X twice stops\n")
	y := ymodem{from: chunks, to: unprinted{s.out}}
	in, err := y.receive(ctx, func(name string, size int64) (*inbound, error) { return s.Inbox.begin(name, "", size) })
	select { // the terminal comes back from its sender
	case <-time.After(settle):
	case <-ctx.Done():
	}
	if err != nil {
		fmt.Fprint(s.out, "\n")
		return "", err
	}
	fmt.Fprintf(s.out, "\nreceived %d bytes\n", in.have)
	return in.finish()
}
