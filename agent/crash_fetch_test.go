package agent

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"otad/ota"
	"otad/ota/durable/crashfs"
	"otad/transport/download"
	"otad/transport/download/downloadtest"
)

// realFetcher is transport/download, as the wiring hands it to the agent.
type realFetcher struct{ *download.Fetcher }

func (realFetcher) FreeBytes(string) (int64, error) { return 1 << 40, nil }

func (r realFetcher) Fetch(ctx context.Context, f Fetch) error {
	_, err := r.Fetcher.Fetch(ctx, download.Request{
		URL: f.URL, Path: f.Path, From: download.Checkpoint(f.From),
		Save: func(c download.Checkpoint) error { return f.Save(ota.Checkpoint(c)) },
	})
	return err
}

// TestCrashFetcherIsTrue holds the fetcher of the crash tests to the real one,
// which opens its file by way of a library and not of a crashfs: from a line
// that breaks behind the first checkpoint both save the same checkpoints, and
// at each of them, and when they failed, the file is in the same state. A tail
// of which no checkpoint tells is believed by neither.
func TestCrashFetcherIsTrue(t *testing.T) {
	t.Parallel()
	artifact := crashFirmware().artifacts[2]
	host := new(downloadtest.Host)
	host.Add("/2.swu", downloadtest.Bytes(artifact)).Set(downloadtest.Faults{Cut: &downloadtest.Cut{At: crashCheckpoint, Times: 1}})
	server := httptest.NewServer(host)
	defer server.Close()

	onDisk := filepath.Join(t.TempDir(), "2.swu")
	inMemory := crashfs.New(crashfs.NewPower(0))
	must(t, inMemory.Mkdir(crashStaging, 0o755))
	imitated := filepath.Join(crashStaging, "2.swu")
	genuine := stagesOf(t, realFetcher{download.New(download.Options{CheckpointBytes: crashCheckpoint})}, server.URL+"/2.swu", onDisk,
		func() []byte { data, _ := os.ReadFile(onDisk); return data },
		func(tail []byte) {
			f, err := os.OpenFile(onDisk, os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			_, err = f.Write(tail)
			must(t, err)
			must(t, f.Close())
		})
	imitation := stagesOf(t, crashFetcher{inMemory}, "http://host/2.swu", imitated,
		func() []byte { return contentOf(t, inMemory, imitated) },
		func(tail []byte) {
			f, err := inMemory.OpenFile(imitated, os.O_WRONLY, 0)
			must(t, err)
			defer f.Close()
			_, err = f.WriteAt(tail, int64(len(contentOf(t, inMemory, imitated))))
			must(t, err)
		})
	if !slices.Equal(genuine, imitation) {
		t.Errorf("the real one goes through\n%+v\nthe imitation through\n%+v", genuine, imitation)
	}
	if len(genuine) != 5 {
		t.Errorf("%d stages, want two checkpoints, the end, and a failure between: %+v", len(genuine), genuine)
	}
}

// stage is what is seen of a fetcher at one moment.
type stage struct {
	at          string // save, failed or done
	checkpoints int64  // whole ones that are vouched for
	complete    bool
	prefix      bool // the file begins with what is vouched for, and is right as far as it goes
}

// stagesOf lets a fetcher bring the artifact in, as often as it takes; content
// reads the file and spoil puts something behind its end.
func stagesOf(t *testing.T, f Fetcher, url, path string, content func() []byte, spoil func([]byte)) (stages []stage) {
	t.Helper()
	artifact := crashFirmware().artifacts[2]
	var kept ota.Checkpoint
	see := func(at string) {
		data := content()
		stages = append(stages, stage{at, kept.SyncedBytes / crashCheckpoint, kept.SyncedBytes == kept.TotalBytes,
			int64(len(data)) >= kept.SyncedBytes && bytes.HasPrefix(artifact, data)})
	}
	for range 5 {
		err := f.Fetch(t.Context(), Fetch{URL: url, Path: path, From: kept, Progress: func(_, _, _ int64) {},
			Save: func(c ota.Checkpoint) error { kept = c; see("save"); return nil }})
		if err == nil {
			see("done")
			return stages
		}
		see("failed")
		spoil(bytes.Repeat([]byte("x"), 5000))
	}
	t.Fatal("it is never done")
	return nil
}

// contentOf reads a whole file of a disk.
func contentOf(t *testing.T, disk *crashfs.Disk, name string) []byte {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDONLY, 0)
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	data := make([]byte, info.Size())
	_, err = f.ReadAt(data, 0)
	must(t, err)
	return data
}
