package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt"
)

const (
	brokerPatience = 15 * time.Second // for the first connection
	brokerFarewell = 2 * time.Second
	brokerBacklog  = 16 << 10 // messages: a whole fleet says its state at once
)

// brokerCall is where the broker is and who we are, as the options say.
type brokerCall struct {
	brokers                     urls
	prefix, user, passwordFile  string
	ca, certificate, key, proto string
}

// urls is an option that may be given several times.
type urls []string

func (l *urls) String() string     { return strings.Join(*l, " ") }
func (l *urls) Set(s string) error { *l = append(*l, s); return nil }

// brokerArgs is how the options look in a usage line.
const brokerArgs = "--broker URL [--prefix P] [--user U --password-file F] [--ca FILE] [--cert FILE --key FILE] [--alpn NAME]"

func brokerFlags(fs *flag.FlagSet) *brokerCall {
	c := &brokerCall{}
	fs.Var(&c.brokers, "broker", "`URL` of the broker, tcp://, ssl://, ws:// or wss://; several are tried in order")
	fs.StringVar(&c.prefix, "prefix", "otad", "the beginning of every topic, as in mqtt.prefix of the boxes")
	fs.StringVar(&c.user, "user", "", "user name at the broker")
	fs.StringVar(&c.passwordFile, "password-file", "", "`file` with the password")
	fs.StringVar(&c.ca, "ca", "", "`file` of PEM certificates to trust instead of the system's")
	fs.StringVar(&c.certificate, "cert", "", "`file` with our own certificate, for mutual TLS")
	fs.StringVar(&c.key, "key", "", "`file` with its key")
	fs.StringVar(&c.proto, "alpn", "", "protocol to ask for in TLS")
	return c
}

// options are those of the connection; subscriptions and receiver are the
// caller's.
func (c *brokerCall) options() (mqtt.Options, error) {
	if len(c.brokers) == 0 {
		return mqtt.Options{}, cli.Usagef("missing option --broker")
	}
	if err := mqtt.ValidTopic(c.prefix); err != nil {
		return mqtt.Options{}, cli.Usagef("--prefix: %v", err)
	}
	o := mqtt.Options{Brokers: c.brokers, ClientID: "otactl-" + rand.Text()[:12], Username: c.user,
		CleanSession: true, Onlooker: true, Backlog: brokerBacklog, ReconnectMax: 10 * time.Second, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}
	if c.proto != "" {
		o.TLS.NextProtos = []string{c.proto}
	}
	if c.passwordFile != "" {
		password, err := os.ReadFile(c.passwordFile)
		if err != nil {
			return mqtt.Options{}, badSetting("cannot read password: %w", err)
		}
		o.Password = mqtt.NewPassword(strings.TrimSpace(string(password)))
	}
	if c.ca != "" {
		bundle, err := os.ReadFile(c.ca)
		if err != nil {
			return mqtt.Options{}, badSetting("cannot read CA: %w", err)
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(bundle) {
			return mqtt.Options{}, badSetting("cannot use CA %q: %w", c.ca, errors.New("it holds no certificate"))
		}
	}
	if c.certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.certificate, c.key)
		if err != nil {
			return mqtt.Options{}, badSetting("cannot use certificate: %w", err)
		}
		o.TLS.Certificates = []tls.Certificate{pair}
	}
	return o, nil
}

func badSetting(format string, args ...any) error {
	return ota.NewPermanent(ota.CodeConfig, fmt.Errorf(format, args...))
}

// open connects and waits until the subscriptions stand. What is wrong with
// the connection meanwhile is said on standard error.
func (c *brokerCall) open(ctx context.Context, env cli.Env, filters []string, receive func(transport.Message)) (*mqtt.Client, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	up := make(chan struct{}, 1)
	o.Subscriptions, o.Receive = filters, receive
	o.OnUp = func() {
		select {
		case up <- struct{}{}:
		default:
		}
	}
	o.Logger = slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	client, err := mqtt.Open(o)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(brokerPatience)
	defer timer.Stop()
	select {
	case <-up:
		return client, nil
	case <-timer.C:
		err = ota.NewTransient(ota.CodeServerUnreachable, fmt.Errorf("cannot reach a broker in %s: tried %s", brokerPatience, c.brokers.String()))
	case <-ctx.Done():
		err = ctx.Err()
	}
	closeBroker(client)
	return nil, err
}

func closeBroker(client *mqtt.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), brokerFarewell)
	defer cancel()
	_ = client.Close(ctx) // it ends by itself
}
