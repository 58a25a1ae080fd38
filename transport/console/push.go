package console

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"otad/ota"
)

// window bounds the frames of a file that are under way at once, and so what is
// kept in memory of them.
const window = 8

// push is a file that comes in as frames. Those that arrive before one that was
// lost wait in memory; the file itself only ever grows at its end, so its
// length is where a later push goes on.
type push struct {
	id     string // of the request, and of the frames
	in     *inbound
	want   string           // SHA-256 of the whole
	ahead  map[int64][]byte // by offset, beyond the first gap
	failed error            // why no more is taken
}

// beginPush opens the file beside the loop: what is there of it is hashed.
func (p *program) beginPush(s *session, raw json.RawMessage) {
	p.leave()
	var args pushArgs
	err := json.Unmarshal(raw, &args)
	if sum, bad := hex.DecodeString(args.SHA256); err != nil || bad != nil || len(sum) != 32 || args.Size <= 0 {
		p.reply(s, failed(ota.NewRefused(ota.CodeUsage, errors.New("cannot take a file: want its name, size and sha256"))))
		return
	}
	if err := s.allowed(verbPush); err != nil {
		s.refused(verbPush, "program", err)
		p.reply(s, failed(err))
		return
	}
	id, who := p.id, s.known("program")
	p.work(s, func(ctx context.Context) Reply {
		in, err := openPush(ctx, s, args)
		s.audit(verbPush, "program", err)
		s.Box.Audit(who, verbPush, err)
		if err != nil {
			return failed(err)
		}
		reply := succeeded(pushData{Offset: in.have, SHA256: in.digest()})
		s.later(func() { p.push = &push{id: id, in: in, want: args.SHA256, ahead: map[int64][]byte{}} })
		if s.ctx.Err() != nil {
			in.leave()
		}
		return reply
	})
}

func openPush(ctx context.Context, s *session, args pushArgs) (*inbound, error) {
	if err := s.Box.Ready(ctx); err != nil {
		return nil, err
	}
	in, err := s.Inbox.begin(args.Name, strings.ToLower(args.SHA256)[:16], args.Size)
	if err != nil || !args.Fresh {
		return in, err
	}
	if err := in.restart(); err != nil {
		in.leave()
		return nil, ota.NewTransient(ota.CodeNoSpace, err)
	}
	return in, nil
}

// data takes a frame of the file and says what is here.
func (p *program) data(s *session, f frame) {
	u := p.push
	if u == nil || f.id != u.id || f.total != u.in.size || u.failed != nil {
		s.send(frame{kind: kindForgot, id: f.id})
		return
	}
	ahead := f.offset - u.in.have
	if len(f.payload) > 0 && ahead >= 0 && ahead < window*maxPayload && (ahead == 0 || len(u.ahead) < window) {
		u.ahead[f.offset] = f.payload
	}
	for u.failed == nil {
		next, here := u.ahead[u.in.have]
		if !here {
			break
		}
		delete(u.ahead, u.in.have)
		_, u.failed = u.in.Write(next)
	}
	s.send(frame{kind: kindHave, id: f.id, offset: u.in.have, total: u.in.size, payload: u.report(f.offset)})
}

// report names the offset that was just heard, then those of the gaps.
func (u *push) report(heard int64) []byte {
	list := fmt.Append(nil, heard)
	last := u.in.have
	for offset := range u.ahead {
		last = max(last, offset)
	}
	for offset := u.in.have; offset < last; offset += maxPayload {
		if _, here := u.ahead[offset]; !here {
			list = fmt.Append(list, " ", offset)
		}
	}
	return list
}

// endPush holds the file to what was announced and gives it its name.
func (p *program) endPush(s *session) {
	u := p.push
	var err error
	switch {
	case u == nil:
		err = errors.New("cannot finish the file: none is coming in")
	case u.failed != nil:
		err = u.failed
	case u.in.have != u.in.size:
		err = fmt.Errorf("cannot finish the file: %d of %d bytes are here", u.in.have, u.in.size)
	}
	if err != nil {
		p.reply(s, failed(lineFault(err)))
		return
	}
	p.push = nil
	p.work(s, func(context.Context) Reply {
		if u.in.digest() != strings.ToLower(u.want) {
			u.in.discard()
			return failed(lineFault(errors.New("cannot keep the file: it is not the one that was announced")))
		}
		path, err := u.in.finish()
		if err != nil {
			return failed(err)
		}
		return succeeded(Pushed{Path: path, Size: u.in.size})
	})
}

// lineFault classes an error that nobody classed as the line's.
func lineFault(err error) error {
	var f *ota.Fault
	if errors.As(err, &f) {
		return err
	}
	return ota.NewTransient(ota.CodeLine, err)
}
