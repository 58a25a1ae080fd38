package upgradelink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"otad/ota"
)

// Codes that the server puts into its answers.
const (
	codeNothing      = 0
	codeFound        = 200
	codeUnauthorized = 401001
	codeSignature    = 401002
	codeNoApp        = 404001
	codeNoRecord     = 404002
	codeFlowLimit    = 429001
)

// maxAnswerBytes bounds the answer in memory, after decompression.
const maxAnswerBytes = 1 << 20

// maxRetryAfter bounds a wait that the other side asks for.
const maxRetryAfter = 24 * time.Hour

// answer is a success of the API: code 0 or 200.
type answer struct {
	code int
	data json.RawMessage // absent, null, "" or an object
}

// decode reads the data of a found offer or version into v.
func (a *answer) decode(v any) error {
	if len(a.data) == 0 || string(a.data) == "null" {
		return errors.New("it has no data")
	}
	if err := json.Unmarshal(a.data, v); err != nil {
		return fmt.Errorf("its data cannot be read: %w", err)
	}
	return nil
}

// envelope is the frame of every JSON answer. Code is a pointer to tell code 0
// from JSON that is not the API's.
type envelope struct {
	Code    *int            `json:"code"`
	Msg     string          `json:"msg"`
	Docs    string          `json:"docs"`
	TraceID string          `json:"traceId"`
	Data    json.RawMessage `json:"data"`
}

// readAnswer reads the response to its end and classes it. serverTime is what
// a Retry-After date is measured against.
func readAnswer(resp *http.Response, serverTime time.Time) (*answer, *ota.Fault) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, ota.NewTransient(ota.CodeServerUnreachable, fmt.Errorf("the answer broke off: %w", err)).
			WithHint(hintNetwork)
	}
	if len(body) > maxAnswerBytes {
		return nil, ota.NewTransient(ota.CodeServerTrouble, fmt.Errorf("the answer is longer than %d bytes", maxAnswerBytes)).
			WithHint(hintNotTheServer)
	}
	a, fault := classify(resp, body)
	if fault != nil {
		fault.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), serverTime)
	}
	return a, fault
}

// classify tells a success of the API from all the rest. The HTTP status and
// the code inside always agree on a real server. When they do not, somebody in
// between has spoken, and the status counts; only a 200 says nothing by itself.
func classify(resp *http.Response, body []byte) (*answer, *ota.Fault) {
	status := resp.StatusCode
	var e envelope
	isAPI := json.Unmarshal(body, &e) == nil && e.Code != nil
	said := &APIError{HTTPStatus: status}
	if isAPI {
		said.Code, said.Msg = *e.Code, oneLine(e.Msg)
		said.Docs, said.TraceID = oneLine(e.Docs), oneLine(e.TraceID)
		if status == http.StatusOK && (said.Code == codeNothing || said.Code == codeFound) {
			return &answer{code: said.Code, data: e.Data}, nil
		}
		if status == http.StatusOK || said.Code/1000 == status {
			return nil, faultOfCode(said)
		}
	}
	return nil, faultOfStatus(said, resp.Header.Get("Content-Type"), body)
}

// faultOfCode classes an error that the API itself put into words. What a
// wrong key or a wrong request costs is this one call: no offer came, so there
// is none to be remembered as bad, and the fault is refused, not permanent.
func faultOfCode(said *APIError) *ota.Fault {
	switch said.Code {
	case codeSignature:
		return ota.NewRefused(ota.CodeSecret, said).
			WithHint("the secret key is wrong; check [server] secret_key_file")
	case codeNoApp, codeNoRecord:
		return ota.NewRefused(ota.CodeAppUnknown, said).
			WithHint("the server does not know this application key or this version of it; check the key and that it belongs to an application of this kind")
	case codeFlowLimit:
		return rateLimited(said)
	}
	switch said.Code / 1000 {
	case http.StatusTooManyRequests:
		return rateLimited(said)
	case http.StatusNotFound:
		return notSupported(said)
	}
	if said.Code >= 400000 && said.Code < 500000 {
		return ota.NewRefused(ota.CodeServerRefused, said).
			WithHint(strings.TrimSpace("the server did not accept the request; " + said.Docs))
	}
	return ota.NewTransient(ota.CodeServerTrouble, said).WithHint("the trouble is at the server's end; it is asked again later")
}

// faultOfStatus classes an answer that is not the API's JSON: from the server
// in trouble, from a proxy, or from a captive portal.
func faultOfStatus(said *APIError, contentType string, body []byte) *ota.Fault {
	status := said.HTTPStatus
	switch {
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return notSupported(said)
	case status == http.StatusTooManyRequests:
		return rateLimited(said)
	case status == http.StatusRequestEntityTooLarge || status == http.StatusRequestHeaderFieldsTooLarge:
		return ota.NewRefused(ota.CodeServerRefused, said).WithHint("the server did not accept the request")
	case status >= 500:
		return ota.NewTransient(ota.CodeServerTrouble, said).WithHint("the trouble is at the server's end; it is asked again later")
	case status >= 300 && status < 400:
		return ota.NewTransient(ota.CodeServerTrouble, fmt.Errorf("a redirect instead of an answer: %w", said)).
			WithHint(hintNotTheServer)
	case len(body) == 0:
		return ota.NewTransient(ota.CodeServerTrouble, fmt.Errorf("an empty answer: %w", said)).WithHint(hintNotTheServer)
	case isHTML(contentType, body):
		return ota.NewTransient(ota.CodeServerTrouble, fmt.Errorf("a web page instead of an answer: %w", said)).
			WithHint(hintNotTheServer)
	}
	return ota.NewTransient(ota.CodeServerTrouble, fmt.Errorf("not an answer of the API: %w", said)).WithHint(hintNotTheServer)
}

func rateLimited(said *APIError) *ota.Fault {
	return ota.NewTransient(ota.CodeRateLimited, said).
		WithHint("the upgrade task's request limit is reached; it is asked again later")
}

func notSupported(said *APIError) *ota.Fault {
	return ota.NewRefused(ota.CodeNotSupported, said).
		WithHint("this server has no such route: an older UpgradeLink, or not UpgradeLink at all; check [server] url")
}

func isHTML(contentType string, body []byte) bool {
	kind, _, _ := mime.ParseMediaType(contentType)
	return kind == "text/html" || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// retryAfter reads a Retry-After header, seconds or a date.
func retryAfter(text string, serverTime time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		wait = time.Duration(min(seconds, int64(maxRetryAfter/time.Second))) * time.Second
	} else if date, err := http.ParseTime(text); err == nil && !serverTime.IsZero() {
		wait = date.Sub(serverTime)
	}
	return min(max(wait, 0), maxRetryAfter)
}
