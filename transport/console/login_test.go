package console

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The lock comes with the third wrong answer, doubles, and has an end.
func TestGuardLocks(t *testing.T) {
	t.Parallel()
	g := &guard{login: Login{PIN: "4711", Key: "key"}}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	refused := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Fatalf("got %v, want %q", err, text)
		}
	}
	refused(g.pin("1", now), "not right")
	refused(g.response("", Response("key", ""), now), "not right") // no challenge was given
	for _, lock := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute,
		16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour} {
		refused(g.pin("", now), "not right")
		refused(g.pin("4711", now.Add(lock-time.Second)), "locked")
		now = now.Add(lock)
	}
	if err := g.response("c", Response("key", "c"), now); err != nil {
		t.Fatal(err)
	}
	refused(g.pin("1", now), "not right")
	if err := g.pin("4711", now); err != nil {
		t.Errorf("the count goes on after a right answer: %v", err)
	}
}

func TestNoSecretNoLogin(t *testing.T) {
	t.Parallel()
	g := &guard{}
	now := time.Now()
	if g.pin("", now) == nil || g.response("c", Response("", "c"), now) == nil {
		t.Error("an empty secret opens")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	l := Login{PIN: "4711", Key: "0815"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, l); strings.Contains(text, "4711") || strings.Contains(text, "0815") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}
