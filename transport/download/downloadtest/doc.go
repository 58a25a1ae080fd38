// Package downloadtest is a file host that does its work well until it is told
// not to: [Host] serves registered files with ETag, Last-Modified, ranges and
// If-Range as RFC 9110 wants them, and misbehaves on demand in the ways that
// networks, caches and captive portals do. Tests and the lab use it.
//
// Model: a Host is an [http.Handler] for an HTTP/1.1 server. Faults are
// settable at any time, from any goroutine, and also reach transfers that are
// under way. Each [File] counts requests and bytes. Nothing here is for
// production: names and contents are trusted.
package downloadtest
