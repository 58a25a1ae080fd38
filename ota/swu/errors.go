package swu

import (
	"errors"
	"fmt"
)

// Kind classes an [Error]. The strings equal the codes of package ota, so the
// install engine maps them one to one.
type Kind string

const (
	// Damaged: not a whole artifact: truncated, malformed, a check sum is wrong.
	Damaged Kind = "artifact-damaged"
	// Unsupported: well-formed, but it asks for something that is not done.
	Unsupported Kind = "artifact-unsupported"
	// BadSignature: unsigned, the signature does not match the description, or
	// a payload is not bound by the signed description.
	BadSignature Kind = "artifact-signature"
	// Untrusted: the signature matches, but the signer is not trusted, or not
	// at this time.
	Untrusted Kind = "artifact-untrusted"
	// BadHash: a payload differs from the hash in the description.
	BadHash Kind = "artifact-hash"
	// WrongHardware: for another model or revision.
	WrongHardware Kind = "wrong-hardware"
)

// Error is the one error type of the package. Errors of the caller's own
// reader, writer or context come back unchanged or wrapped, never as an Error.
type Error struct {
	Kind  Kind
	Entry string // the cpio entry that is at fault; empty when it is the archive
	Line  int    // the line in that entry, from 1; 0 when it has none
	Hint  string // likely causes, one sentence for a person; may be empty
	Err   error  // the cause
}

func (e *Error) Error() string {
	switch {
	case e.Line > 0:
		return fmt.Sprintf("cannot use artifact: %s line %d: %s", e.Entry, e.Line, e.Err)
	case e.Entry != "":
		return fmt.Sprintf("cannot use artifact: entry %q: %s", e.Entry, e.Err)
	}
	return fmt.Sprintf("cannot use artifact: %s", e.Err)
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the [Error] inside err, or "".
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// archiveError makes an Error about the archive, or about one entry of it.
func archiveError(kind Kind, entry, format string, args ...any) *Error {
	return &Error{Kind: kind, Entry: entry, Err: fmt.Errorf(format, args...)}
}

// lineError makes an Error about a line of the description.
func lineError(kind Kind, line int, format string, args ...any) *Error {
	return &Error{Kind: kind, Entry: DescriptionName, Line: line, Err: fmt.Errorf(format, args...)}
}

func (e *Error) withHint(hint string) *Error {
	e.Hint = hint
	return e
}
