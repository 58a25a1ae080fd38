package ota

// Span is a piece of a file.
type Span struct{ Offset, Length int64 }

// End is where the byte behind it is.
func (s Span) End() int64 { return s.Offset + s.Length }
