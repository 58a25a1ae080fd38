package control

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"otad/ota"
)

// Signed is a command that a broker cannot forge: the exact bytes of a
// [Command] and an Ed25519 signature (RFC 8032) over them. The command in it
// names its topic and its expiry, so that it cannot be sent to another box or
// kept for later; its id keeps it from being followed twice.
type Signed struct {
	V         int    `json:"v"`
	Signed    []byte `json:"signed"`
	Signature []byte `json:"signature"`
}

// maxAhead bounds the life of a signed command: the memory of ids is bounded
// too, so a command that lives for ever could one day be followed again.
const maxAhead = 7 * 24 * time.Hour

// CommandKeys are the keys whose commands are obeyed. When there is none,
// commands need no signature; when there is one, all do.
type CommandKeys []ed25519.PublicKey

// ParseCommandKeys reads PEM files with "PUBLIC KEY" blocks, as `openssl pkey
// -pubout` writes them. A file without an Ed25519 key is an error: it would
// quietly trust less than it seems to.
func ParseCommandKeys(files ...[]byte) (CommandKeys, error) {
	var keys CommandKeys
	for _, file := range files {
		before := len(keys)
		for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("cannot read public key: %w", err)
			}
			ed, ok := key.(ed25519.PublicKey)
			if !ok {
				return nil, fmt.Errorf("cannot use public key: it is a %T, not Ed25519", key)
			}
			keys = append(keys, ed)
		}
		if len(keys) == before {
			return nil, errors.New("cannot read public key: there is none in the file")
		}
	}
	return keys, nil
}

// Sign puts c into its envelope. It must have a topic and an expiry.
func Sign(key ed25519.PrivateKey, c Command) ([]byte, error) {
	if err := c.bound(true, time.Now()); err != nil {
		return nil, err
	}
	command, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(Signed{V: Version, Signed: command, Signature: ed25519.Sign(key, command)})
}

// open takes a payload out of its envelope, if it has one. The error says that
// the command must not be followed; the payload then only serves to answer.
func (k CommandKeys) open(payload []byte) (command []byte, signed bool, err error) {
	var envelope Signed
	if decode(bytes.NewReader(payload), maxCommand, &envelope) != nil || len(envelope.Signed) == 0 {
		if len(k) > 0 {
			return payload, false, untrusted("cannot follow command: this box takes signed commands only")
		}
		return payload, false, nil
	}
	if envelope.V != Version {
		return envelope.Signed, true, usage("cannot follow command: version %d of the envelope is not known, want %d", envelope.V, Version)
	}
	if len(k) == 0 {
		return envelope.Signed, true, nil // who takes any command takes this one
	}
	for _, key := range k {
		if ed25519.Verify(key, envelope.Signed, envelope.Signature) {
			return envelope.Signed, true, nil
		}
	}
	return envelope.Signed, true, untrusted("cannot follow command: it is not signed by a key in mqtt.command_keys")
}

// bound holds a signed command to one place and a short time.
func (c *Command) bound(signed bool, now time.Time) error {
	switch {
	case !signed:
		return nil
	case c.Topic == "":
		return usage("cannot follow %q: a signed command names its topic", c.Verb)
	case c.Expires == nil:
		return usage("cannot follow %q: a signed command has an expiry", c.Verb)
	case c.Expires.After(now.Add(maxAhead)):
		return usage("cannot follow %q: a signed command expires within %d days", c.Verb, maxAhead/(24*time.Hour))
	}
	return nil
}

func untrusted(text string) error {
	return ota.NewRefused(ota.CodeArtifactUntrusted, errors.New(text))
}
