package upgradelink

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"net/url"
	"strings"
)

// Sign computes the X-Signature of a POST: the MD5, as lower-case hex, over
// body, nonce, secret key, timestamp and request target as the server joins
// them. The body counts with the exact bytes that are sent, the timestamp with
// the exact text of its header; uri is the request target (path and query) as
// it is sent, which the server unescapes once, as a query, before it hashes.
//
// The rule is that of the server. It differs from the vendor's page and SDK
// for an empty body, where the server keeps `body=`, and for a `+` in the
// target, which becomes a space.
func Sign(body []byte, nonce, secretKey, timestamp, uri string) string {
	if plain, err := url.QueryUnescape(uri); err == nil {
		uri = plain
	}
	rest := "&nonce=" + nonce + "&secretKey=" + secretKey + "&timestamp=" + timestamp + "&url=" + uri
	sum := md5.New() // the server's choice; it authenticates the call, not the artifact
	sum.Write([]byte("body="))
	sum.Write(body)
	sum.Write([]byte(strings.TrimRight(rest, "&")))
	return hex.EncodeToString(sum.Sum(nil))
}

// newNonce returns 16 random hex digits: the shortest nonce that the vendor's
// pages allow.
func newNonce() string {
	var b [8]byte
	rand.Read(b[:]) // never fails: the runtime ends the process first
	return hex.EncodeToString(b[:])
}
