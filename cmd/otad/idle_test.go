package main_test

import (
	"encoding/pem"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/transport/mqtt/mqtttest"
)

const (
	// idleBudget is all that may be resident while nothing happens, in KiB.
	idleBudget = 12 << 10
	// wakeBudget is how often threads may go to sleep again in a time in which
	// nothing happens: room for what the runtime does, less than a ticker takes.
	wakeBudget = 9
	// quietTries is how often such a time is waited for, where others make noise.
	quietTries = 5
	systemCAs  = "/etc/ssl/certs/ca-certificates.crt"
)

// TestIdle measures a service that has nothing to do, connected to a broker:
// what is resident and what wakes it. OTAD_IDLE is how long it is watched. With
// TLS it trusts, as by default, whom the system trusts.
func TestIdle(t *testing.T) {
	t.Parallel()
	watch := 6 * time.Second
	if text := os.Getenv("OTAD_IDLE"); text != "" {
		var err error
		watch, err = time.ParseDuration(text)
		must(t, err)
	}
	for _, name := range []string{"tcp", "TLS"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			url, roots := s.api.URL, os.DevNull
			var authority *mqtttest.Authority
			if name == "TLS" {
				var err error
				authority, err = mqtttest.NewAuthority()
				must(t, err)
				server := httptest.NewTLSServer(s.api)
				t.Cleanup(server.Close)
				url, roots = server.URL, filepath.Join(t.TempDir(), "roots.pem")
				bundle, err := os.ReadFile(systemCAs)
				if err != nil {
					t.Log("there are no roots of this system among those that are trusted")
				}
				bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})...)
				must(t, os.WriteFile(roots, append(bundle, authority.RootPEM()...), 0o644))
			}
			broker := mqtttest.NewMosquitto(t, mqtttest.Config{Authority: authority})
			settings := func(every time.Duration, brokers ...string) func(*config.Config) {
				return func(c *config.Config) {
					c.Server.URL, c.MQTT.Brokers = url, brokers
					c.Policy.CheckEvery = config.Duration(every)
				}
			}
			b := newBox(t, s, settings(time.Millisecond))
			b.wrap = []string{"env", "SSL_CERT_FILE=" + roots}
			begin := time.Now()
			service := b.start()
			until(t, "a request", func() bool { return len(s.api.Requests()) > 0 })
			first := s.api.Requests()[0].At.Sub(begin)
			service.kill()

			b.configure(settings(time.Hour, broker.URL()))
			service = b.start()
			until(t, "the broker", func() bool { return strings.Contains(broker.Log(), "otad-") })
			until(t, "rest", func() bool { return raced || statusOf(t, service, "VmRSS") < statusOf(t, service, "VmHWM")*3/4 })
			fresh := statusOf(t, service, "VmHWM")
			wakes := math.MaxInt
			for try := 0; wakes > wakeBudget && try < quietTries && (try == 0 || !raced); try++ {
				before := switchesOf(t, service)
				time.Sleep(watch) // nothing can be waited for: nothing must happen
				wakes = min(wakes, switchesOf(t, service)-before)
			}
			resident := statusOf(t, service, "VmRSS")
			t.Logf("first request after %d ms; %.1f MiB when started, %.1f at rest, %.1f of them its own; %d switches in %v",
				first.Milliseconds(), float64(fresh)/1024, float64(resident)/1024, float64(statusOf(t, service, "RssAnon"))/1024, wakes, watch)
			if !raced && (resident > idleBudget || resident == 0) {
				t.Errorf("%d KiB are resident, more than %d", resident, idleBudget)
			}
			if !raced && watch <= 6*time.Second && wakes > wakeBudget {
				t.Errorf("%d switches in %v, more than %d", wakes, watch, wakeBudget)
			}
		})
	}
}

// until waits for a condition.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s never came", what)
		}
	}
}

// switchesOf counts how often the threads of the service went to sleep.
func switchesOf(t *testing.T, s *service) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.cmd.Process.Pid))
	must(t, err)
	total := 0
	for _, path := range tasks {
		text, _ := os.ReadFile(path) // a thread may end
		total += fieldOf(t, text, "voluntary_ctxt_switches")
	}
	return total
}
