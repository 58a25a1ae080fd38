// Package transport holds what the wires have in common: the message that goes
// over a broker, and the sentinels that callers branch on.
//
// Each wire is a package of its own below this one (upgradelink, download,
// mqtt); none of them knows the agent, the engines or each other.
package transport

import "errors"

// Message is one message on a broker.
type Message struct {
	Topic    string
	Payload  []byte
	QoS      byte // 0 at most once, 1 at least once
	Retained bool
}

// ErrOffline says that there is no connection now and that the message was
// dropped or must be kept by the caller. It is an ordinary state, not a fault.
var ErrOffline = errors.New("transport: offline")
