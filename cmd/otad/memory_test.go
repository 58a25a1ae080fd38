package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/ota"
	"otad/ota/swu"
	"otad/transport/download/downloadtest"
	"otad/transport/mqtt/mqtttest"
)

// budgets of the whole service, connected to a broker, in KiB: what it has of
// its own at most, and what is resident at most with the pages of its program,
// which the kernel may drop. The targets are 20 MiB and, for zstd, 26; a test
// must bear a machine that keeps more of a program, and a program that grows.
var budgets = map[string]struct{ own, resident int }{
	swu.KindNone: {11 << 10, 22 << 10},
	swu.KindZstd: {15 << 10, 26 << 10},
}

// cgroupBytes is all that a service may use where the test can say so, page
// cache and journal included.
const cgroupBytes = 32 << 20

// TestMemory installs an image that is much larger than what otad may take.
// OTAD_MEMORY_MIB makes it larger still. Not parallel: others would be measured
// by the medium.
func TestMemory(t *testing.T) {
	size := int64(96 << 20)
	if text := os.Getenv("OTAD_MEMORY_MIB"); text != "" {
		mebibytes, err := strconv.ParseInt(text, 10, 64)
		must(t, err)
		size = mebibytes << 20
	}
	for _, kind := range []string{swu.KindNone, swu.KindZstd} {
		dir := t.TempDir()
		artifact := filepath.Join(dir, "2.swu")
		out, err := os.Create(artifact)
		must(t, err)
		must(t, authority().PackAs(out, swu.Manifest{Version: "2", Model: model}, kind, largeImage(size)))
		must(t, out.Close())
		for _, mode := range []string{config.ModeStaged, config.ModeStreamed} {
			t.Run(kind+" "+mode, func(t *testing.T) {
				broker, err := mqtttest.StartMosquitto(mqtttest.Config{})
				if err != nil {
					t.Skip(err)
				}
				defer broker.Close()
				s := newSite(t)
				b := newBoxOf(t, s, size, func(c *config.Config) {
					c.Download.Mode = mode
					c.MQTT.Brokers = []string{broker.URL()}
					c.Policy.CheckEvery = config.Duration(time.Hour)
				})
				operator := newOperator(t, broker)
				content, err := downloadtest.Disk(artifact)
				must(t, err)
				s.host.Add("/2.swu", content)
				if !raced {
					b.limitMemory()
				}
				service := b.start()
				service.await(inPhase(ota.PhaseIdle))
				for deadline := time.Now().Add(patience); !strings.Contains(operator.seen.String(), topics.State()) && time.Now().Before(deadline); {
					time.Sleep(10 * time.Millisecond)
				}
				idle, switches := statusOf(t, service, "VmHWM"), statusOf(t, service, "voluntary_ctxt_switches")
				begin := time.Now()
				b.wrap = nil
				must(t, b.command(t.Context(), "install", s.url+"/2.swu", "--yes").Start())
				peak, anon := 0, 0
				service.until(func(r report.State) bool {
					peak, anon = max(peak, statusOf(t, service, "VmHWM")), max(anon, statusOf(t, service, "RssAnon"))
					return r.Phase == ota.PhaseArmed
				})
				t.Logf("idle %.1f MiB, %d switches; %d MiB in %.1f s: peak %.1f MiB, %.1f of them its own",
					float64(idle)/1024, switches, size>>20, time.Since(begin).Seconds(), float64(peak)/1024, float64(anon)/1024)
				if limit := budgets[kind]; (anon > limit.own || peak > limit.resident) && !raced {
					t.Errorf("otad took %d KiB, %d of its own; more than %d or %d", peak, anon, limit.resident, limit.own)
				}
			})
		}
	}
}

// limitMemory puts every otad that is started from now on into a group with
// little memory, where the test may make one.
func (b *box) limitMemory() {
	b.t.Helper()
	for root, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		group := filepath.Join(root, filepath.Base(b.dir))
		if os.Mkdir(group, 0o755) != nil {
			continue
		}
		b.t.Cleanup(func() { os.Remove(group) }) // the service is gone by then, or the group stays empty
		if os.WriteFile(filepath.Join(group, file), []byte(strconv.Itoa(cgroupBytes)), 0o644) == nil {
			b.wrap = []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, group}
			return
		}
	}
	b.t.Log("no memory group can be made here: the limit is not tried")
}

// statusOf reads a number of the service's status in /proc; 0 once it is gone.
func statusOf(t *testing.T, s *service, field string) int {
	t.Helper()
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	return fieldOf(t, text, field)
}

// fieldOf reads a number of a status in /proc; 0 if it is not there.
func fieldOf(t *testing.T, text []byte, field string) int {
	t.Helper()
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			must(t, err)
			return n
		}
	}
	return 0
}

// largeImage is a system of size bytes, half of which can be compressed away.
func largeImage(size int64) io.ReadSeeker {
	tile := make([]byte, 1<<20)
	noise := rand.NewChaCha8([32]byte{2})
	noise.Read(tile[:len(tile)/2]) // never fails
	return io.NewSectionReader(tiled(tile), 0, size)
}

// tiled is a tile over and over, each with its own beginning.
type tiled []byte

func (d tiled) ReadAt(p []byte, offset int64) (int, error) {
	for done := 0; done < len(p); {
		at := offset + int64(done)
		tile, in := at/int64(len(d)), int(at%int64(len(d)))
		n := copy(p[done:], d[in:])
		if head := fmt.Sprintf("2 v2\nexit 0\n%d\n", tile); in < len(head) {
			copy(p[done:done+n], head[in:])
		}
		done += n
	}
	return len(p), nil
}
