package console_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"otad/ota"
	"otad/transport/console"
	"otad/transport/console/consoletest"
)

// bad is a line of 115200 baud on which one byte in 10,000 is wrong. Its time
// runs 100 times faster than the clock, so 4 MiB take seconds and not 8
// minutes; the desk is told the speed that this makes, as its patience follows
// the speed.
func bad(seed uint64) *consoletest.Line {
	return &consoletest.Line{Baud: 115200, Speedup: 100, ErrorEvery: 10_000, Seed: seed}
}

func TestPushOverABadLine(t *testing.T) {
	t.Parallel()
	d := serve(t, bad(1))
	file := noise(4<<20+123, 1)
	began := time.Now()
	pushed, err := d.client().Push(t.Context(), "fw.swu", bytes.NewReader(file), int64(len(file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes in %s, %d carried", len(file), time.Since(began), d.line.Carried.Load())
	got, err := os.ReadFile(pushed.Path)
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("%v; the box has %d bytes, not those that were sent", err, len(got))
	}
}

// A push that is interrupted, twice, goes on where it was.
func TestPushResumes(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{Baud: 115200, Speedup: 50, ErrorEvery: 20_000})
	file := noise(1<<20, 2)
	for round := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		c := d.client()
		_, err := c.Push(ctx, "fw.swu", bytes.NewReader(file), int64(len(file)), func(done, total int64) {
			if done >= int64(round+1)*total/3 {
				cancel()
			}
		})
		c.Close()
		cancel()
		if err == nil {
			t.Fatal("not interrupted")
		}
	}
	before := d.line.Carried.Load()
	pushed, err := d.client().Push(t.Context(), "fw.swu", bytes.NewReader(file), int64(len(file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if sent := d.line.Carried.Load() - before; sent > int64(len(file))*2/3 {
		t.Errorf("%d bytes were carried for the last third of %d", sent, len(file))
	}
	got, err := os.ReadFile(pushed.Path)
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("%v; the box has %d bytes, not those that were sent", err, len(got))
	}
}

// What a power cut made of the unfinished file is noticed: it is sent from the
// beginning.
func TestPushAfterAPowerCut(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{})
	file := noise(200_000, 4)
	ctx, cancel := context.WithCancel(t.Context())
	c := d.client()
	_, err := c.Push(ctx, "fw.swu", bytes.NewReader(file), int64(len(file)), func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	c.Close()
	if err == nil {
		t.Fatal("not interrupted")
	}
	parts, err := filepath.Glob(d.inbox + "/*.part")
	if err != nil || len(parts) != 1 {
		t.Fatalf("%q, %v", parts, err)
	}
	if err := os.WriteFile(parts[0], make([]byte, 100_000), 0o644); err != nil { // zeros, as file systems leave them
		t.Fatal(err)
	}
	pushed, err := d.client().Push(t.Context(), "../../fw.swu", bytes.NewReader(file), int64(len(file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if pushed.Path != d.inbox+"/fw.swu" {
		t.Errorf("the file is at %q", pushed.Path)
	}
	if got, err := os.ReadFile(pushed.Path); err != nil || !bytes.Equal(got, file) {
		t.Errorf("%v; the box has %d bytes, not those that were sent", err, len(got))
	}
}

func TestPushIsRefused(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{}, func(o *console.Options) { o.Inbox.MaxBytes = 1000 })
	c := d.client()
	push := func(size int) error {
		_, err := c.Push(t.Context(), "fw.swu", bytes.NewReader(make([]byte, size)), int64(size), nil)
		return err
	}
	if err := push(1001); err == nil || ota.FaultOf(err).Code != ota.CodeFirmwareTooLarge {
		t.Errorf("too large: %v", err)
	}
	if err := push(1000); err != nil {
		t.Error(err)
	}
	if err := c.Do(t.Context(), console.Request{Verb: "upgrade"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := push(1000); err == nil || ota.FaultOf(err).Code != ota.CodeBusy {
		t.Errorf("while an update is under way: %v", err)
	}
}
