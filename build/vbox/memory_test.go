package vbox

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/ota"
	"otad/transport"
)

// What otad may take of a small box's memory, in KiB.
const (
	idleBudget = 12 << 10
	peakBudget = 26 << 10 // artifacts are compressed with zstd
)

// TestMemory updates a box with 128 MiB on which something else takes all of
// the processor, and reads from /proc what otad takes.
func TestMemory(t *testing.T) {
	// The box must not restart before the peak is read.
	closed := func(c *config.Config) {
		start := (time.Now().UTC().Hour() + 12) % 24 * 60
		c.Policy.Windows = []config.Window{{Start: start, End: start + 60}}
	}
	scenario(t, setup{runs: 1, only: "armhf", mem: 128, change: closed}, func(r *rig) {
		r.on()
		_, err := r.view.Wait(r.ctx, func(m transport.Message) bool {
			var s report.State
			return strings.HasSuffix(m.Topic, "/state") && json.Unmarshal(m.Payload, &s) == nil && s.Checked != nil
		})
		r.must(err)
		ask := r.shell()
		read := func(when string) map[string]int {
			r.t.Helper()
			kib := map[string]int{}
			for _, m := range regexp.MustCompile(`(VmHWM|VmRSS|RssAnon):\s+(\d+) kB`).FindAllStringSubmatch(ask("cat /proc/$(pidof otad)/status"), -1) {
				kib[m[1]], _ = strconv.Atoi(m[2])
			}
			if len(kib) != 3 {
				r.t.Fatalf("%s: only %v is known of otad's memory", when, kib)
			}
			fmt.Printf("memory of otad, %s, ARMv7 with 128 MiB: resident %d KiB, of it anonymous %d KiB; peak %d KiB\n",
				when, kib["VmRSS"], kib["RssAnon"], kib["VmHWM"])
			return kib
		}
		ask("while :; do :; done & true")
		if idle := read("idle"); idle["VmRSS"] > idleBudget {
			r.t.Errorf("idle: %d KiB are resident, want %d at most", idle["VmRSS"], idleBudget)
		}
		r.publish(2, r.artifact("2"))
		r.says(`phase=armed`)
		if armed := read("after the install"); armed["VmHWM"] > peakBudget {
			r.t.Errorf("peak: %d KiB, want %d at most", armed["VmHWM"], peakBudget)
		}
		ask("kill %1") // what comes now is not measured
		r.run(otactl(), "send", "upgrade", "--box", model+"/"+mac, "--now", "--wait", "--timeout", limit.String(), "--broker", r.lab.Broker.URL())
		r.ended(2, ota.PhaseConfirmed, "")
		r.rests("B", "2")
	})
}
