// Package console is the wire of the serial console, both ends of it: the box,
// where a person types verbs and a program sends them ([Serve]), and the desk,
// from where a program drives the box and pushes files ([Client]).
//
// Model: one full-duplex line of bytes that loses, garbles and interleaves.
// Bytes that a program sends travel in frames: one line each, marked, with
// length and CRC, so that what was damaged is noticed and sent again, and
// kernel messages on the same port do no harm. All other bytes belong to a
// person and go through a line editor, which drops everything from the first
// byte that nobody types until the line has been quiet for a moment. A file
// comes in as frames from our own tool, where it resumes, or by YMODEM from any
// terminal program. docs/console.md is the grammar.
//
// Trust: whoever holds the cable may look. Verbs that change something need a
// login when a PIN or a key is configured; wrong ones lock the login for a time
// that doubles. A login belongs to the line until it ends or is idle for long:
// frames after it are checked, not authenticated. What comes in as a file is
// not trusted at all: it is an artifact and is verified as such.
//
// What a verb means, and how its answer reads, is not known here: see [Box] and
// [Face].
package console
