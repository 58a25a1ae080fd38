package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"otad/transport/console"
)

// cable is a port of memory: what the test puts in comes out, and what the box
// says is counted and lost.
type cable struct {
	*io.PipeReader
	said int
}

func (c *cable) Write(p []byte) (int, error) { c.said += len(p); return len(p), nil }

// wire writes a frame as docs/console.md says, independently of the program.
func wire(kind byte, id, payload string) string {
	var escaped strings.Builder
	for _, b := range []byte(payload) {
		if b < 0x20 || b == 0x7f || b == '|' {
			escaped.WriteByte('|')
			b ^= 0x40
		}
		escaped.WriteByte(b)
	}
	body := fmt.Sprintf("%c %s 0 %d %d %s", kind, id, len(payload), len(payload), escaped.String())
	return fmt.Sprintf("|:%s|;%08x\r\n", body, crc32.ChecksumIEEE([]byte(body)))
}

// Ten million bytes of noise, with lines in it that look right: verbs as a
// person types them, frames with a wrong bit, a wrong length, a lost end.
// Nothing is obeyed but the frames that are whole. The clock stands still while
// the noise goes on, as it has no pause.
func TestNoise(t *testing.T) {
	size := 10_000_000
	if raced || testing.Short() {
		size = 500_000
	}
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		port := &cable{PipeReader: in}
		b := newBox()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			console.Serve(ctx, console.Options{Port: "pipe", Box: b, Face: face{}, Log: slog.New(slog.DiscardHandler),
				ReadOnly: []string{"status"}, Inbox: console.Inbox{Dir: "/nowhere"},
				Open: func() (io.ReadWriteCloser, error) {
					return struct {
						io.ReadCloser
						io.Writer
					}{in, port}, nil
				}})
		}()
		chance := rand.New(rand.NewPCG(7, 7))
		random := rand.NewChaCha8([32]byte{7})
		var before runtime.MemStats
		whole := 0
		for done := 0; done < size; {
			chunk := make([]byte, 200+chance.IntN(2000))
			random.Read(chunk) // never fails
			good := wire('Q', fmt.Sprintf("good-%d", whole), `{"v":1,"verb":"cancel"}`)
			look := []string{
				"\rcancel\r", "\x80\r\ncancel\r\n", "|:\rupgrade --yes\r", "cancel\rcancel\rcancel\rcancel\r",
				flip(chance, wire('Q', "flipped", `{"v":1,"verb":"upgrade"}`)),
				strings.Replace(good, "23 23", "24 24", 1),
				good[:len(good)/2], good[:len(good)/2] + "\r\n" + good[len(good)/2:],
				wire('a', "echo", `{"v":1,"verb":"upgrade"}`), wire('Q', "UPPER", `{"v":1,"verb":"upgrade"}`),
				wire('D', "data", "no file is coming in"), wire('Q', "junk", `{"v":1,"verb":"upgrade"}}`),
				wire('Q', "other", `{"v":2,"verb":"upgrade"}`), wire('Q', "odd", `{"v":1,"verb":"upgrade","please":true}`),
			}[chance.IntN(14)]
			chunk = append(chunk, look...)
			if chance.IntN(10) == 0 {
				chunk = append(chunk, "\r\n"+good...) // noise before it may have begun a frame: that ends here
				whole++
			}
			if _, err := out.Write(chunk); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // a box that still works on one request takes no other
			if done += len(chunk); before.HeapAlloc == 0 && done > size/10 {
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
		}
		for _, did := range b.obeyed() {
			if did != "cancel" {
				t.Errorf("obeyed %q", did)
			}
		}
		if n := len(b.obeyed()); n != whole {
			t.Errorf("obeyed %d verbs, %d were whole", n, whole)
		}
		t.Logf("%d bytes of noise, %d whole requests, %d obeyed, %d bytes said", size, whole, len(b.obeyed()), port.said)
		var after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		cancel()
		if err := out.CloseWithError(errors.New("the end")); err != nil {
			t.Fatal(err)
		}
		<-ended
	})
}

// flip changes one bit of a frame that is no part of the line's end.
func flip(chance *rand.Rand, line string) string {
	data := []byte(line)
	data[chance.IntN(len(data)-2)] ^= 1 << chance.IntN(8)
	return string(data)
}

// A line that only echoes, as a getty or a loop does, starts no conversation.
func TestEchoDiesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		echo := &loop{bytes: make(chan []byte, 1<<16)}
		go func() {
			for p := range echo.bytes {
				if _, err := out.Write(p); err != nil {
					return
				}
			}
		}()
		b := newBox()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			console.Serve(ctx, console.Options{Port: "loop", Box: b, Face: face{}, Log: slog.New(slog.DiscardHandler),
				Open: func() (io.ReadWriteCloser, error) {
					return struct {
						io.ReadCloser
						io.Writer
					}{in, echo}, nil
				}})
		}()
		synctest.Wait() // returns only when all is quiet
		if len(b.obeyed()) != 0 {
			t.Errorf("obeyed %q", b.obeyed())
		}
		t.Logf("%d bytes went round", echo.said)
		cancel()
		<-ended
		close(echo.bytes)
	})
}

type loop struct {
	bytes chan []byte
	said  int
}

func (l *loop) Write(p []byte) (int, error) {
	l.said += len(p)
	l.bytes <- bytes.Clone(p)
	return len(p), nil
}
