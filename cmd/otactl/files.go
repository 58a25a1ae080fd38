package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/swu"
)

// openArtifact opens an artifact file; the caller closes the file.
func openArtifact(name string) (*os.File, *swu.Archive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		var a *swu.Archive
		if a, err = swu.Open(f, info.Size()); err == nil {
			return f, a, nil
		}
	}
	f.Close()
	return nil, nil, fault(err)
}

// fault gives an error of package swu its code, which decides the exit code.
func fault(err error) error {
	var e *swu.Error
	if errors.As(err, &e) {
		return ota.NewPermanent(ota.Code(e.Kind), err).WithHint(e.Hint)
	}
	return err
}

// writeWhole writes a file so that name is never half of one: aside, synced,
// renamed.
func writeWhole(name string, write func(io.Writer) error) error {
	out, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	err = write(out)
	if err == nil {
		err = out.Chmod(0o644)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("cannot write %q: %w", name, err)
	}
	return durable.Rename(durable.OS, out.Name(), name)
}

// meter shows how far a long work is, on a terminal only.
type meter struct {
	w     io.Writer // nil: show nothing
	what  string
	total int64
	done  int64
	last  time.Time
}

// meterEvery is how often the line is drawn again.
const meterEvery = 100 * time.Millisecond

// meterCells is how wide the bar is.
const meterCells = 24

func newMeter(stderr io.Writer, what string, total int64) *meter {
	m := &meter{what: what, total: total}
	if f, ok := stderr.(*os.File); ok && cli.IsTerminal(f) && os.Getenv("TERM") != "dumb" {
		m.w = stderr
	}
	return m
}

// Write counts, so that a meter can stand behind a tee.
func (m *meter) Write(p []byte) (int, error) {
	m.set(m.done + int64(len(p)))
	return len(p), nil
}

func (m *meter) set(done int64) {
	m.done = done
	if m.w == nil || time.Since(m.last) < meterEvery {
		return
	}
	m.last = time.Now()
	share := min(1, float64(done)/float64(max(1, m.total)))
	bar := strings.Repeat("#", int(share*meterCells)) + strings.Repeat(".", meterCells-int(share*meterCells))
	fmt.Fprintf(m.w, "\r%s [%s] %3.0f %% of %s ", m.what, bar, 100*share, cli.SizeText(m.total))
}

// clear takes the line away again.
func (m *meter) clear() {
	if m.w != nil {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}
