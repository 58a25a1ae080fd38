package console

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"otad/ota"
)

// Push sends a file of size bytes and returns where the box put it. What the
// box has of it from an earlier push is not sent again. progress may be nil.
func (c *Client) Push(ctx context.Context, name string, file io.ReaderAt, size int64, progress func(done, total int64)) (Pushed, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	sum, err := digest(file, size)
	if err != nil {
		return Pushed{}, err
	}
	args := pushArgs{Name: name, Size: size, SHA256: sum}
	id, have, err := c.announce(ctx, args)
	if err != nil {
		return Pushed{}, err
	}
	if prefix, err := digest(file, have.Offset); err != nil {
		return Pushed{}, err
	} else if prefix != have.SHA256 { // damaged by a power cut
		args.Fresh = true
		if id, have, err = c.announce(ctx, args); err != nil {
			return Pushed{}, err
		}
	}
	t := transfer{c: c, id: id, file: file, size: size, base: have.Offset, next: have.Offset, sent: map[int64]int{}}
	if err := t.run(ctx, progress); err != nil {
		return Pushed{}, err
	}
	var pushed Pushed
	err = c.Do(ctx, Request{Verb: verbPushed}, &pushed)
	return pushed, err
}

func digest(file io.ReaderAt, size int64) (string, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(file, 0, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the file: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// announce asks the box to take the file; id is that of its frames.
func (c *Client) announce(ctx context.Context, args pushArgs) (id string, have pushData, err error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return "", have, err
	}
	payload, err := json.Marshal(Request{V: Version, Verb: verbPush, Args: raw})
	if err != nil {
		return "", have, err
	}
	if len(payload) > maxPayload {
		return "", have, ota.NewRefused(ota.CodeUsage, errors.New("cannot push: the name is too long"))
	}
	id = c.newID()
	reply, err := c.ask(ctx, id, payload)
	if err == nil {
		err = reply.Err()
	}
	if err == nil {
		err = json.Unmarshal(reply.Data, &have)
	}
	if err == nil && (have.Offset < 0 || have.Offset > args.Size) {
		err = ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot push: the box says that it has %d of %d bytes", have.Offset, args.Size))
	}
	return id, have, err
}

// transfer keeps a window of frames under way. A line keeps the order of what
// it carries: a frame is lost when one that was sent after it was heard.
type transfer struct {
	c     *Client
	id    string
	file  io.ReaderAt
	size  int64
	base  int64         // all below is at the box
	next  int64         // all from here on was never sent
	count int           // frames sent
	sent  map[int64]int // when a frame under way was last sent, in frames
}

func (t *transfer) run(ctx context.Context, progress func(done, total int64)) error {
	heard := time.Now()
	for t.base < t.size {
		for t.next < t.size && t.next < t.base+window*maxPayload {
			if err := t.send(t.next); err != nil {
				return err
			}
			t.next = min(t.next+maxPayload, t.size)
		}
		f, err := t.c.hear(ctx, t.c.turn(2*window))
		switch {
		case err != nil:
			return err
		case f == nil && time.Since(heard) >= t.c.Patience:
			return t.c.silent()
		case f == nil: // the last ones, or all that was said of them, are lost
			if err := t.send(t.base); err != nil {
				return err
			}
		case f.kind == kindNoise:
			if t.sent[t.base] == t.count { // nothing after it can tell that it was lost
				if err := t.send(t.base); err != nil {
					return err
				}
			}
		case f.id != t.id:
		case f.kind == kindForgot:
			return t.refused(ctx)
		case f.kind == kindHave:
			heard = time.Now()
			if err := t.have(*f); err != nil {
				return err
			}
			progress(t.base, t.size)
		}
	}
	return nil
}

// have takes what the box has, and sends again what was lost on the way.
func (t *transfer) have(f frame) error {
	if f.offset > t.next {
		return ota.NewTransient(ota.CodeLine, errors.New("cannot push: the box has more than was sent"))
	}
	t.base = max(t.base, f.offset)
	for offset := range t.sent {
		if offset < t.base {
			delete(t.sent, offset)
		}
	}
	var list []int64
	for _, word := range strings.Fields(string(f.payload)) {
		var offset int64
		if _, err := fmt.Sscan(word, &offset); err != nil {
			return nil // of another version; patience will do
		}
		list = append(list, offset)
	}
	if len(list) == 0 {
		return nil
	}
	heard, under := t.sent[list[0]]
	for _, offset := range list[1:] {
		if sent, is := t.sent[offset]; is && under && sent < heard {
			if err := t.send(offset); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *transfer) send(offset int64) error {
	piece := make([]byte, min(maxPayload, t.size-offset))
	if _, err := t.file.ReadAt(piece, offset); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the file: %w", err)
	}
	t.count++
	t.sent[offset] = t.count
	return t.c.send(frame{kind: kindData, id: t.id, offset: offset, total: t.size, payload: piece})
}

// refused finds out why the box takes no more.
func (t *transfer) refused(ctx context.Context) error {
	if err := t.c.Do(ctx, Request{Verb: verbPushed}, nil); err != nil {
		return err
	}
	return ota.NewTransient(ota.CodeLine, errors.New("cannot push: the box takes no more"))
}
