package upgradelink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"otad/ota"
)

// Options say which server to ask, and as whom.
type Options struct {
	// BaseURL is the server's scheme and host, "https://api.example.com";
	// a path is not possible because the request target is signed.
	BaseURL   string
	AccessKey string
	Secret    Secret
	// HTTP carries proxy, certificates and time-outs; nil is a client with
	// a time-out of 30 s. It is not changed, and redirects are not followed.
	// On a box whose clock may be wrong its TLS configuration needs a Time.
	HTTP *http.Client
	// Now is the local clock; nil is time.Now.
	Now func() time.Time
	// Offset is the server's clock minus the local one as an earlier run
	// learned it; 0 when it did not.
	Offset time.Duration
}

// Client asks one server with one access key. It is safe for concurrent use.
type Client struct {
	base      string
	accessKey string
	// sign closes over the secret, so that no printing of a Client shows it.
	sign  func(body []byte, nonce, timestamp, uri string) string
	http  *http.Client
	clock clock
}

const defaultTimeout = 30 * time.Second

// New makes a client. It does not touch the network; what is wrong with the
// options is a fault with the code "config".
func New(o Options) (*Client, error) {
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, configFault(fmt.Errorf("cannot use server address %q: %w", redacted(o.BaseURL), err),
			`[server] url is a scheme and a host, such as "https://api.example.com"`)
	}
	if !isHeaderToken(o.AccessKey) {
		return nil, configFault(fmt.Errorf("cannot use access key %q: empty, or not plain text without spaces", o.AccessKey),
			"check [server] access_key")
	}
	if o.Secret == "" {
		return nil, configFault(errors.New("cannot sign requests: the secret key is empty"),
			"check [server] secret_key_file")
	}
	caller := o.HTTP
	if caller == nil {
		caller = &http.Client{Timeout: defaultTimeout}
	}
	own := *caller
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	now := o.Now
	if now == nil {
		now = time.Now
	}
	return &Client{
		base:      base,
		accessKey: o.AccessKey,
		sign: func(body []byte, nonce, timestamp, uri string) string {
			return Sign(body, nonce, string(o.Secret), timestamp, uri)
		},
		http:  &own,
		clock: clock{now: now, offset: o.Offset, known: o.Offset != 0},
	}, nil
}

func configFault(err error, hint string) error {
	return ota.NewRefused(ota.CodeConfig, err).WithHint(hint)
}

func parseBase(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("not a URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("it must begin with http:// or https://")
	case u.Hostname() == "":
		return "", errors.New("it names no host")
	case u.User != nil:
		return "", errors.New("it must not carry a user name or password")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("it must not have a path, query or fragment")
	}
	return u.Scheme + "://" + u.Host, nil
}

// redacted is text without what might be a password.
func redacted(text string) string {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		return "…" + text[at:]
	}
	return text
}

func isHeaderToken(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return text != ""
}

// call posts body to route and returns the answer of the API. what is the act
// for error texts: `ask for url "k"`. A refusal because of the clock is
// repeated once, by the time that the server's Date told.
func (c *Client) call(ctx context.Context, what, route string, body []byte) (*answer, error) {
	for repeated := false; ; repeated = true {
		stamp := c.clock.stamp()
		resp, err := c.post(ctx, route, body, stamp)
		if err != nil {
			return nil, unreachable(what, err)
		}
		serverTime, dated := c.clock.learn(resp)
		a, fault := readAnswer(resp, serverTime)
		if fault == nil {
			return a, nil
		}
		var said *APIError
		if errors.As(fault, &said) && said.Code == codeUnauthorized {
			cause := causeOf401(said.Msg, stamp, serverTime, dated)
			if cause == causeClock && dated && !repeated {
				continue
			}
			fault = fault401(said, cause, dated)
		}
		fault.Err = fmt.Errorf("cannot %s: %w", what, fault.Err)
		return nil, fault
	}
}

// post sends one signed request.
func (c *Client) post(ctx context.Context, route string, body []byte, stamp time.Time) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+route, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	nonce, timestamp := newNonce(), stamp.UTC().Format(time.RFC3339)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "otad")
	req.Header.Set("X-Timestamp", timestamp)
	req.Header.Set("X-Nonce", nonce)
	req.Header.Set("X-AccessKey", c.accessKey)
	req.Header.Set("X-Signature", c.sign(body, nonce, timestamp, route))
	return c.http.Do(req)
}

// ServerTime is the server's time now, as far as it is known: false before the
// first answer with a Date, unless Options.Offset was given. Over plain HTTP
// anybody in between may have written that Date: good enough to stamp requests
// and reports, not to judge certificates or versions.
func (c *Client) ServerTime() (time.Time, bool) { return c.clock.serverTime() }

// Offset is the server's clock minus the local one as it was last learned, to
// be kept for the next run; 0 when it is not known.
func (c *Client) Offset() time.Duration { return c.clock.currentOffset() }
