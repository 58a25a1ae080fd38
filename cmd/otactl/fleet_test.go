package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/agent/control"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport/mqtt/mqtttest"
)

var fleetSize = flag.Int("boxes", 100, "how many boxes TestFleetAgainstMosquitto has; 2000 are well done without the race detector")

// TestFleetAgainstMosquitto: one group command upgrades a whole fleet behind a
// real broker, and the operator sees every box confirm.
func TestFleetAgainstMosquitto(t *testing.T) {
	broker := mqtttest.NewMosquitto(t, mqtttest.Config{Lines: []string{"autosave_on_changes false", "autosave_interval 1800", "log_type error"}})
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	var opening sync.WaitGroup
	turn := make(chan struct{}, 50)
	for i := range *fleetSize {
		opening.Go(func() {
			turn <- struct{}{}
			newFakeBox(t, broker, fmt.Sprintf("box-%04d", i), ota.PhaseConfirmed, func(d *control.Desk) { d.Spread = 3 * time.Second })
			<-turn
		})
	}
	opening.Wait()
	up := time.Since(begin)
	runtime.GC()
	runtime.ReadMemStats(&after)

	begin = time.Now()
	out, _ := want(t, cli.Done, "send", "upgrade", "--model", "stv1", "--wait", "--json", "--timeout", "1m", "--broker", broker.URL())
	took := time.Since(begin)
	confirmed := 0
	for line := range strings.Lines(out) {
		var b sent
		if err := json.Unmarshal([]byte(line), &b); err != nil {
			t.Fatal(err)
		}
		if b.Outcome != nil && b.Outcome.Result == ota.PhaseConfirmed && b.Code == cli.Done {
			confirmed++
		}
	}
	if confirmed != *fleetSize {
		t.Errorf("%d of %d boxes confirmed", confirmed, *fleetSize)
	}
	const each = 9 // messages of a box: result, three states, four of progress, an event
	n := float64(*fleetSize)
	t.Logf("%d boxes: up in %v (%.0f/s), %.0f KiB of heap and stack each; upgraded in %v (%.0f messages/s)", *fleetSize, up.Round(time.Millisecond), n/up.Seconds(),
		float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/1024/n, took.Round(time.Millisecond), n*each/took.Seconds())
}
