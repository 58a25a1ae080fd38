package upgradelinktest

import (
	"crypto/md5"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	window        = 5 * time.Minute
	minNonceChars = 16
)

// authenticate checks the headers in the server's order; nil lets the call in.
func (c *call) authenticate() *failure {
	stamp := c.r.Header.Get("X-Timestamp")
	if stamp == "" {
		return missing("X-Timestamp")
	}
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return &failure{code: 400004, msg: "Invalid X-Timestamp format"}
	}
	if at.Before(c.now.Add(-window)) || at.After(c.now.Add(window)) {
		return &failure{code: 401001, msg: "Invalid X-Timestamp: timestamp is out of allowed window"}
	}
	for _, name := range []string{"X-Nonce", "X-AccessKey", "X-Signature"} {
		if c.r.Header.Get(name) == "" {
			return missing(name)
		}
	}
	nonce := c.r.Header.Get("X-Nonce")
	if !c.s.lenient && len(nonce) < minNonceChars {
		return &failure{code: 400004, msg: "Invalid X-Nonce: at least 16 characters are required"}
	}
	c.s.mu.Lock()
	secret, known := c.s.keys[c.r.Header.Get("X-AccessKey")]
	c.s.mu.Unlock()
	if !known {
		return &failure{code: 401001, msg: "X-AccessKey is error"}
	}
	want := expectedSignature(string(c.body), nonce, secret, stamp, c.r.RequestURI)
	if c.r.Header.Get("X-Signature") != want {
		return &failure{code: 401002, msg: "Signature Invalid"}
	}
	if !c.s.lenient && !c.s.firstUse(nonce, c.now) {
		return &failure{code: 400004, msg: "Invalid X-Nonce: already used"}
	}
	return nil
}

func missing(name string) *failure {
	return &failure{code: 400004, msg: "Missing " + name + " header"}
}

// firstUse remembers a nonce as long as its timestamp could be accepted.
func (s *Server) firstUse(nonce string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.nonces, func(_ string, seen time.Time) bool { return now.Sub(seen).Abs() > 2*window })
	_, seen := s.nonces[nonce]
	s.nonces[nonce] = now
	return !seen
}

// expectedSignature is the rule as the vendor's page words it: the parameters
// sorted by name and joined like a query, without escaping, then hashed.
func expectedSignature(body, nonce, secret, stamp, target string) string {
	if unescaped, err := url.QueryUnescape(target); err == nil {
		target = unescaped
	}
	params := map[string]string{
		"url": target, "timestamp": stamp, "secretKey": secret, "nonce": nonce, "body": body,
	}
	var joined strings.Builder
	for _, name := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&joined, "%s=%s&", name, params[name])
	}
	line := joined.String()
	for strings.HasSuffix(line, "&") {
		line = line[:len(line)-1]
	}
	return fmt.Sprintf("%x", md5.Sum([]byte(line)))
}
