package upgradelink

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ErrNoOffer says that the server has nothing for this box now (code 0): it is
// up to date, or not targeted, or the rollout is paused, full or out of its
// time. The server does not tell which, so it never means "runs the newest".
// It comes wrapped in a refused fault with the code "nothing".
var ErrNoOffer = errors.New("the server has nothing for this box")

// APIError is what the server said when it said no. Code branches, Msg is for
// people and comes in the server's language.
type APIError struct {
	HTTPStatus int
	Code       int    // 401002; 0 when the answer was not the API's JSON
	Msg        string // cleaned of control characters and cut to a line
	Docs       string // advice, often with an address; may be empty
	TraceID    string // 32 hex digits to quote to the vendor; may be empty
}

func (e *APIError) Error() string {
	text := fmt.Sprintf("HTTP status %d", e.HTTPStatus)
	if e.Code != 0 {
		text += fmt.Sprintf(", code %d", e.Code)
	}
	if e.Msg != "" {
		text += ": " + e.Msg
	}
	if e.TraceID != "" {
		text += " (trace " + e.TraceID + ")"
	}
	return text
}

// maxTextRunes bounds what a foreign text may add to a line of a log.
const maxTextRunes = 300

// oneLine makes a foreign text fit for a log line and a terminal.
func oneLine(text string) string {
	var b strings.Builder
	count := 0
	for _, r := range text {
		if count++; count > maxTextRunes {
			b.WriteString("…")
			break
		}
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}
