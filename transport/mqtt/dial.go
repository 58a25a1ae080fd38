package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// defaultPorts are those of the schemes; ws and wss have theirs from HTTP.
var defaultPorts = map[string]string{"tcp": "1883", "ssl": "8883", "ws": "80", "wss": "443"}

// parseBroker reads a broker's address and adds the port if there is none.
// A URL with credentials is refused, so that addresses can be logged.
func parseBroker(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("broker address is not a URL") // its text may hold a password
	}
	if u.User != nil {
		return nil, fmt.Errorf("broker %q has credentials in its address; they go into user name and password", u.Redacted())
	}
	port, known := defaultPorts[u.Scheme]
	switch {
	case !known:
		return nil, fmt.Errorf("broker %q does not start with tcp://, ssl://, ws:// or wss://", s)
	case u.Hostname() == "":
		return nil, fmt.Errorf("broker %q names no host", s)
	case (u.Scheme == "tcp" || u.Scheme == "ssl") && (u.Path != "" && u.Path != "/" || u.RawQuery != ""):
		return nil, fmt.Errorf("broker %q has a path, which only ws:// and wss:// can have", s)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

// dial opens the byte stream to broker. A WebSocket handshake under way cannot
// be called off by ctx, but has the same time-out.
//
// The error does not name the local port: it would be another one each time,
// and the same trouble look like a new one.
func dial(ctx context.Context, config *tls.Config, broker *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var conn net.Conn
	var err error
	switch broker.Scheme {
	case "tcp":
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", broker.Host)
	case "ssl":
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", broker.Host)
	default:
		// The protocol to ask for in TLS is HTTP here, whatever a plain TLS port wants.
		config = config.Clone()
		config.NextProtos = nil
		conn, err = paho.NewWebsocket(broker.String(), config, dialTimeout, nil, nil)
	}
	if err != nil {
		return nil, withoutPort(err)
	}
	return conn, nil
}

// withoutPort takes the local address out of a network error.
func withoutPort(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	anonymous := *op
	anonymous.Source = nil
	return &anonymous
}
