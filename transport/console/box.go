package console

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"slices"

	"otad/ota"
)

// Box is what stands behind the console.
type Box interface {
	// Do acts on a verb; args is a JSON object, or nil. It returns the data of
	// the answer, or a fault. It may take as long as a server takes. who stands
	// at the line, for the box's audit.
	Do(ctx context.Context, who, verb string, args json.RawMessage) (json.RawMessage, error)
	// Audit remembers what was settled at the console itself: a login, a verb
	// refused for want of one, a file; a nil verdict is "done".
	Audit(who, verb string, verdict error)
	// Tail calls each with the last n lines of the box's log, as many as the box
	// likes for 0, and then with those that come, until it returns false.
	Tail(ctx context.Context, n int, each func(lines []string) bool) error
	// Follow calls each with the state, as `status` answers it, now and at
	// every change until it returns false. io.EOF when the box ends, as it does
	// before a restart.
	Follow(ctx context.Context, each func(state json.RawMessage) bool) error
	// Ready returns nil when a file may come in and take the place of the one
	// before: no update uses that one.
	Ready(ctx context.Context) error
}

// Face is how the box reads to a person.
type Face interface {
	// Help lists the verbs, a line each.
	Help() string
	// Parse understands a typed line; what it does not is a fault of CodeUsage.
	Parse(words []string) (Command, error)
	// Say writes the data that Do answered to c.
	Say(w io.Writer, c Command, data json.RawMessage)
	// Log writes lines of the log.
	Log(w io.Writer, lines []string)
	// Progress returns what shows each state of the update that first, an
	// answer of Do, tells of. It returns false at the end, which it has told. A
	// live terminal redraws a line after a carriage return.
	Progress(w io.Writer, first json.RawMessage, live bool) (show func(state json.RawMessage) (more bool))
}

// Command is a typed line, understood.
type Command struct {
	Verb     string
	Args     json.RawMessage
	Question string // must be answered with yes first; "" for none
	Wait     bool   // follow the update to its end
	Tail     bool   // show the log as it comes, the last Lines first, until a key
	Lines    int
}

// Options are all of a console on the box.
type Options struct {
	Port     string // its name, for the log
	Open     func() (io.ReadWriteCloser, error)
	Box      Box
	Face     Face
	ReadOnly []string // the verbs that need no login
	Login    Login
	Inbox    Inbox
	Dumb     bool // the terminal cannot redraw a line, until `terminal vt100`
	Log      *slog.Logger
}

func (o *Options) changes(verb string) bool { return !slices.Contains(o.ReadOnly, verb) }

// Version of requests and replies.
const Version = 1

// The verbs of the line itself. All others are the box's.
const (
	verbHello  = "hello"  // data: Greeting
	verbLogin  = "login"  // args: response or pin
	verbLogout = "logout" // ends the login of the line
	verbPush   = "push"   // args: pushArgs; data: pushData
	verbPushed = "pushed" // the file is through; data: Pushed
)

// Request is what a program asks: a verb with its arguments, or the words that
// a person would type.
type Request struct {
	V     int             `json:"v"`
	Verb  string          `json:"verb,omitempty"`
	Args  json.RawMessage `json:"args,omitempty"`
	Words []string        `json:"words,omitempty"`
}

// Reply answers a Request, in the same form as at the box's other doors.
type Reply struct {
	V    int             `json:"v"`
	OK   bool            `json:"ok"`
	Code ota.Code        `json:"code,omitempty"`
	Text string          `json:"text,omitempty"`
	Hint string          `json:"hint,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
	Said string          `json:"said,omitempty"` // the data for a person; only when words were asked
}

// Greeting is how the box presents itself.
type Greeting struct {
	Protocol  int    `json:"protocol"`
	Login     string `json:"login"`     // "open": not needed; "needed"; "done"
	Challenge string `json:"challenge"` // for a login with the key; good for one try
	Block     int    `json:"block"`     // bytes of a file in one frame
	Window    int    `json:"window"`    // frames of a file under way at once
}

type loginArgs struct {
	Response string `json:"response,omitempty"`
	PIN      string `json:"pin,omitempty"`
}

type pushArgs struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`          // of the whole file, in hex
	Fresh  bool   `json:"fresh,omitempty"` // forget what is there
}

// pushData says what is there already.
type pushData struct {
	Offset int64  `json:"offset"`
	SHA256 string `json:"sha256"` // of the bytes before offset
}

// Pushed is where a pushed file is on the box.
type Pushed struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

func failed(err error) Reply {
	f := ota.FaultOf(err)
	return Reply{V: Version, Code: f.Code, Text: f.Error(), Hint: f.Hint}
}

func succeeded(data any) Reply {
	raw, err := json.Marshal(data)
	if err != nil {
		return failed(err)
	}
	return Reply{V: Version, OK: true, Data: raw}
}
