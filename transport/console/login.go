package console

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"otad/ota"
)

// Secret is a PIN or a key. It prints as a word, never as itself.
type Secret string

func (Secret) String() string   { return "secret" }
func (Secret) GoString() string { return "secret" }

// Login says who may change things at the console. With neither set, everybody
// who holds the cable may.
type Login struct {
	PIN Secret // for people; programs may use it too
	Key Secret // for programs: challenge and response
}

func (l Login) needed() bool { return l.PIN != "" || l.Key != "" }

// The first maxWrong-1 wrong answers cost nothing; each later one locks the
// login for a time that doubles from firstLock to lastLock.
const (
	maxWrong  = 3
	firstLock = 30 * time.Second
	lastLock  = time.Hour
)

// guard checks logins. It outlives the sessions of a port, so that pulling the
// cable does not lift a lock. Safe for concurrent use.
type guard struct {
	login  Login
	mu     sync.Mutex
	wrong  int
	locked time.Time // until
}

// newChallenge is a text that was never used before.
func newChallenge() string { return rand.Text() }

// Response is what a program that holds key answers to challenge.
func Response(key Secret, challenge string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("otad console 1\n" + challenge))
	return hex.EncodeToString(mac.Sum(nil))
}

// pin checks what a person typed.
func (g *guard) pin(typed string, now time.Time) error {
	return g.check(g.login.PIN != "", []byte(g.login.PIN), []byte(typed), now)
}

// response checks what a program made of challenge.
func (g *guard) response(challenge, answer string, now time.Time) error {
	usable := g.login.Key != "" && challenge != ""
	return g.check(usable, []byte(Response(g.login.Key, challenge)), []byte(answer), now)
}

func (g *guard) check(usable bool, want, got []byte, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.locked.Sub(now); wait > 0 {
		return ota.NewRefused(ota.CodeLogin, fmt.Errorf("cannot log in: locked after %d wrong answers, try again in %s",
			g.wrong, wait.Round(time.Second)))
	}
	if usable && subtle.ConstantTimeCompare(want, got) == 1 {
		g.wrong = 0
		return nil
	}
	g.wrong++
	if over := g.wrong - maxWrong; over >= 0 {
		g.locked = now.Add(min(lastLock, firstLock<<min(over, 10)))
	}
	return ota.NewRefused(ota.CodeLogin, errors.New("cannot log in: that is not right"))
}
