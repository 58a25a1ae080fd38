package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"otad/ota"
)

// ErrSilent says that nothing that makes sense comes from the other end.
var ErrSilent = errors.New("console: the box does not answer")

// Client is the desk's end of a line: a program that asks the box. It asks one
// thing at a time and is for one goroutine.
type Client struct {
	// Patience is how long the box may be silent. A box that works on a request
	// is not silent.
	Patience time.Duration

	port   io.ReadWriteCloser
	baud   int
	prefix string // of the ids, so that another desk's answers are not ours
	asked  int
	frames chan frame
}

// defaultPatience is Patience unless somebody says otherwise.
const defaultPatience = 10 * time.Second

// NewClient talks over port, whose speed is baud. What comes in outside of
// frames goes to text, which may be nil.
func NewClient(port io.ReadWriteCloser, baud int, text io.Writer) *Client {
	c := &Client{Patience: defaultPatience, port: port, baud: baud,
		prefix: strconv.FormatInt(rand.Int64N(1<<32), 36), frames: make(chan frame, 4*maxPieces)}
	go c.read(text)
	return c
}

// Baud is the speed of the port.
func (c *Client) Baud() int { return c.baud }

// Close closes the port.
func (c *Client) Close() error { return c.port.Close() }

// read sorts what comes in until the port ends.
func (c *Client) read(text io.Writer) {
	defer close(c.frames)
	var sieve sieve
	chunk := make([]byte, 4096)
	for {
		n, err := c.port.Read(chunk)
		var said []byte
		for _, b := range chunk[:n] {
			sifted := sieve.feed(b)
			said = append(said, sifted.text...)
			if sifted.torn {
				sifted.frame = &frame{kind: kindNoise} // as if the box had said so
			}
			if sifted.frame != nil {
				select {
				case c.frames <- *sifted.frame:
				default: // nobody asks; it is sent again when somebody does
				}
			}
		}
		if text != nil && len(said) > 0 {
			if _, err := text.Write(said); err != nil {
				text = nil
			}
		}
		if err != nil || n == 0 {
			return
		}
	}
}

// overhead is what a frame of a full payload of any bytes takes on the line, as
// a part of the payload: escapes, head, CRC.
const overhead = 1.2

// turn is how long the answer to something may be away on the line before it
// counts as lost: the given number of full frames, and a moment for the box.
func (c *Client) turn(frames int) time.Duration {
	bits := overhead * float64(frames*maxPayload*10)
	return 300*time.Millisecond + time.Duration(bits/float64(c.baud)*float64(time.Second))
}

func (c *Client) send(f frame) error {
	data := f.append(nil)
	for len(data) > 0 {
		n, err := c.port.Write(data)
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return portFault(err)
		}
		data = data[n:]
	}
	return nil
}

func portFault(err error) error {
	return ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot use the port: %w", err))
}

func (c *Client) silent() error {
	return ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot reach the box: %w for %s", ErrSilent, c.Patience)).
		WithHint("is it the right port and speed, and does a console run there?")
}

// newID makes an id for a request.
func (c *Client) newID() string {
	c.asked++
	return fmt.Sprintf("%s-%d", c.prefix, c.asked)
}

// hear waits for a frame for at most wait. It returns nil when none came.
func (c *Client) hear(ctx context.Context, wait time.Duration) (*frame, error) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case f, open := <-c.frames:
		if !open {
			return nil, portFault(errPortClosed)
		}
		return &f, nil
	case <-t.C:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Ask sends a request until it is answered. The reply may be a refusal; the
// error is the line's.
func (c *Client) Ask(ctx context.Context, r Request) (Reply, error) {
	r.V = Version
	payload, err := json.Marshal(r)
	if err == nil && len(payload) > maxPayload {
		err = fmt.Errorf("a request of %d bytes is too long for the line", len(payload))
	}
	if err != nil {
		return Reply{}, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot ask: %w", err))
	}
	return c.ask(ctx, c.newID(), payload)
}

func (c *Client) ask(ctx context.Context, id string, payload []byte) (reply Reply, err error) {
	p := puzzle{id: id, request: payload}
	heard := time.Now()
	next, wait := p.next(), c.turn(2)
	for {
		if next != nil {
			if err := c.send(*next); err != nil {
				return reply, err
			}
		}
		f, err := c.hear(ctx, wait)
		wait = c.turn(2)
		switch {
		case err != nil:
			return reply, err
		case f == nil && time.Since(heard) >= c.Patience:
			return reply, c.silent()
		case f != nil && f.kind == kindNoise && p.here != nil: // more pieces may be on their way
			next, wait = nil, c.turn(0)
			continue
		case f == nil || f.kind == kindNoise:
			next = p.next()
			continue
		case f.id != id:
			next = nil
			continue
		case f.kind == kindForgot:
			return reply, ota.NewTransient(ota.CodeLine, errors.New("cannot read the answer: the box has forgotten it"))
		}
		heard, next = time.Now(), nil
		if f.kind == kindAnswer && p.put(*f) {
			if p.whole() {
				if err := json.Unmarshal(p.answer, &reply); err != nil {
					return reply, ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot read the answer: %w", err))
				}
				return reply, nil
			}
			next = p.next()
		}
	}
}

// puzzle is an answer that comes in pieces.
type puzzle struct {
	id      string
	request []byte
	answer  []byte
	here    map[int64]bool
	until   int64 // the end of what was asked for
}

// put keeps a piece and tells whether all that was asked for is here or lost.
func (p *puzzle) put(f frame) bool {
	if p.here == nil {
		if f.total == 0 || f.total > maxAnswer {
			return false
		}
		p.answer, p.here = make([]byte, f.total), map[int64]bool{}
		p.until = min(f.total, maxPieces*maxPayload)
	}
	if f.total != int64(len(p.answer)) || f.offset%maxPayload != 0 || f.offset+int64(len(f.payload)) > f.total {
		return false
	}
	copy(p.answer[f.offset:], f.payload)
	p.here[f.offset] = true
	return f.offset+int64(len(f.payload)) >= p.until || p.whole()
}

// gap is the offset of the first piece that is not here.
func (p *puzzle) gap() int64 {
	var offset int64
	for p.here[offset] {
		offset += maxPayload
	}
	return offset
}

func (p *puzzle) whole() bool { return p.here != nil && p.gap() >= int64(len(p.answer)) }

// next is what to ask now: the request, or for pieces that are not here.
func (p *puzzle) next() *frame {
	if p.here == nil {
		return &frame{kind: kindRequest, id: p.id, total: int64(len(p.request)), payload: p.request}
	}
	from, total := p.gap(), int64(len(p.answer))
	p.until = from + maxPayload
	for p.until < total && p.until < from+maxPieces*maxPayload && !p.here[p.until] {
		p.until += maxPayload
	}
	p.until = min(p.until, total)
	return &frame{kind: kindGet, id: p.id, offset: from, total: p.until}
}

// Do asks and turns a refusal into an error.
func (c *Client) Do(ctx context.Context, r Request, data any) error {
	reply, err := c.Ask(ctx, r)
	if err == nil {
		err = reply.Err()
	}
	if err != nil || data == nil {
		return err
	}
	if err := json.Unmarshal(reply.Data, data); err != nil {
		return ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot read the answer: %w", err))
	}
	return nil
}

// Err is the fault that the reply tells of, nil when it is OK.
func (r Reply) Err() error {
	if r.OK {
		return nil
	}
	return ota.NewRefused(r.Code, errors.New(r.Text)).WithHint(r.Hint)
}

// Hello asks the box who it is.
func (c *Client) Hello(ctx context.Context) (Greeting, error) {
	var g Greeting
	err := c.Do(ctx, Request{Verb: verbHello}, &g)
	return g, err
}

// Login logs in with the key, or else with the PIN, if the box wants it.
func (c *Client) Login(ctx context.Context, l Login) error {
	g, err := c.Hello(ctx)
	if err != nil || g.Login != "needed" {
		return err
	}
	args := loginArgs{PIN: string(l.PIN)}
	if l.Key != "" {
		args = loginArgs{Response: Response(l.Key, g.Challenge)}
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	return c.Do(ctx, Request{Verb: verbLogin, Args: raw}, nil)
}
