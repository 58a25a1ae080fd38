package control

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otad/ota"
	"otad/ota/durable"
)

const (
	ownTopic   = "otad/stv1/box/cmd"
	groupTopic = "otad/all/cmd"
)

// counter is a desk with its agent, what it answered and what it logged.
type counter struct {
	*Desk
	agent *echo
	log   bytes.Buffer

	mu      sync.Mutex
	answers []Result
}

func newCounter(edit ...func(*Desk)) *counter {
	c := &counter{agent: &echo{}}
	c.Desk = &Desk{Verbs: c.agent, Once: c.agent, Now: time.Now, Own: ownTopic, Device: "box", Spread: time.Minute,
		Log: slog.New(slog.NewTextHandler(&c.log, nil)), Answer: func(r Result) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.answers = append(c.answers, r)
		}}
	for _, e := range edit {
		e(c.Desk)
	}
	c.Open()
	return c
}

// take hands a command in and returns what was answered to it.
func (c *counter) take(t *testing.T, topic, payload string) []Result {
	t.Helper()
	c.answered()
	c.Take(t.Context(), topic, []byte(payload))
	return c.answered()
}

// answered returns the answers since the last call.
func (c *counter) answered() []Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.answers
	c.answers = nil
	return list
}

func TestTake(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, payload string
		answered      bool
		code          ota.Code // "" for OK
	}{
		{"status", `{"v":1,"id":"a","verb":"status"}`, true, ""},
		{"not expired", `{"v":1,"id":"a","verb":"status","expires":"2026-11-22T12:00:01Z"}`, true, ""},
		{"expired", `{"v":1,"id":"a","verb":"status","expires":"2026-11-22T11:59:59Z"}`, true, ota.CodeExpired},
		{"expiry of no time", `{"v":1,"id":"a","verb":"status","expires":"tomorrow"}`, true, ota.CodeUsage},
		{"unknown verb", `{"v":1,"id":"a","verb":"format"}`, true, ota.CodeUsage},
		{"unknown argument", `{"v":1,"id":"a","verb":"upgrade","args":{"nwo":true}}`, true, ota.CodeUsage},
		{"unknown version", `{"v":9,"id":"a","verb":"status"}`, true, ota.CodeUsage},
		{"not taken from a broker", `{"v":1,"id":"a","verb":"install","args":{"source":"/etc/passwd"}}`, true, ota.CodeUsage},
		{"wrong type", `{"v":1,"id":"a","verb":"upgrade","args":{"to":"two"}}`, true, ota.CodeUsage},
		{"two values", `{"v":1,"id":"a","verb":"status"}{}`, true, ota.CodeUsage},
		{"its own topic", `{"v":1,"id":"a","verb":"status","topic":"` + ownTopic + `"}`, true, ""},
		{"the topic of another", `{"v":1,"id":"a","verb":"status","topic":"otad/stv1/other/cmd"}`, true, ota.CodeUsage},
		{"signed, for who asks for no signature", signedBy(t, newKey(t), "a", ownTopic, now.Add(time.Hour)), true, ""},
		{"no id", `{"v":1,"verb":"status"}`, false, ""},
		{"id too long", `{"v":1,"id":"` + strings.Repeat("x", 65) + `","verb":"status"}`, false, ""},
		{"not JSON", `upgrade now!`, false, ""},
		{"empty", ``, false, ""},
		{"not UTF-8", "{\"v\":1,\"id\":\"\xff\",\"verb\":\"status\"}", false, ""},
		{"too long", `{"v":1,"id":"a","verb":"status","args":{"source":"` + strings.Repeat("x", maxCommand) + `"}}`, false, ""},
		{"a mebibyte", strings.Repeat(`{"id":"a"}`, 1<<20/10), false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			desk := newCounter(func(d *Desk) { d.Now = func() time.Time { return now } })
			answers := desk.take(t, ownTopic, c.payload)
			if !c.answered {
				if len(answers) != 0 || desk.agent.count() != 0 {
					t.Errorf("answered with %+v", answers)
				}
				return
			}
			if len(answers) != 1 || answers[0].Code != c.code || answers[0].ID != "a" {
				t.Fatalf("answered with %+v, want code %q", answers, c.code)
			}
			if followed := desk.agent.count() == 1; followed != (c.code == "") {
				t.Errorf("acted on %d times", desk.agent.count())
			}
		})
	}
}

// A repetition is answered with what was answered before, and acted on once;
// after a restart it is ignored.
func TestTakeOnce(t *testing.T) {
	t.Parallel()
	desk := newCounter()
	for range 3 {
		if answers := desk.take(t, ownTopic, `{"v":1,"id":"a","verb":"check"}`); len(answers) != 1 || !answers[0].OK {
			t.Errorf("answered with %+v", answers)
		}
	}
	restarted := newCounter(func(d *Desk) { d.Verbs, d.Once = desk.agent, desk.agent })
	if answers := restarted.take(t, ownTopic, `{"v":1,"id":"a","verb":"check"}`); len(answers) != 0 {
		t.Errorf("after a restart: %+v", answers)
	}
	if n := desk.agent.count(); n != 1 {
		t.Errorf("acted on %d times, want once", n)
	}
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signedBy makes a signed `cancel`, whatever its bounds.
func signedBy(t testing.TB, key ed25519.PrivateKey, id, topic string, expires time.Time) string {
	t.Helper()
	return envelope(t, key, fmt.Sprintf(`{"v":1,"id":%q,"verb":"cancel","topic":%q,"expires":%q}`, id, topic, expires.Format(time.RFC3339)))
}

func envelope(t testing.TB, key ed25519.PrivateKey, command string) string {
	t.Helper()
	data, err := json.Marshal(Signed{V: 1, Signed: []byte(command), Signature: ed25519.Sign(key, []byte(command))})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// What a broken-into broker may try against a box that trusts one key.
func TestSignedCommands(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	hour := time.Now().Add(time.Hour)
	forged := strings.Replace(signedBy(t, key, "a", ownTopic, hour), `"signature":"`, `"signature":"AAAA`, 1)
	for _, c := range []struct {
		name, topic, payload string
		code                 ota.Code
	}{
		{"signed", ownTopic, signedBy(t, key, "a", ownTopic, hour), ""},
		{"signed for the group", groupTopic, signedBy(t, key, "a", groupTopic, hour), ""},
		{"unsigned", ownTopic, `{"v":1,"id":"a","verb":"cancel"}`, ota.CodeArtifactUntrusted},
		{"by another key", ownTopic, signedBy(t, other, "a", ownTopic, hour), ota.CodeArtifactUntrusted},
		{"damaged", ownTopic, forged, ota.CodeArtifactUntrusted},
		{"no signature", ownTopic, strings.Split(signedBy(t, key, "a", ownTopic, hour), `,"signature"`)[0] + "}", ota.CodeArtifactUntrusted},
		{"of another box", ownTopic, signedBy(t, key, "a", "otad/stv1/other/cmd", hour), ota.CodeUsage},
		{"of one box, sent to all", groupTopic, signedBy(t, key, "a", ownTopic, hour), ota.CodeUsage},
		{"kept for later", ownTopic, signedBy(t, key, "a", ownTopic, time.Now().Add(-time.Minute)), ota.CodeExpired},
		{"for ever", ownTopic, signedBy(t, key, "a", ownTopic, time.Now().Add(maxAhead+time.Hour)), ota.CodeUsage},
		{"without expiry", ownTopic, envelope(t, key, `{"v":1,"id":"a","verb":"cancel","topic":"`+ownTopic+`"}`), ota.CodeUsage},
		{"without topic", ownTopic, envelope(t, key, `{"v":1,"id":"a","verb":"cancel","expires":"`+hour.Format(time.RFC3339)+`"}`), ota.CodeUsage},
		{"envelope of tomorrow", ownTopic, strings.Replace(signedBy(t, key, "a", ownTopic, hour), `{"v":1`, `{"v":2`, 1), ota.CodeUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			desk := newCounter(func(d *Desk) {
				d.Keys, d.Spread = CommandKeys{key.Public().(ed25519.PublicKey)}, 0
			})
			answers := desk.take(t, c.topic, c.payload)
			if len(answers) != 1 || answers[0].Code != c.code || answers[0].ID != "a" {
				t.Fatalf("answered with %+v, want code %q", answers, c.code)
			}
			if followed := desk.agent.count() == 1; followed != (c.code == "") {
				t.Errorf("acted on %d times", desk.agent.count())
			}
		})
	}
}

func TestSignAndParseKeys(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	file := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	keys, err := ParseCommandKeys(file)
	if err != nil || len(keys) != 1 || !keys[0].Equal(key.Public()) {
		t.Fatalf("read %v, %v", keys, err)
	}
	for name, bad := range map[string][]byte{"empty": nil, "no key": []byte("hello"),
		"not a key": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})} {
		if _, err := ParseCommandKeys(file, bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	expires := time.Now().Add(time.Minute)
	c := Command{V: Version, ID: "a", Verb: Upgrade, Args: Args{Now: true}, Topic: ownTopic, Expires: &expires}
	payload, err := Sign(key, c)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := keys.read(ownTopic, payload, time.Now()); err != nil || got.ID != "a" || !got.Args.Now {
		t.Errorf("read back as %+v, %v", got, err)
	}
	c.Topic = ""
	if _, err := Sign(key, c); err == nil {
		t.Error("signed a command that works everywhere")
	}
}

// A group's boxes follow one after the other, each once, within the spread.
func TestGroupIsSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const boxes = 200
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		var mu sync.Mutex
		early, last := 0, time.Duration(0)
		for i := range boxes {
			desk := newCounter(func(d *Desk) { d.Device = fmt.Sprint("box", i) })
			desk.Desk.Answer = func(r Result) {
				mu.Lock()
				defer mu.Unlock()
				after := time.Since(begin)
				last = max(last, after)
				if after < 30*time.Second {
					early++
				}
			}
			go desk.Run(ctx)
			for range 3 { // the broker brings it again
				desk.Take(ctx, groupTopic, []byte(`{"v":1,"id":"g","verb":"upgrade"}`))
			}
			if desk.agent.count() != 0 {
				t.Error("followed at once")
			}
			defer func() {
				if n := desk.agent.count(); n != 1 {
					t.Errorf("box %d acted %d times", i, n)
				}
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		cancel()
		if early < boxes/3 || early > boxes*2/3 || last < 50*time.Second || last > time.Minute {
			t.Errorf("%d of %d boxes followed in the first half, the last one after %v", early, boxes, last)
		}
	})
}

func TestWaitingCommands(t *testing.T) {
	t.Parallel()
	upgrade := func(id string) string { return `{"v":1,"id":"` + id + `","verb":"upgrade"}` }
	for _, c := range []struct {
		name   string
		then   func(*testing.T, *counter) []Result // with "g" waiting
		code   ota.Code                            // of the answer to "g", at the end
		action []string                            // verbs that reach the agent in the end
	}{
		{"left alone", func(*testing.T, *counter) []Result { return nil }, "", []string{"upgrade"}},
		{"replaced", func(t *testing.T, d *counter) []Result { return d.take(t, groupTopic, upgrade("h")) }, ota.CodeCancelled, []string{"upgrade"}},
		{"cancelled", func(t *testing.T, d *counter) []Result {
			return d.take(t, ownTopic, `{"v":1,"id":"c","verb":"cancel"}`)
		}, ota.CodeCancelled, []string{"cancel"}},
		{"looked at", func(t *testing.T, d *counter) []Result {
			return d.take(t, groupTopic, `{"v":1,"id":"s","verb":"status"}`)
		}, "", []string{"status", "upgrade"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				desk := newCounter()
				go desk.Run(ctx)
				if answers := desk.take(t, groupTopic, upgrade("g")); len(answers) != 0 {
					t.Fatalf("answered at once: %+v", answers)
				}
				answers := c.then(t, desk)
				time.Sleep(time.Minute)
				synctest.Wait()
				found := false
				for _, r := range append(answers, desk.answered()...) {
					if r.ID == "g" {
						found = true
						if r.Code != c.code {
							t.Errorf("answered with %+v, want code %q", r, c.code)
						}
					}
				}
				if !found {
					t.Error("the waiting command was never answered")
				}
				var verbs []string
				for _, r := range desk.agent.asked {
					verbs = append(verbs, r.Verb)
				}
				if fmt.Sprint(verbs) != fmt.Sprint(c.action) {
					t.Errorf("the agent was asked %v, want %v", verbs, c.action)
				}
			})
		})
	}
}

// A command that waits outlives a restart, and does not wait beyond its expiry.
func TestWaitingOutlivesRestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "waiting")
	synctest.Test(t, func(t *testing.T) {
		first := newCounter(func(d *Desk) { d.File = file })
		begin := time.Now()
		expires := begin.Add(10 * time.Second).Format(time.RFC3339Nano)
		first.take(t, groupTopic, `{"v":1,"id":"g","verb":"check","expires":"`+expires+`"}`)
		second := newCounter(func(d *Desk) { d.File = file })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go second.Run(ctx)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if answers := second.answered(); len(answers) != 1 || !answers[0].OK {
			t.Errorf("after the restart: %+v", answers)
		}
		if list, err := readWaiting(durable.OS, file); err != nil || len(list) != 0 {
			t.Errorf("still waiting: %v, %v", list, err)
		}
	})
}

// A flood costs bounded memory, few acts and one line in the log a minute.
func TestFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newCounter()
		codes := map[ota.Code]int{}
		desk.Desk.Answer = func(r Result) { codes[r.Code]++ }
		for i := range 10_000 {
			desk.Take(t.Context(), groupTopic, fmt.Appendf(nil, `{"v":1,"id":"i%d","verb":"%s"}`, i, []string{"upgrade", "check", "cancel", "boom"}[i%4]))
			if i%500 == 0 {
				time.Sleep(time.Second)
			}
		}
		if n := desk.agent.count(); n > burst+20 {
			t.Errorf("acted %d times", n)
		}
		if codes[ota.CodeRateLimited] < 9_900 || len(desk.answered()) > 0 || len(desk.Desk.answered) > maxAnswers || len(desk.waiting) > len(spread) {
			t.Errorf("answered %v, remembers %d, %d wait", codes, len(desk.Desk.answered), len(desk.waiting))
		}
		if n := strings.Count(desk.log.String(), "not followed"); n > 1 {
			t.Errorf("%d lines in the log:\n%.2000s", n, desk.log.String())
		}
		time.Sleep(time.Minute)
		desk.take(t, ownTopic, `{"v":1,"id":"later","verb":"status"}`)
		if desk.agent.asked[len(desk.agent.asked)-1].By != "mqtt:later" {
			t.Error("the desk is closed after the flood")
		}
	})
}

func TestHostileMemory(t *testing.T) {
	desk := newCounter()
	long := []byte(`{"v":1,"id":"a","verb":"` + strings.Repeat("x", 1<<20) + `"}`)
	deep := []byte(strings.Repeat("[", maxCommand))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 10_000 {
		desk.Take(t.Context(), ownTopic, long)
		desk.Take(t.Context(), ownTopic, deep)
	}
	runtime.ReadMemStats(&after)
	if total := after.TotalAlloc - before.TotalAlloc; total > 64<<20 {
		t.Errorf("20000 hostile messages took %d KiB in all", total>>10)
	}
}

func FuzzTake(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"a","verb":"status"}`))
	f.Add([]byte(`{"v":1,"id":"a","verb":"upgrade","args":{"to":1,"now":true},"expires":"2026-11-22T12:00:01Z"}`))
	f.Add([]byte(`{"v":1,"id":1}`))
	f.Add([]byte(signedBy(f, newKey(f), "a", ownTopic, time.Now().Add(time.Hour))))
	f.Fuzz(func(t *testing.T, payload []byte) {
		desk := newCounter()
		answers := desk.take(t, ownTopic, string(payload))
		if len(answers) > 1 {
			t.Fatalf("%d answers", len(answers))
		}
		for _, r := range answers {
			if r.ID == "" || r.OK != (desk.agent.count() == 1) {
				t.Errorf("answered %+v, acted on %d times", r, desk.agent.count())
			}
			if _, err := json.Marshal(r); err != nil {
				t.Errorf("the result cannot be sent: %v", err)
			}
		}
	})
}
