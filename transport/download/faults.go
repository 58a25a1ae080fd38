package download

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"regexp"
	"syscall"

	"otad/ota"
	"otad/ota/durable"
)

var (
	errClosedEarly = errors.New("the connection was closed before the end")
	errStalled     = errors.New("the transfer stalled")
	errRedirects   = errors.New("too many redirects")
	errScheme      = errors.New("redirected to something that is neither http nor https")
	errDowngrade   = errors.New("redirected from https to http")
)

// NoSpaceError is the cause of a CodeNoSpace fault: what the staging directory
// must have free, the reserve included and beyond what the file already holds,
// and what it has.
type NoSpaceError struct {
	NeedBytes, FreeBytes int64
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("no space in the staging directory: %d bytes needed, %d available", e.NeedBytes, e.FreeBytes)
}

// saveError marks an error of Request.Save, which is not the network's.
type saveError struct{ error }

func (e *saveError) Unwrap() error { return e.error }

// classed classes what ended the transfer, once. What was judged where it was
// seen keeps its class.
func (a *attempt) classed(err error) error {
	var (
		fault *ota.Fault
		saved *saveError
		local *fs.PathError
	)
	verb := func(err error) error { return fmt.Errorf("cannot download %q: %w", a.object, scrub(err)) }
	switch {
	case errors.As(err, &fault):
		return err
	case errors.As(err, &saved):
		return ota.NewTransient(ota.CodeJournal, err)
	case errors.Is(err, errStalled):
		return ota.NewTransient(ota.CodeDownloadStalled,
			verb(fmt.Errorf("%w: fewer than %d bytes in %v", errStalled, a.f.opt.LowSpeedBytes, a.f.opt.LowSpeedTime)))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		free, _ := durable.FreeBytes(filepath.Dir(a.r.Path)) // 0 if unknown
		return a.noSpace(free)
	case errors.As(err, &local):
		return ota.NewTransient(ota.CodeBoard, fmt.Errorf("cannot store %q: %w", a.object, err)).
			WithHint("check that the staging directory exists, can be written and that its medium is sound")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errClosedEarly
	case errors.Is(err, errRedirects), errors.Is(err, errScheme), errors.Is(err, errDowngrade):
		return ota.NewTransient(ota.CodeDownloadHTTP, verb(err))
	}
	return ota.NewTransient(ota.CodeDownloadNetwork, verb(err))
}

// noSpace is the fault for a directory that filled up under the transfer.
func (a *attempt) noSpace(free int64) *ota.Fault {
	return a.noSpaceFor(a.point.TotalBytes, max(a.point.TotalBytes-a.file.storedBytes, 0)+a.f.opt.ReserveBytes, free)
}

func (a *attempt) noSpaceFor(total, need, free int64) *ota.Fault {
	fault := ota.NewTransient(ota.CodeNoSpace,
		fmt.Errorf("cannot download %q: %w", a.object, &NoSpaceError{NeedBytes: need, FreeBytes: free}))
	fault.NeedBytes = max(need, total+a.f.opt.ReserveBytes)
	return fault
}

func (a *attempt) tooLarge(size int64) *ota.Fault {
	return ota.NewPermanent(ota.CodeFirmwareTooLarge,
		fmt.Errorf("cannot download %q: %d bytes or more, at most %d are allowed", a.object, size, a.r.MaxBytes))
}

func (a *attempt) html() *ota.Fault {
	return ota.NewTransient(ota.CodeFirmwareHTML, fmt.Errorf("cannot download %q: a web page came instead of the file", a.object)).
		WithHint("the network may want somebody to sign in first (captive portal), or the link leads to a page")
}

// redact shows of a URL what is no secret: no user, password, query, fragment.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "unreadable URL"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

var urlInText = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"]*`)

// scrub takes secrets out of the text of a client error, which quotes URLs.
// The chain is kept when the text is clean.
func scrub(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // the verb and URL in front are ours to say
	}
	text := err.Error()
	if clean := urlInText.ReplaceAllStringFunc(text, redact); clean != text {
		return errors.New(clean)
	}
	return err
}
