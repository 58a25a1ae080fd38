package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"otad/ota"
)

const (
	// maxAnswer bounds the answer that is kept to be sent again.
	maxAnswer = 256 << 10
	// maxPieces bounds how many pieces of an answer are sent at once.
	maxPieces = 8
)

// program is the other end when it is a machine. It asks one thing at a time;
// the last answer is kept, so that a request that arrives twice is obeyed once.
// Only the session's loop touches it.
type program struct {
	id     string // of the last request
	busy   bool   // it is being worked on
	answer []byte // to it, once it is not
	push   *push  // the file that comes in
}

// obey acts on a frame. Those that only a box sends are an echo.
func (p *program) obey(s *session, f frame) {
	switch f.kind {
	case kindRequest:
		p.request(s, f)
	case kindGet:
		if p.busy || f.id != p.id {
			s.send(frame{kind: kindForgot, id: f.id})
			return
		}
		p.pieces(s, f.offset, f.total)
	case kindData:
		p.data(s, f)
	}
}

func (p *program) request(s *session, f frame) {
	switch {
	case f.offset != 0 || f.total != int64(len(f.payload)):
		return // requests are whole
	case f.id == p.id && p.busy:
		s.send(frame{kind: kindWorking, id: f.id})
		return
	case f.id == p.id: // the answer was lost
		p.pieces(s, 0, int64(len(p.answer)))
		return
	case p.busy:
		s.send(frame{kind: kindWorking, id: f.id}) // with another request: ask again later
		return
	}
	p.id, p.busy, p.answer = f.id, true, nil
	r, err := readRequest(f.payload)
	switch {
	case err != nil:
		err = fmt.Errorf("cannot read request: %w", err)
	case r.V != Version:
		err = fmt.Errorf("cannot follow request: version %d is not known, want %d", r.V, Version)
	case (r.Verb == "") == (len(r.Words) == 0):
		err = errors.New("cannot follow request: want either a verb or words")
	}
	if err != nil {
		p.reply(s, failed(ota.NewRefused(ota.CodeUsage, err)))
		return
	}
	p.follow(s, r)
}

// readRequest reads one JSON object and refuses members that it does not know.
func readRequest(data []byte) (r Request, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, err
	}
	if _, err := d.Token(); err != io.EOF { // More would miss a bracket too many
		return r, errors.New("something follows the JSON object")
	}
	return r, nil
}

// follow acts on a request that makes sense.
func (p *program) follow(s *session, r Request) {
	switch r.Verb {
	case verbHello:
		p.reply(s, succeeded(p.greet(s)))
	case verbLogin:
		p.reply(s, p.login(s, r.Args))
	case verbLogout:
		s.logout()
		p.reply(s, succeeded(nil))
	case verbPush:
		p.beginPush(s, r.Args)
	case verbPushed:
		p.endPush(s)
	default:
		p.verb(s, r)
	}
}

// verb asks the box, beside the loop.
func (p *program) verb(s *session, r Request) {
	c := Command{Verb: r.Verb, Args: r.Args}
	var err error
	if len(r.Words) > 0 {
		c, err = s.Face.Parse(r.Words)
	}
	if err == nil {
		if err = s.allowed(c.Verb); err != nil {
			s.refused(c.Verb, "program", err)
		}
	}
	if err == nil && c.Tail {
		err = ota.NewRefused(ota.CodeUsage, errors.New("cannot follow the log: that is for people, ask for `logs` again"))
	}
	if err != nil {
		p.reply(s, failed(err))
		return
	}
	who := s.known("program")
	p.work(s, func(ctx context.Context) Reply {
		data, err := s.Box.Do(ctx, who, c.Verb, c.Args)
		s.audit(c.Verb, "program", err)
		if err != nil {
			return failed(err)
		}
		reply := Reply{V: Version, OK: true, Data: data}
		if len(r.Words) > 0 {
			var said bytes.Buffer
			s.Face.Say(&said, c, data)
			reply.Said = said.String()
		}
		return reply
	})
}

// work makes a reply beside the loop.
func (p *program) work(s *session, job func(ctx context.Context) Reply) {
	go func() {
		reply := job(s.ctx)
		s.later(func() { p.reply(s, reply) })
	}()
}

// reply answers the request that is worked on.
func (p *program) reply(s *session, r Reply) {
	answer, err := json.Marshal(r)
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("cannot answer: %d bytes are too long for the line", len(answer))
	}
	if err != nil {
		answer, _ = json.Marshal(failed(err)) // plain strings always marshal
	}
	p.answer, p.busy = answer, false
	p.pieces(s, 0, int64(len(answer)))
}

// pieces sends the answer from offset to end, at most maxPieces of it: the desk
// asks for what it lacks.
func (p *program) pieces(s *session, offset, end int64) {
	total := int64(len(p.answer))
	for range maxPieces {
		if offset >= min(end, total) {
			return
		}
		piece := p.answer[offset:min(offset+maxPayload, total)]
		s.send(frame{kind: kindAnswer, id: p.id, offset: offset, total: total, payload: piece})
		offset += int64(len(piece))
	}
}

func (p *program) greet(s *session) Greeting {
	s.challenge = newChallenge()
	g := Greeting{Protocol: Version, Login: "open", Challenge: s.challenge, Block: maxPayload, Window: window}
	if s.guard.login.needed() {
		g.Login = "needed"
		if s.loggedIn {
			g.Login = "done"
		}
	}
	return g
}

func (p *program) login(s *session, raw json.RawMessage) Reply {
	var args loginArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return failed(ota.NewRefused(ota.CodeUsage, errors.New("cannot log in: want a response or a PIN")))
	}
	var err error
	with := "key"
	if args.PIN != "" {
		with = "PIN"
		err = s.guard.pin(args.PIN, time.Now())
	} else {
		err = s.guard.response(s.challenge, args.Response, time.Now())
		s.challenge = ""
	}
	if err = s.login(err, "program", with); err != nil {
		return failed(err)
	}
	return succeeded(nil)
}

// leave lets go of what came in; what is there of it stays.
func (p *program) leave() {
	if p.push != nil {
		p.push.in.leave()
		p.push = nil
	}
}
