package console

import "time"

// maxLine bounds what a person types before Enter.
const maxLine = 256

// quietAfterNoise is how long the line must be silent before typed bytes count
// again.
const quietAfterNoise = 300 * time.Millisecond

// Keys that mean something.
const (
	keyInterrupt = 0x03 // ^C
	keyBackspace = 0x08
	keyTab       = 0x09
	keyNewline   = 0x0a
	keyEnter     = 0x0d
	keyKill      = 0x15 // ^U
	keyEscape    = 0x1b
	keyDelete    = 0x7f
)

// editor makes lines of what a person types. A byte that nobody types is noise:
// it voids the line, and the editor stays deaf until there was silence, so a
// line that is obeyed had nothing but keys around it.
type editor struct {
	line   []byte
	hidden bool // do not echo: a PIN
	escape byte // 0, or how far an escape sequence of a key is: ESC, then '['
	after  byte // the byte before this one
	deaf   bool
	quiet  time.Duration // that ends being deaf
	heard  time.Time     // when the last byte came
}

// What a byte made of the line.
type pressed int

const (
	pressedNothing pressed = iota
	pressedEnter           // the line is complete
	pressedInterrupt
)

// feed takes a byte that came at now and returns what to echo. The line of
// pressedEnter is valid until the next feed.
func (e *editor) feed(b byte, now time.Time) (echo string, what pressed) {
	silence := now.Sub(e.heard)
	e.heard = now
	if e.deaf {
		if silence < e.quiet {
			return "", pressedNothing
		}
		e.deaf = false
	}
	after := e.after
	e.after = b
	if e.escape != 0 {
		e.inEscape(b)
		return "", pressedNothing
	}
	switch {
	case b == keyNewline && after == keyEnter: // the second half of CR LF
		return "", pressedNothing
	case b == keyEnter || b == keyNewline:
		return "\n", pressedEnter
	case b == keyInterrupt:
		e.line = e.line[:0]
		return "^C\n", pressedInterrupt
	case b == keyKill:
		n := len(e.line)
		e.line = e.line[:0]
		return e.erase(n), pressedNothing
	case b == keyBackspace || b == keyDelete:
		n := min(1, len(e.line))
		e.line = e.line[:len(e.line)-n]
		return e.erase(n), pressedNothing
	case b == keyEscape:
		e.escape = keyEscape
	case b == keyTab: // nothing to complete
	case b < 0x20 || b >= 0x80 || len(e.line) == maxLine:
		e.deafen(quietAfterNoise)
	default:
		e.line = append(e.line, b)
		if !e.hidden {
			return string(b), pressedNothing
		}
	}
	return "", pressedNothing
}

// inEscape skips what a cursor or function key sends.
func (e *editor) inEscape(b byte) {
	switch {
	case b < 0x20 || b >= 0x7f:
		e.escape = 0
		e.deafen(quietAfterNoise)
	case e.escape == keyEscape && (b == '[' || b == 'O'):
		e.escape = '['
	case e.escape == keyEscape || b >= 0x40: // its last byte
		e.escape = 0
	}
}

// deafen voids the line and what comes until the line was quiet.
func (e *editor) deafen(quiet time.Duration) {
	e.line, e.deaf, e.quiet = e.line[:0], true, quiet
}

func (e *editor) erase(n int) string {
	if e.hidden {
		return ""
	}
	out := make([]byte, 0, 3*n)
	for range n {
		out = append(out, "\b \b"...)
	}
	return string(out)
}

// take returns the complete line and begins the next one.
func (e *editor) take() string {
	line := string(e.line)
	e.line = e.line[:0]
	return line
}
