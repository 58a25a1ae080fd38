package download_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"otad/ota/durable"
	"otad/transport/download"
	"otad/transport/download/downloadtest"
)

// The kill test runs this binary again as the one that is killed.
const childEnv = "DOWNLOAD_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir, os.Getenv(childEnv+"_URL")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child fetches from the checkpoint that an earlier child saved.
func child(dir, url string) error {
	journal := filepath.Join(dir, "checkpoint.json")
	req := download.Request{
		URL: url, Path: filepath.Join(dir, "2.swu"), Magic: []byte("07070"),
		Save: func(c download.Checkpoint) error {
			text, err := json.Marshal(c)
			if err != nil {
				return err
			}
			return durable.WriteFile(durable.OS, journal, text, 0o600)
		},
	}
	if text, err := os.ReadFile(journal); err == nil {
		if err := json.Unmarshal(text, &req.From); err != nil {
			return err
		}
	}
	_, err := download.New(download.Options{CheckpointBytes: killCheckpoint}).Fetch(context.Background(), req)
	return err
}

const killCheckpoint = 512 * kib

// TestKilled kills the download with SIGKILL at random instants, now and then
// spoils what lies behind the checkpoint like a power cut does, and goes on:
// the file ends up whole, and no restart goes back by more than a checkpoint.
func TestKilled(t *testing.T) {
	t.Parallel()
	const size, wantKills, buffer = 8 * mib, 22, 256 * kib
	distance := int64(max(killCheckpoint, size/20))
	kills, whole, worst := 0, 0, int64(0)
	for round := uint64(0); kills < wantKills; round++ {
		dir := t.TempDir()
		want := downloadtest.Pattern(size, 100+round)
		host := new(downloadtest.Host)
		file := host.Add("/2.swu", want)
		file.Set(downloadtest.Faults{Rate: 8 * mib})
		server := httptest.NewServer(host)
		path := filepath.Join(dir, "2.swu")
		var sizes []int64 // of the file when it was killed
		for {
			killed := runChild(t, dir, server.URL+"/2.swu", file, time.Duration(rand.Int64N(220))*time.Millisecond)
			if !killed {
				break
			}
			kills++
			if info, err := os.Stat(path); err == nil {
				sizes = append(sizes, info.Size())
				spoil(t, dir, path, info.Size())
			} else {
				sizes = append(sizes, 0)
			}
		}
		server.Close()
		if at := differs(t, path, want); at >= 0 {
			t.Fatalf("round %d: the file differs at byte %d", round, at)
		}
		whole++
		// Every child that was killed had begun one answer; the last one may
		// have found the file whole.
		offsets := file.Stats().Offsets
		if len(offsets) < len(sizes) || len(offsets) > len(sizes)+1 {
			t.Fatalf("round %d: %d answers for %d kills", round, len(offsets), len(sizes))
		}
		for i, offset := range offsets[min(1, len(offsets)):] {
			if back := sizes[i] - offset; back > distance+buffer {
				t.Errorf("round %d, kill %d: went back by %d bytes from %d", round, i, back, sizes[i])
			}
			worst = max(worst, sizes[i]-offset)
		}
	}
	t.Logf("%d kills, %d whole files, at most %d KiB fetched twice, allowed %d KiB", kills, whole, worst/kib, (distance+buffer)/kib)
}

// runChild starts a child and kills it after d from its request on; false when
// it was done before.
func runChild(t *testing.T, dir, url string, file *downloadtest.File, d time.Duration) (killed bool) {
	t.Helper()
	answers := len(file.Stats().Offsets)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childEnv+"_URL="+url)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for len(file.Stats().Offsets) == answers {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("child: %v", err)
			}
			return false
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("child: %v", err)
		}
		return false
	case <-time.After(d):
	}
	cmd.Process.Kill()
	return (<-done) != nil
}

// spoil puts zeros or garbage behind the checkpoint, or cuts the tail off.
func spoil(t *testing.T, dir, path string, size int64) {
	t.Helper()
	var c download.Checkpoint
	if text, err := os.ReadFile(filepath.Join(dir, "checkpoint.json")); err == nil {
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatalf("checkpoint: %v", err)
		}
	}
	if c.SyncedBytes > size {
		t.Fatalf("checkpoint vouches for %d bytes of %d", c.SyncedBytes, size)
	}
	tail := make([]byte, size-c.SyncedBytes)
	switch rand.IntN(4) {
	case 0:
		overwrite(t, path, c.SyncedBytes, tail)
	case 1:
		for i := range tail {
			tail[i] = 'x'
		}
		overwrite(t, path, c.SyncedBytes, tail)
	case 2:
		if err := os.Truncate(path, c.SyncedBytes); err != nil {
			t.Fatal(err)
		}
	}
}
