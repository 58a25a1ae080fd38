package mqtt

import (
	"fmt"
	"io"
	"log/slog"
)

const hidden = "[hidden]"

// Password is a secret text that no formatting verb, log or encoder prints.
// The zero value is no password.
type Password struct {
	text *string // a pointer, so that printing a struct around it shows an address
}

// NewPassword hides text in a Password. An empty text is no password.
func NewPassword(text string) Password {
	if text == "" {
		return Password{}
	}
	return Password{text: &text}
}

func (p Password) isSet() bool { return p.text != nil }

// reveal is for the CONNECT packet only.
func (p Password) reveal() string {
	if p.text == nil {
		return ""
	}
	return *p.text
}

// Format implements [fmt.Formatter] for all verbs.
func (p Password) Format(s fmt.State, _ rune) { io.WriteString(s, hidden) }

// LogValue implements [slog.LogValuer].
func (p Password) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText implements [encoding.TextMarshaler].
func (p Password) MarshalText() ([]byte, error) { return []byte(hidden), nil }
