// Package mqtttest has brokers to test and demonstrate against: one that runs
// in the process ([Start]), the real mosquitto as a child process
// ([StartMosquitto]), a [Proxy] before either of them that cuts and stalls
// connections, and a [View] that sees what any other subscriber would see.
//
// Nothing here needs a test: the lab embeds the broker. Functions whose name
// starts with New are for tests and clean up by themselves. All listeners are
// on the loopback interface, and passwords and keys are throw-aways.
package mqtttest

// Config is what the brokers can be told. The zero value is an open broker on a
// free port.
type Config struct {
	Addr      string            // "127.0.0.1:1883"; empty: a free loopback port
	Users     map[string]string // name to password; empty: anybody
	Authority *Authority        // serve TLS with a certificate of this CA
	Mutual    bool              // with Authority: ask clients for a certificate of it too
	WebSocket bool              // speak MQTT over WebSocket; Start only, without Authority
	Forget    bool              // Restart loses sessions and retained messages
	// Lines are added to mosquitto's configuration; StartMosquitto only.
	Lines []string
}

// scheme is that of the broker's URL.
func (c Config) scheme() string {
	switch {
	case c.Authority != nil:
		return "ssl"
	case c.WebSocket:
		return "ws"
	}
	return "tcp"
}
