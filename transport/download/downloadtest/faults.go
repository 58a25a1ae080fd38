package downloadtest

import "time"

// Faults is how a file misbehaves; the zero value is a file in good order.
// Numbers that name a place are offsets into the file.
type Faults struct {
	// The answer.
	Status       int           // answer this status to everything, 404 say; 0 for none
	Busy         int           // answer 503 this many times
	RetryAfter   time.Duration // sent with Status and Busy, in seconds; 0 for none
	HTML         bool          // answer 200 and a web page to everything
	Redirect     string        // answer 302 to this URL
	RedirectSelf bool          // answer 302 to the file itself: a loop

	// Ranges and validators.
	NoRanges          bool // answer 200 to a range request, and do not advertise ranges
	IgnoreRange       bool // answer 200 to a range request, although ranges are advertised
	Many              Vice // of answers to several ranges
	IgnoreIfRange     bool // answer 206 whatever the validator in If-Range is
	WrongContentRange bool // answer 206 from a byte further on than asked for, and say so
	NoValidators      bool // neither ETag nor Last-Modified
	WeakETag          bool // a weak ETag and no Last-Modified
	FreshLastModified bool // no ETag, and Last-Modified is now

	// The body.
	NoLength bool    // chunked, no Content-Length
	ShortBy  int64   // the file lacks so many bytes at its end, consistently
	Flip     []int64 // these bytes are inverted
	Endless  bool    // chunked, and never ends
	Rate     int64   // bytes per second, 0 for no bound
	Cut      *Cut    // the connection is cut
	Silence  *Silence
	Change   *Change
}

// Cut ends connections.
type Cut struct {
	At    int64 // before this byte of the file is sent
	After bool  // At counts from the start of each answer instead
	Times int   // so often; negative: always
	Reset bool  // by TCP reset instead of an orderly close
}

// Silence sends nothing for a while, once, before byte At is sent.
type Silence struct {
	At  int64
	For time.Duration
}

// Change puts other content, with its own ETag, in place of the file, once,
// before byte At is sent, and cuts the connection.
type Change struct {
	At int64
	To Content
}

// Stats is what a file was asked for.
type Stats struct {
	Requests    int64
	Active      int64   // being answered now; a client that left is noticed late
	BytesServed int64   // of bodies, handed to the connection; it may not have arrived
	Offsets     []int64 // at which the answers with a body began, the last 1024
}
