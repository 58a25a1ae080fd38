package main

import "testing"

func TestBareURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, url, want string }{
		{"plain", "https://a.example/fw/1.swu", "https://a.example/fw/1.swu"},
		{"user", "https://u:p@a.example/x", "https://a.example/x"},
		{"user with an at", "https://u:p@q@a.example", "https://a.example"},
		{"query", "https://a.example/x?token=1&b=2", "https://a.example/x?..."},
		{"query without path", "https://a.example?token=1", "https://a.example?..."},
		{"fragment", "http://a.example/#token", "http://a.example/?..."},
		{"at in the path", "http://a.example/x@y", "http://a.example/x@y"},
		{"broker", "ssl://u:p@[::1]:8883", "ssl://[::1]:8883"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := bareURL(c.url); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
