// Package cli is what the three programs share at their face: a table of
// commands, errors and hints on standard error, answers on standard output,
// and the exit codes.
//
// A command gets an [Env] and returns an error; the mapping from errors to
// exit codes is here and nowhere else.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"otad/ota"
)

// Exit codes. Callers treat an unknown code as Failed; 2 is left to the Go
// runtime.
const (
	Done         = 0
	Failed       = 1
	Nothing      = 3
	RebootNeeded = 4
	BadConfig    = 10
	Locked       = 11
	NotTrusted   = 12
	Usage        = 64
	Interrupted  = 130
)

// Env is what a command may touch of the outside.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer // answers
	Stderr io.Writer // all the rest
}

// Command is one verb of a program.
type Command struct {
	Name    string
	Args    string // "[--json] FILE", for the usage line
	Summary string // one line for the table
	Run     func(ctx context.Context, env Env, args []string) error
}

// Exit is an error that asks for an exit code and prints nothing more.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// UsageError says that the command line is wrong.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{Text: fmt.Sprintf(format, args...)}
}

// Main runs the command that args name and returns the exit code. An interrupt
// or SIGTERM cancels the command's context; a second one kills the process.
func Main(program, about string, env Env, commands []Command, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		out, code := env.Stdout, Done
		if len(args) == 0 {
			out, code = env.Stderr, Usage
		}
		printUsage(out, program, about, commands)
		return code
	}
	for _, c := range commands {
		if c.Name == args[0] {
			out := &counter{w: env.Stdout}
			err := c.Run(ctx, Env{Stdin: env.Stdin, Stdout: out, Stderr: env.Stderr}, args[1:])
			if wantsJSON(args[1:]) && out.bytes == 0 {
				printError(env.Stdout, err)
			}
			return finish(ctx, program, env, c, err)
		}
	}
	fmt.Fprintf(env.Stderr, "%s: cannot run %q: no such command\n", program, args[0])
	fmt.Fprintf(env.Stderr, "hint: `%s help` lists the commands\n", program)
	return Usage
}

func printUsage(w io.Writer, program, about string, commands []Command) {
	fmt.Fprintf(w, "%s: %s\n\nusage: %s COMMAND [ARGUMENTS]\n\n", program, about, program)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(tw, "  %s\t%s\n", strings.TrimSpace(c.Name+" "+c.Args), c.Summary)
	}
	tw.Flush()
}

// counter knows whether anything was answered.
type counter struct {
	w     io.Writer
	bytes int
}

// Unwrap is the writer behind, for those who ask whether it is a terminal.
func (c *counter) Unwrap() io.Writer { return c.w }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += len(p)
	return c.w.Write(p)
}

func wantsJSON(args []string) bool {
	return slices.Contains(args, "--json") || slices.Contains(args, "-json")
}

// printError is the answer in JSON of a command that has no other: the same
// members as a refused request has at every door.
func printError(w io.Writer, err error) {
	var exit Exit
	f := ota.FaultOf(err)
	if f == nil || errors.As(err, &exit) || errors.As(err, new(*helpError)) {
		return
	}
	if errors.As(err, new(*UsageError)) {
		f = ota.NewRefused(ota.CodeUsage, err)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(struct { // a terminal that is gone is nobody's loss
		OK   bool     `json:"ok"`
		Code ota.Code `json:"code"`
		Text string   `json:"text"`
		Hint string   `json:"hint,omitempty"`
	}{false, f.Code, f.Error(), f.Hint})
}

func finish(ctx context.Context, program string, env Env, c Command, err error) int {
	var usage *UsageError
	var exit Exit
	var help *helpError
	switch {
	case err == nil:
		return Done
	case errors.As(err, &help):
		help.print(env.Stdout)
		return Done
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage):
		fmt.Fprintf(env.Stderr, "%s %s: %s\nusage: %s %s\n", program, c.Name, usage.Text,
			program, strings.TrimSpace(c.Name+" "+c.Args))
		return Usage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintf(env.Stderr, "%s %s: interrupted\n", program, c.Name)
		return Interrupted
	}
	Report(env.Stderr, program+" "+c.Name, err)
	return ExitCode(err)
}

// Report prints err for a person: the text, then the hint if there is one.
func Report(w io.Writer, who string, err error) {
	fmt.Fprintf(w, "%s: %s\n", who, err)
	if f := ota.FaultOf(err); f.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.Hint)
	}
}

// ExitCode maps an error to the exit code of the program.
func ExitCode(err error) int {
	if err == nil {
		return Done
	}
	switch ota.FaultOf(err).Code {
	case ota.CodeNothing, ota.CodeNotNow, ota.CodeBadOffer:
		return Nothing
	case ota.CodeConfig:
		return BadConfig
	case ota.CodeLocked:
		return Locked
	case ota.CodeArtifactSignature, ota.CodeArtifactUntrusted, ota.CodeArtifactHash:
		return NotTrusted
	case ota.CodeUsage:
		return Usage
	}
	return Failed
}

// Flags makes the flag set of a command. It prints nothing by itself: Parse
// returns what is wrong, and Main prints it.
func Flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// helpError is a request for the options of a command.
type helpError struct{ fs *flag.FlagSet }

func (*helpError) Error() string { return flag.ErrHelp.Error() }

func (e *helpError) print(w io.Writer) {
	fmt.Fprintf(w, "options of %s:\n", e.fs.Name())
	e.fs.SetOutput(w)
	e.fs.PrintDefaults()
}

// Parse parses args into fs, options and operands in any order, and returns
// the operands; fewer than min or more than max of them are a usage error.
func Parse(fs *flag.FlagSet, args []string, min, max int) ([]string, error) {
	var operands []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, &helpError{fs}
			}
			return nil, &UsageError{Text: err.Error()}
		}
		args = fs.Args()
		if len(args) == 0 {
			break
		}
		operands = append(operands, args[0])
		args = args[1:]
	}
	if len(operands) < min {
		return nil, Usagef("missing operand")
	}
	if len(operands) > max {
		return nil, Usagef("unexpected operand %q", operands[max])
	}
	return operands, nil
}
